package native

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

const (
	// soakTime is how long the soak lasts, if ADIT_SOAK names no duration.
	soakTime = 5 * time.Second
	workers  = 24
)

// chain is an opener, a relay and a provider on two links.
type chain struct {
	opener, front, back, provider *end
	broken                        atomic.Bool // it has been cut, or is about to be
}

func newChain(t *testing.T) *chain {
	c := new(chain)
	c.back, c.provider = over(t, link.Config{}, link.Config{Dial: new(site.Here).Dial})
	c.front, c.opener = over(t, link.Config{Dial: through(c.back)}, link.Config{})
	return c
}

// over gives a server's and a client's session over loopback.
func over(t *testing.T, server, client link.Config) (s, c *end) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	b, err := ln.Accept()
	must(t, err)
	return run(t, b, false, server), run(t, a, true, client)
}

func (c *chain) ends() []*end { return []*end{c.opener, c.front, c.back, c.provider} }

// cut ends one of the links, by one of its ends.
func (c *chain) cut() {
	c.broken.Store(true)
	e := c.ends()[rand.IntN(4)]
	switch rand.IntN(3) {
	case 0:
		e.Close()
	case 1:
		e.Shut()
	case 2:
		e.stop()
	}
}

func amount() int64 {
	switch rand.IntN(20) {
	case 0:
		return 1 << 20
	case 1, 2, 3:
		return rand.Int64N(300 << 10)
	}
	return rand.Int64N(20 << 10)
}

// deeds are what users do with streams, by what they do it to.
var deeds = []struct {
	name string
	to   string // the target, a port where nobody listens, or one that resets
	do   func(c *tally, conn pipe.Conn) error
}{
	{"echo", "target", func(_ *tally, conn pipe.Conn) error { return target.Echo(conn, amount()) }},
	{"download", "target", func(_ *tally, conn pipe.Conn) error { return target.Download(conn, amount()) }},
	{"upload", "target", func(_ *tally, conn pipe.Conn) error { return target.Upload(conn, amount()) }},
	{"half-close", "target", func(_ *tally, conn pipe.Conn) error { return target.HalfClose(conn, amount()) }},
	{"given up while it reads", "target", func(_ *tally, conn pipe.Conn) error {
		_, err := conn.Write([]byte{'G', 0, 0, 0, 0, 1, 0, 0, 0})
		if err == nil {
			_, err = io.CopyN(io.Discard, conn, rand.Int64N(200<<10))
		}
		return err
	}},
	{"given up while it writes", "target", func(_ *tally, conn pipe.Conn) error {
		_, err := conn.Write(append([]byte{'H'}, zeros(rand.IntN(200<<10))...))
		return err
	}},
	{"stall", "target", func(c *tally, conn pipe.Conn) error {
		return target.Download(&staller{Conn: conn, tally: c, after: rand.IntN(100 << 10)}, 1<<20)
	}},
	{"reset by the target", "resets", func(_ *tally, conn pipe.Conn) error {
		// One byte, which is all that the target reads: of the news of a reset
		// a write of more could be told in place of the read.
		if _, err := conn.Write(zeros(1)); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, conn); err == nil || errors.Is(err, link.ErrLost) {
			return fmt.Errorf("a reset came as %v", err)
		}
		return nil
	}},
	{"refused", "closed", func(_ *tally, conn pipe.Conn) error {
		_, _ = conn.Write([]byte("early")) // it may be too late
		if _, err := io.ReadAll(conn); site.ReasonOf(err) != site.Refused {
			return fmt.Errorf("a refusal came as %v", err)
		}
		return nil
	}},
}

// tally counts what was done of one kind.
type tally struct{ done, failed, stalled, widened atomic.Int64 }

// staller is a reader that leaves everything alone for a while, until its sender
// has no credit: that is counted, if it comes to it.
type staller struct {
	pipe.Conn
	tally *tally
	after int
}

func (s *staller) Read(p []byte) (int, error) {
	if s.after < 0 {
		return s.Conn.Read(p)
	}
	n, err := s.Conn.Read(p)
	if s.after -= n; s.after < 0 {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // a stall, and no wait for something
		st := s.Conn.(*Stream)
		st.mu.Lock()
		if st.allowed == 0 {
			s.tally.stalled.Add(1)
		}
		st.mu.Unlock()
	}
	return n, err
}

