package native

import (
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

// deed is what a user does with a stream to a target. It closes the stream.
type deed func(c pipe.Conn) error

func amount() int64 {
	switch rand.IntN(20) {
	case 0:
		return 1 << 20
	case 1, 2, 3:
		return rand.Int64N(300 << 10)
	}
	return rand.Int64N(20 << 10)
}

var deeds = []deed{
	func(c pipe.Conn) error { return target.Echo(c, amount()) },
	func(c pipe.Conn) error { return target.Download(c, amount()) },
	func(c pipe.Conn) error { return target.Upload(c, amount()) },
	func(c pipe.Conn) error { return target.HalfClose(c, amount()) },
	func(c pipe.Conn) error { // given up with much on its way
		_, err := c.Write([]byte{'G', 0, 0, 0, 0, 1, 0, 0, 0})
		if err == nil {
			_, err = io.CopyN(io.Discard, c, rand.Int64N(200<<10))
		}
		return err
	},
	func(c pipe.Conn) error { // stalled for a moment, and then taken whole
		stall := &staller{Conn: c, after: rand.IntN(100 << 10)}
		return target.Download(stall, 1<<20)
	},
	func(c pipe.Conn) error { // given up with bytes on their way out
		_, err := c.Write(append([]byte{'H'}, zeros(rand.IntN(200<<10))...))
		return err
	},
}

// staller is a reader that leaves everything alone for a while.
type staller struct {
	pipe.Conn
	after int
}

func (s *staller) Read(p []byte) (int, error) {
	if s.after < 0 {
		return s.Conn.Read(p)
	}
	n, err := s.Conn.Read(p)
	if s.after -= n; s.after < 0 {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // a stall, and no wait for something
	}
	return n, err
}

// one does one deed, in one of the ways in which a stream is opened.
func (c *chain) one(t *testing.T, at, closed string) error {
	if rand.IntN(10) == 0 {
		_, err := c.opener.Dial(t.Context(), "tcp", closed)
		if site.ReasonOf(err) != site.Refused {
			return fmt.Errorf("a closed port: %w", err)
		}
		early, err := c.opener.DialEarly(t.Context(), "tcp", closed)
		if err != nil {
			return err
		}
		defer early.Close()
		_, _ = early.Write([]byte("early")) // it may be too late
		if _, err = io.ReadAll(early); site.ReasonOf(err) != site.Refused {
			return fmt.Errorf("a closed port, early: %w", err)
		}
		return nil
	}
	open := c.opener.Dial
	if rand.IntN(2) == 0 {
		open = c.opener.DialEarly
	}
	conn, err := open(t.Context(), "tcp", at)
	if err != nil {
		return err
	}
	defer conn.Close()
	return deeds[rand.IntN(len(deeds))](conn)
}

// Not parallel: what is counted is the process's.
func TestASoakLeavesNothingBehind(t *testing.T) {
	length := soakTime
	if text := os.Getenv("ADIT_SOAK"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		must(t, err)
	}
	at := target.Start(t)
	closed := closedPort(t)
	before, memory := credit.given.Load(), heap()
	var now atomic.Pointer[chain]
	now.Store(newChain(t))
	all := []*chain{now.Load()}
	var done, failed, cuts atomic.Int64
	deadline := time.Now().Add(length)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for time.Now().Before(deadline) {
				c := now.Load()
				err := c.one(t, at, closed)
				if done.Add(1); err != nil {
					failed.Add(1)
					if !c.broken.Load() {
						t.Errorf("%v (on links that were well)", err)
					}
				}
			}
		})
	}
	work.Go(func() {
		for time.Until(deadline) > time.Second {
			time.Sleep(700 * time.Millisecond) // how often links are cut
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
	t.Logf("%d streams, of which %d failed, and %d links cut", done.Load(), failed.Load(), cuts.Load())
	if n := done.Load() - failed.Load(); n < 100 {
		t.Errorf("only %d of %d streams were well", n, done.Load())
	}
	if n := credit.given.Load(); n != before {
		t.Errorf("%d bytes of credit are not accounted for", n-before)
	}
	if n := heap() - memory; n > 48<<20 {
		t.Errorf("%d bytes of memory are not given back", n)
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
