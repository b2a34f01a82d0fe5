package ws

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// peer is the other end of a Conn, by hand.
type peer struct {
	t *testing.T
	*memnet.Conn
	read   []byte
	masked bool // what it says
}

// pair gives a Conn and its peer, inside a bubble. What the network holds of
// one direction is 64 KiB.
func pair(t *testing.T, cfg Config) (*Conn, *peer) {
	t.Helper()
	near, far := memnet.New().Pair()
	t.Cleanup(func() { far.Close() })
	return New(near, nil, cfg), &peer{t: t, Conn: far, masked: !cfg.Client}
}

func (p *peer) say(op Opcode, payload string) {
	p.t.Helper()
	if _, err := p.Write(frames(op, []byte(payload), 1<<20, p.masked)); err != nil {
		p.t.Error(err)
	}
}

// hear reads the next frame.
func (p *peer) hear() frame {
	p.t.Helper()
	for {
		f, _, _, _, whole, rest := refFrame(p.read)
		if whole {
			p.read = rest
			return f
		}
		buf := make([]byte, 1<<20)
		n, err := p.Read(buf)
		p.read = append(p.read, buf[:n]...)
		if err != nil {
			p.t.Fatalf("after % x: %v", p.read, err)
		}
	}
}

// expect fails unless the next frame is this one, whole.
func (p *peer) expect(op Opcode, payload string) {
	p.t.Helper()
	f := p.hear()
	if f.first != finBit|byte(op) || string(f.payload) != payload || f.masked == p.masked {
		p.t.Errorf("heard %02x %.40q of %d bytes, want opcode %d %.40q of %d", f.first, f.payload, len(f.payload), op, payload, len(payload))
	}
}

// reading has a goroutine read messages until the end, which it gives.
func reading(c *Conn) <-chan error {
	end := make(chan error, 1)
	go func() {
		_, err := outcomeOf(c)
		end <- err
	}()
	return end
}

// bothSides runs a test inside a bubble for either end.
func bothSides(t *testing.T, test func(t *testing.T, cfg Config)) {
	t.Parallel()
	for name, client := range map[string]bool{"server": false, "client": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, Config{Client: client}) })
		})
	}
}

func TestPingsAreAnsweredAtOnceAndInOrder(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		end := reading(c)
		start := time.Now()
		for _, payload := range []string{"", "a", strings.Repeat("x", MaxControl)} {
			p.say(opPing, payload)
			p.expect(opPong, payload)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
		p.Close()
		if err := <-end; err != ErrAbrupt {
			t.Error(err)
		}
		c.Close()
	})
}

func TestPingsAreSentAndTheirAnswersReported(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		pongs := make(chan string, 1)
		c, p := pair(t, cfg)
		c.OnPong(func(b []byte) { pongs <- string(b) })
		end := reading(c)
		if err := c.Ping([]byte("are you there")); err != nil {
			t.Error(err)
		}
		p.expect(opPing, "are you there")
		p.say(opPong, "are you there")
		if got := <-pongs; got != "are you there" {
			t.Errorf("told of %q", got)
		}
		c.Pong()
		p.expect(opPong, "")
		if err := c.Ping(make([]byte, MaxControl+1)); err != ErrControlTooLong {
			t.Error(err)
		}
		c.Close()
		if err := <-end; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := c.Ping(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a ping after Close: %v", err)
		}
	})
}

// A message fills the network, a second one waits behind it. The peer pings:
// the latest is answered between the two, and the reader was never held up.
func TestABlockedWriterAnswersTheLatestPingBetweenMessages(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		read := 0
		end := make(chan error, 1)
		go func() {
			for {
				if _, _, err := c.ReadMessage(nil); err != nil {
					end <- err
					return
				}
				read++
			}
		}()
		first, second := string(noise(100<<10)), string(noise(90<<10))
		written := make(chan error, 2)
		go func() { written <- c.WriteMessage(Binary, []byte(first)) }()
		synctest.Wait()
		go func() { written <- c.WriteMessage(Text, []byte(second)) }()
		for range 5 {
			p.say(opPing, "old")
		}
		p.say(Binary, "data")
		p.say(opPing, "latest")
		p.say(Binary, "more data")
		synctest.Wait()
		c.Pong() // leaves the answer that waits alone
		c.Ping([]byte("ours"))
		synctest.Wait()
		if read != 2 || len(written) != 0 {
			t.Errorf("%d messages read, %d written", read, len(written))
		}
		p.expect(Binary, first)
		p.expect(opPong, "latest")
		p.expect(opPing, "ours")
		p.expect(Text, second)
		p.say(opPing, "later")
		p.expect(opPong, "later")
		if err := errors.Join(<-written, <-written); err != nil {
			t.Error(err)
		}
		p.Close()
		<-end
		c.Close()
	})
}