// one does one deed, in one of the ways in which a stream is opened.
func (c *chain) one(t *testing.T, kind int, count *tally, at map[string]string) error {
	deed := deeds[kind]
	open := c.opener.DialEarly
	if rand.IntN(2) == 0 {
		open = c.opener.Dial
	}
	conn, err := open(t.Context(), "tcp", at[deed.to])
	if deed.to == "closed" && site.ReasonOf(err) == site.Refused {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		if windowOf(conn.(*Stream)) > initialWindow {
			count.widened.Add(1)
		}
		_ = conn.Close() // whatever became of it
	}()
	return deed.do(count, conn)
}

// resets is a place whose connections are reset after a few bytes each way.
func resets(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, zeros(1))
			_, _ = c.Write(zeros(rand.IntN(50 << 10))) // less than the socket's buffer
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}

// Not parallel: what is counted is the process's.
func TestASoakLeavesNothingBehind(t *testing.T) {
	length := soakTime
	if text := os.Getenv("ADIT_SOAK"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		must(t, err)
	}
	at := map[string]string{"target": target.Start(t), "closed": closedPort(t), "resets": resets(t)}
	before, waiting, memory := credit.given.Load(), held.Load(), heap()
	var now atomic.Pointer[chain]
	now.Store(newChain(t))
	all := []*chain{now.Load()}
	counts := make([]tally, len(deeds))
	var cuts atomic.Int64
	deadline := time.Now().Add(length)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for time.Now().Before(deadline) {
				c, kind := now.Load(), rand.IntN(len(deeds))
				count := &counts[kind]
				err := c.one(t, kind, count, at)
				if count.done.Add(1); err != nil {
					count.failed.Add(1)
					if !c.broken.Load() {
						t.Errorf("%s: %v (on links that were well)", deeds[kind].name, err)
					}
				}
			}
		})
	}
	work.Go(func() {
		for time.Until(deadline) > time.Second {
			time.Sleep(max(700*time.Millisecond, length/60)) // how often links are cut
			all = append(all, newChain(t))
			now.Swap(all[len(all)-1]).cut()
			cuts.Add(1)
		}
	})
	work.Wait()
	for _, c := range all { // of which one link may still be well
		wantIdle(t, c)
		for _, e := range c.ends() {
			e.Close()
			<-e.over
		}
	}
	least := int64(0) // a short run on a busy machine may miss something
	if length >= time.Minute {
		least = int64(length / (12 * time.Second))
	}
	wantCounts(t, counts, cuts.Load(), least)
	if n, h := credit.given.Load()-before, held.Load()-waiting; n != 0 || h != 0 {
		t.Errorf("%d bytes of credit and %d that wait are not accounted for", n, h)
	}
	if n := heap() - memory; n > 48<<20 {
		t.Errorf("%d bytes of memory are not given back", n)
	}
}

// wantCounts wants at least so many streams of every kind to have been well, and
// so many stalls to have been some.
func wantCounts(t *testing.T, counts []tally, cuts, least int64) {
	t.Helper()
	total, well := int64(0), int64(0)
	for i := range counts {
		c := &counts[i]
		done, failed, stalled := c.done.Load(), c.failed.Load(), c.stalled.Load()
		total, well = total+done, well+done-failed
		t.Logf("%-25s %6d, of which %d failed with their link, %d had a wider window, %d held their sender up",
			deeds[i].name, done, failed, c.widened.Load(), stalled)
		if done-failed < least || deeds[i].name == "stall" && stalled < least {
			t.Errorf("%s: %d of %d were well, %d held their sender up", deeds[i].name, done-failed, done, stalled)
		}
	}
	t.Logf("%d streams, %d links cut", total, cuts)
	if well < 100 {
		t.Errorf("only %d streams of %d were well", well, total)
	}
}

// wantIdle wants all streams of well links to come to their end soon.
func wantIdle(t *testing.T, c *chain) {
	t.Helper()
	idle := func() bool {
		for _, e := range c.ends() {
			e.mu.Lock()
			served := e.served
			e.mu.Unlock()
			if e.Streams() != 0 || served != 0 || e.windows.granted.given.Load() != 0 {
				return false
			}
		}
		return true
	}
	for limit := time.Now().Add(5 * time.Second); !idle(); runtime.Gosched() {
		if time.Now().After(limit) {
			for _, e := range c.ends() {
				t.Errorf("%d streams and %d bytes of credit are left", e.Streams(), e.windows.granted.given.Load())
			}
			return
		}
	}
}

// heap is what is in use when all that can go is gone.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC() // the second one empties what the pools kept
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func closedPort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	return ln.Addr().String()
}
