package test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

// highWater is the most memory that a process has had, in bytes (proc(5)).
func (p *process) highWater() int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if match == nil {
		p.t.Fatalf("no VmHWM in %s", text)
	}
	n, err := strconv.Atoi(string(match[1]))
	if err != nil {
		p.t.Fatal(err)
	}
	return n << 10
}

// fountain sends the target's stream, as much as offered, and tells when it
// could go on no longer.
func fountain(t *testing.T, offered int64) (address string, ended <-chan error) {
	t.Helper()
	ends := make(chan error, 1)
	return listen(t, func(c net.Conn) {
		_, err := io.CopyN(c, target.Stream(), offered)
		ends <- err
	}), ends
}

// prefix demands that what comes is what a fountain sends, up to an error.
func prefix(c io.Reader) error {
	got, want := make([]byte, 1<<16), make([]byte, 1<<16)
	stream := target.Stream()
	for at := int64(0); ; {
		n, err := c.Read(got)
		if _, bad := io.ReadFull(stream, want[:n]); bad != nil || !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("wrong bytes behind %d", at)
		}
		at += int64(n)
		if err == io.EOF {
			return fmt.Errorf("a clean end after %d bytes", at)
		}
		if err != nil {
			return nil
		}
	}
}

// trial is set up when it is called, where it may end the test, and what it
// gives is run then.
type trial func() (run func() error)