// The network is full and nobody writes. A ping comes, and data behind it.
func TestTheReaderDoesNotWaitForItsAnswersToLeave(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		fill := string(make([]byte, 64<<10-headerSize(length16)-map[bool]int{true: 4}[cfg.Client]))
		if err := c.WriteMessage(Binary, []byte(fill)); err != nil {
			t.Fatal(err)
		}
		p.say(opPing, "ping")
		p.say(Binary, "data")
		start := time.Now()
		if _, got, err := c.ReadMessage(nil); string(got) != "data" || err != nil || time.Since(start) != 0 {
			t.Errorf("%q, %v after %v", got, err, time.Since(start))
		}
		p.expect(Binary, fill)
		p.expect(opPong, "ping")
		c.Close()
	})
}

// hooked is a peer that has something to say to every frame it is sent.
type hooked struct {
	script
	frames atomic.Int32
	hook   func(n int32)
}

func (h *hooked) Write(p []byte) (int, error) {
	h.script.Write(p)
	h.hook(h.frames.Add(1))
	return len(p), nil
}

func TestAFloodOfPingsHoldsUpNoMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c *Conn
		var over atomic.Bool
		peer := &hooked{hook: func(int32) {
			if !over.Load() {
				c.Pong() // as if a ping had come meanwhile
			}
		}}
		c = New(peer, nil, Config{})
		for range 20 {
			if err := c.WriteMessage(Binary, []byte("data")); err != nil {
				t.Error(err)
			}
		}
		over.Store(true)
		synctest.Wait()
		c.Close()
	})
}

func TestEveryControlFrameLeavesWithoutAMessageBehindIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c *Conn
		peer := &hooked{hook: func(n int32) {
			if n < 20 {
				c.Pong()
			}
		}}
		c = New(peer, nil, Config{})
		c.WriteMessage(Binary, nil)
		synctest.Wait()
		if n := peer.frames.Load(); n != 20 {
			t.Errorf("%d frames left, want 20", n)
		}
		c.Close()
	})
}

// A message waits for the turn, but will give up because of the close frame: it
// must not be relied on for sending that.
func TestACloseFrameIsNotLeftToAMessageThatGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c *Conn
		peer := &hooked{hook: func(n int32) {
			switch {
			case n < controlKinds:
				c.Pong()
			case n == controlKinds:
				c.Pong()
				c.SendClose(CodeNormal, "")
			}
		}}
		c = New(peer, nil, Config{})
		c.w.queue = []chan error{make(chan error, 1)}
		c.WriteMessage(Binary, nil)
		synctest.Wait()
		if said, _ := refFrames(peer.out); said[len(said)-1].first != 0x88 {
			t.Errorf("said %v", said)
		}
		c.Close()
	})
}

func TestAPeerThatTakesNothingIsGivenUp(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		end := reading(c)
		time.Sleep(time.Hour) // the time before does not count
		start := time.Now()
		written := make(chan error, 1)
		go func() { written <- c.WriteMessage(Binary, make([]byte, 1<<20)) }()
		synctest.Wait()
		waiting := make(chan error, 1)
		go func() { waiting <- c.WriteMessage(Binary, nil) }()
		for _, err := range []error{<-written, <-waiting, <-end, c.WriteMessage(Binary, nil), c.Ping(nil)} {
			if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "write websocket frame") {
				t.Error(err)
			}
		}
		if took := time.Since(start); took != DefaultWriteTimeout {
			t.Errorf("took %v", took)
		}
		if _, err := io.Copy(io.Discard, p.Conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the peer sees %v", err)
		}
		c.Close()
	})
}

func TestASlowPeerIsNotGivenUp(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		for _, gathered := range []bool{false, true} {
			c, p := pair(t, cfg)
			c.w.vectored = gathered
			want := string(noise(1 << 20))
			go func() {
				if err := c.WriteOwned(Binary, []byte(want)); err != nil {
					t.Error(err)
				}
			}()
			for len(p.read) < 1<<20 {
				time.Sleep(1500 * time.Millisecond)
				buf := make([]byte, 64<<10)
				n, err := p.Read(buf)
				if err != nil {
					t.Fatalf("gathered %v: after %d bytes: %v", gathered, len(p.read), err)
				}
				p.read = append(p.read, buf[:n]...)
			}
			p.expect(Binary, want)
			c.Close()
		}
	})
}
