package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// result is what one run prints.
type result struct {
	Test      string  `json:"test"`
	Via       string  `json:"via"`
	Streams   int     `json:"streams,omitempty"`
	Seconds   float64 `json:"seconds"`
	Bytes     int64   `json:"bytes,omitempty"`
	MBps      float64 `json:"mb_per_s,omitempty"`
	AloneMBps float64 `json:"alone_mb_per_s,omitempty"` // slow: the same download with nothing stalled
	N         int     `json:"n,omitempty"`
	PerSecond float64 `json:"per_s,omitempty"`
	P50us     float64 `json:"p50_us,omitempty"`
	P99us     float64 `json:"p99_us,omitempty"`
	MaxUs     float64 `json:"max_us,omitempty"`
	Errors    int     `json:"errors"`
	FirstErr  string  `json:"first_error,omitempty"`
	Corrupt   int     `json:"corrupt"`
	RSSMB     float64 `json:"rss_mb,omitempty"`
	KBPerConn float64 `json:"kb_per_conn,omitempty"`
	CPUs      float64 `json:"cpu_s,omitempty"`

	mu sync.Mutex // guards Errors, FirstErr, Corrupt and N while the test runs
}

// fail counts an error; the first one is kept.
func (r *result) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Errors++
	if r.FirstErr == "" {
		r.FirstErr = err.Error()
	}
}

// spoiled counts a stream or datagram that arrived with other bytes in it.
func (r *result) spoiled() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Corrupt++
}

// quantiles turns what each exchange took into the figures of it.
func (r *result) quantiles(all []time.Duration) {
	r.N = len(all)
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	us := func(d time.Duration) float64 { return round(float64(d.Nanoseconds()) / 1e3) }
	r.P50us, r.P99us, r.MaxUs = us(all[len(all)/2]), us(all[len(all)*99/100]), us(all[len(all)-1])
}

// load is the test to make.
type load struct {
	test    string
	streams int
	bytes   int64 // a stream
	n, size int
	hash    bool
	pids    string
	via     string
	target  string
}

func run(args []string) error {
	var l load
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	flags.StringVar(&l.via, "via", "direct", "direct, socks5://[user:pass@]host:port, or tcp://host:port of a port forward")
	flags.StringVar(&l.target, "target", "127.0.0.1:7000", "target address as the proxy sees it")
	flags.StringVar(&l.test, "test", "down", "down|up|rtt|connect|idle|slow|udp")
	flags.IntVar(&l.streams, "streams", 1, "parallel connections")
	flags.IntVar(&l.n, "n", 2000, "exchanges (rtt, connect, udp) or connections (idle)")
	flags.IntVar(&l.size, "size", 64, "bytes an exchange (rtt, udp)")
	flags.StringVar(&l.pids, "pids", "", "comma-separated process ids whose memory and CPU to report")
	flags.BoolVar(&l.hash, "hash", false, "verify the SHA-256 of every stream in down and up (slow always verifies)")
	bytes := flags.String("bytes", "256M", "bytes a stream (down, up, slow)")
	timeout := flags.Duration("timeout", 60*time.Second, "bound on the whole test")
	flags.Parse(args)

	var err error
	if l.bytes, err = parseBytes(*bytes); err != nil {
		return err
	}
	if l.streams < 1 || l.n < 1 || l.size < 1 || l.size > len(pattern) {
		return fmt.Errorf("-streams, -n and -size are 1 or more, -size at most %d", len(pattern))
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	res, err := l.measure(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(res)
}

// measure makes the test and derives the rates from what it counted.
func (l *load) measure(ctx context.Context) (*result, error) {
	dial, err := dialerFor(l.via, l.target)
	if err != nil {
		return nil, err
	}
	res := &result{Test: l.test, Via: l.via, Streams: l.streams}
	rss0, cpu0 := usage(l.pids)
	start := time.Now()
	switch l.test {
	case "down", "up":
		l.bulk(ctx, dial, res)
	case "rtt":
		l.rtt(ctx, dial, res)
	case "connect":
		l.connect(ctx, dial, res)
	case "idle":
		l.idle(ctx, dial, res, rss0)
	case "slow":
		l.slow(ctx, dial, res)
	case "udp":
		if err := l.udp(ctx, res); err != nil {
			res.fail(err)
		}
	default:
		return nil, fmt.Errorf("unknown test %q", l.test)
	}
	if res.Seconds == 0 {
		res.Seconds = time.Since(start).Seconds()
	}
	rss, cpu := usage(l.pids)
	res.CPUs = round(cpu - cpu0)
	if res.RSSMB == 0 {
		res.RSSMB = round(float64(rss) / 1e6)
	}
	if res.Bytes > 0 {
		res.MBps = round(float64(res.Bytes) / 1e6 / res.Seconds)
	}
	if res.N > 0 {
		res.PerSecond = round(float64(res.N) / res.Seconds)
	}
	res.Seconds = round(res.Seconds)
	return res, nil
}

// round keeps three decimals.
func round(f float64) float64 { return float64(int64(f*1000)) / 1000 }

// parseBytes reads a number of bytes with K, M or G (powers of 1024) behind it.
func parseBytes(s string) (int64, error) {
	shift := 0
	for i, unit := range []string{"K", "M", "G"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n<<shift>>shift != n {
		return 0, fmt.Errorf("%q is no number of bytes", s)
	}
	return n << shift, nil
}