// together runs trials side by side, not as subtests, of which only some would
// be waited for at a time.
func together(t *testing.T, trials map[string]trial) {
	t.Helper()
	var all sync.WaitGroup
	ready := map[string]func() error{}
	for name, set := range trials {
		ready[name] = set()
	}
	for name, run := range ready {
		all.Go(func() {
			if err := run(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
}

// The race detector makes everything slow, here on two sides.
var slowdown = map[bool]int{false: 1, true: 4}[raceDetector]

// stallLimit is what a stalled reader gets: 10 s, and the time to fill the
// buffers before it.
var stallLimit = 12*time.Second + time.Duration(slowdown-1)*5*time.Second

func TestWhoStallsIsEndedAndItsNeighbourIsNot(t *testing.T) {
	t.Parallel()
	together(t, map[string]trial{
		"user of a client":     func() func() error { return stalledUser(t, "forward") },
		"user of a connector":  func() func() error { return stalledUser(t, "connector") },
		"target of the relay":  func() func() error { return stalledTarget(t, "forward") },
		"target of a provider": func() func() error { return stalledTarget(t, "reverse") },
	})
}

// stalledUser reads nothing of what a target sends, beside one who reads.
func stalledUser(t *testing.T, mode string) func() error {
	t.Helper()
	r := newRelay(t).inLinksocks()
	p := modes[mode](r)
	source, ended := fountain(t, 512<<20)
	stalled, neighbour := p.open(t, source), p.open(t, target.Start(t))
	var first [1]byte
	if _, err := io.ReadFull(stalled, first[:]); err != nil {
		t.Fatal(err)
	}
	ask(t, neighbour, medium)
	at := time.Now()
	return func() error {
		beside := make(chan error, 1)
		go func() { beside <- received(neighbour, medium) }()
		if err := <-ended; err == nil || time.Since(at) > stallLimit {
			return fmt.Errorf("the stalled one ended after %v with %w", time.Since(at), err)
		}
		if err := prefix(io.MultiReader(bytes.NewReader(first[:]), stalled)); err != nil {
			return fmt.Errorf("of the stalled one: %w", err)
		}
		if err := <-beside; err != nil {
			return fmt.Errorf("beside it: %w", err)
		}
		return r.small()
	}
}

// stalledTarget takes nothing of what a user sends, beside one that does.
func stalledTarget(t *testing.T, mode string) func() error {
	t.Helper()
	r := newRelay(t).inLinksocks()
	p := modes[mode](r)
	hold, got := make(chan struct{}), make(chan error, 1)
	sink := listen(t, func(c net.Conn) {
		<-hold
		got <- prefix(c)
	})
	stalled, neighbour := p.open(t, sink), p.open(t, target.Start(t))
	at := time.Now()
	return func() error {
		beside := make(chan error, 1)
		go func() { beside <- target.Upload(neighbour, int64(medium/slowdown)) }()
		_, err := io.CopyN(stalled, target.Stream(), 512<<20)
		close(hold)
		if took := time.Since(at); err == nil || took > stallLimit {
			return fmt.Errorf("the stalled one ended after %v with %w", took, err)
		}
		if err := <-got; err != nil {
			return fmt.Errorf("the target got %w", err)
		}
		if err := <-beside; err != nil {
			return fmt.Errorf("beside it: %w", err)
		}
		return r.small()
	}
}

// small demands that no process has used much memory.
func (r *relayRun) small() error {
	limit := 150 << 20
	if raceDetector {
		limit *= slowdown
	}
	for _, p := range r.hidden.processes {
		if used := p.highWater(); used > limit {
			return fmt.Errorf("%v used %d MiB", p.cmd.Args[1:3], used>>20)
		}
	}
	return nil
}

// paced reads no faster than so many bytes a second.
type paced struct {
	net.Conn
	rate  int
	begun time.Time
	read  int
}

func (p *paced) Read(b []byte) (int, error) {
	due := p.begun.Add(time.Duration(p.read) * time.Second / time.Duration(p.rate))
	time.Sleep(time.Until(due)) // the reader's own pace, nothing is waited for
	n, err := p.Conn.Read(b[:min(len(b), 64<<10)])
	p.read += n
	return n, err
}

// What is slow takes so many bytes in a second. The buffers of a way hold a
// fraction of slowSize.
var slowRate, slowSize = 8 << 20 / slowdown, int64(48 << 20 / slowdown)

func TestWhoIsSlowAndAloneGetsEveryByte(t *testing.T) {
	t.Parallel()
	trials := map[string]trial{}
	for _, mode := range []string{"forward", "reverse", "connector"} {
		trials["user, "+mode] = func() func() error {
			return slowUser(t, modes[mode](newRelay(t).inLinksocks()), slowRate, slowSize)
		}
		trials["target, "+mode] = func() func() error { return slowTarget(t, modes[mode](newRelay(t).inLinksocks())) }
	}
	together(t, trials)
}

func slowUser(t *testing.T, p proxy, rate int, size int64) func() error {
	t.Helper()
	c := ask(t, p.open(t, target.Start(t)), uint64(size))
	return func() error { return compareStream(&paced{Conn: c, rate: rate, begun: time.Now()}, size) }
}

func slowTarget(t *testing.T, p proxy) func() error {
	t.Helper()
	end := make(chan error, 1)
	sink := listen(t, func(c net.Conn) {
		end <- compareStream(&paced{Conn: c, rate: slowRate, begun: time.Now()}, slowSize)
		_, _ = c.Write([]byte{1})
	})
	c := p.open(t, sink)
	return func() error {
		if _, err := io.CopyN(c, target.Stream(), slowSize); err != nil {
			return err
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return fmt.Errorf("the reply: %w", err)
		}
		return <-end
	}
}

// Slow is who takes something all the time, for longer than there is patience
// with a stalled one.
func TestWhoIsSlowIsNotTakenForStalled(t *testing.T) {
	t.Parallel()
	rate, size := slowRate/2, slowSize*4/3 // in 16 s
	beside, two := modes["forward"](newRelay(t).inLinksocks()), modes["forward"](newRelay(t).inLinksocks())
	idle := beside.open(t, target.Start(t))
	// Of two, one may have to go: the other is alone then.
	ends := make(chan error, 2)
	oneOfTwo := func() func() error {
		run := slowUser(t, two, rate, size)
		return func() error {
			ends <- run()
			return nil
		}
	}
	together(t, map[string]trial{
		"beside an idle connection": func() func() error { return slowUser(t, beside, rate, size) },
		"one of two":                oneOfTwo,
		"other of two":              oneOfTwo,
	})
	if one, other := <-ends, <-ends; one != nil && other != nil {
		t.Errorf("both of two were ended: %v, %v", one, other)
	}
	if err := target.Echo(idle, small); err != nil {
		t.Errorf("the idle one: %v", err)
	}
}

// compareStream demands n bytes of the stream and a clean end.
func compareStream(r io.Reader, n int64) error {
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	stream := target.Stream()
	for at := int64(0); ; {
		read, err := r.Read(got)
		if _, bad := io.ReadFull(stream, want[:read]); bad != nil || !bytes.Equal(got[:read], want[:read]) {
			return fmt.Errorf("wrong bytes behind %d", at)
		}
		at += int64(read)
		switch {
		case err == io.EOF && at == n:
			return nil
		case err != nil:
			return fmt.Errorf("after %d of %d bytes: %w", at, n, err)
		}
	}
}
