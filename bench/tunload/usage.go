package main

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ticksPerSecond is the unit of CPU times in /proc (USER_HZ), the same on all of Linux.
const ticksPerSecond = 100

// usage adds up the resident memory, in bytes, and the CPU time, in seconds, of
// processes that are given by a comma-separated list of ids.
func usage(pids string) (rss int64, cpu float64) {
	for pid := range strings.SplitSeq(pids, ",") {
		if pid == "" {
			continue
		}
		rss += resident(pid)
		cpu += cpuTime(pid)
	}
	return rss, cpu
}

func resident(pid string) int64 {
	text, _ := os.ReadFile("/proc/" + pid + "/status") // a process that is gone uses none
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}

func cpuTime(pid string) float64 {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	// The second field is the program's name in parentheses, and may hold any byte.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond
}

// watchRSS samples the processes' memory ten times a second; the function that
// it returns stops it, at the first call, and tells the peak in bytes.
func watchRSS(pids string) func() int64 {
	var peak atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			rss, _ := usage(pids)
			peak.Store(max(peak.Load(), rss))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return sync.OnceValue(func() int64 {
		close(stop)
		<-done
		return peak.Load()
	})
}
