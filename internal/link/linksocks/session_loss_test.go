package linksocks

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// scene is a link with something of every kind on it.
type scene struct {
	*pair
	ended   chan error // how each of what waited ended
	waiting int
}

// newScene has, on a link: an idle stream, a stream whose target takes no
// bytes, a dial of which nothing is heard, and associations.
func newScene(t *testing.T) *scene {
	t.Helper()
	sc := &scene{ended: make(chan error, 16)}
	sc.pair = newLink(t, link.Config{}, link.Config{
		UDP: &udpSite{}, UDPIdle: 24 * time.Hour, DialTimeout: 24 * time.Hour,
		Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
			switch address {
			case "deaf:80": // its other end is never read
				near, far := memnet.New().Pair()
				sc.wait(func() error {
					// Read to its reset only, with the rest in between.
					return untilReset(far)
				})
				return near, nil
			case "hangs:80":
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return serving(echo)(ctx, network, address)
		}})
	idle := dial(t, sc.near)
	sc.wait(func() error { _, err := idle.Read(make([]byte, 1)); return err })
	deaf, err := sc.near.Dial(t.Context(), "tcp", "deaf:80")
	must(t, err)
	sc.wait(func() error { _, err := deaf.Write(make([]byte, 2<<20)); return endOf(deaf, err) })
	user, program := memnet.New().Pair()
	joined := dial(t, sc.near)
	sc.wait(func() error { return pipe.Join(user, joined, nil) })
	sc.wait(func() error { _, err := program.Read(make([]byte, 1)); return err })
	sc.wait(func() error {
		_, err := sc.near.Dial(context.Background(), "tcp", "hangs:80")
		var dial *site.DialError
		if !errors.As(err, &dial) || !errors.Is(err, link.ErrLost) {
			t.Errorf("the dial ended with %v", err)
		}
		return err
	})
	a, err := sc.near.Associate(t.Context())
	must(t, err)
	sc.wait(func() error { _, _, err := a.Receive(make([]byte, 1)); return err })
	synctest.Wait()
	return sc
}

// endOf waits for the end of a stream that is written to.
func endOf(st pipe.Conn, err error) error {
	if err == nil {
		_, err = st.Read(make([]byte, 1))
	}
	return err
}

// untilReset takes nothing of what c's peer sends, and waits for its reset.
func untilReset(c *memnet.Conn) error {
	for {
		if _, err := c.Write([]byte("?")); err != nil {
			return c.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (sc *scene) wait(f func() error) {
	sc.waiting++
	go func() { sc.ended <- f() }()
}

// wantAllEnded wants everything to end within a second of cut.
func (sc *scene) wantAllEnded(t *testing.T, limit time.Duration) {
	t.Helper()
	if d := took(func() {
		for range sc.waiting {
			<-sc.ended
		}
		<-sc.near.over
		<-sc.far.over
	}); d > limit {
		t.Errorf("it took %v", d)
	}
	if n := sc.near.Streams() + sc.far.Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	for _, e := range []*end{sc.near, sc.far} {
		select {
		case <-e.Done():
		default:
			t.Error("it is not said to be done")
		}
	}
	if _, err := sc.near.Dial(t.Context(), "tcp", "target:80"); !errors.Is(err, link.ErrLost) {
		t.Errorf("a dial on a lost link: %v", err)
	}
	if _, err := sc.near.Associate(t.Context()); !errors.Is(err, link.ErrLost) {
		t.Errorf("an association on a lost link: %v", err)
	}
}

func TestACutLinkEndsEverythingOnBothSidesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := newScene(t)
		sc.pair.net.Cut()
		sc.wantAllEnded(t, time.Second)
		if !errors.Is(sc.near.err, syscall.ECONNRESET) || !errors.Is(sc.far.err, syscall.ECONNRESET) {
			t.Errorf("the ends are %v and %v", sc.near.err, sc.far.err)
		}
	})
}

func TestClosingOneEndEndsEverythingOnBothSidesAtOnce(t *testing.T) {
	for name, shut := range map[string]func(*end){
		"Close": func(e *end) { e.Close() },
		"Shut":  func(e *end) { e.Shut() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sc := newScene(t)
				shut(sc.far)
				sc.wantAllEnded(t, time.Second)
				var reason *ws.CloseError
				if name == "Shut" && (!errors.As(sc.near.err, &reason) || reason.Code != ws.CodeGoingAway) {
					t.Errorf("the other end is told %v", sc.near.err)
				}
			})
		})
	}
}

func TestASilentPeerIsDeadAfterThirtySeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := newScene(t)
		time.Sleep(5 * time.Minute) // silent users do not make a link dead
		select {
		case <-sc.near.over:
			t.Fatalf("an idle link ended: %v", sc.near.err)
		default:
		}
		sc.pair.net.BlackHole(true)
		begun := time.Now()
		<-sc.near.over
		if d := time.Since(begun); d < link.DeadAfter-link.PingInterval || d > link.DeadAfter+link.PingInterval {
			t.Errorf("it was found dead after %v", d)
		}
		sc.wantAllEnded(t, link.PingInterval)
		if !errors.Is(sc.near.err, link.ErrDead) || !errors.Is(sc.far.err, link.ErrDead) {
			t.Errorf("the ends are %v and %v", sc.near.err, sc.far.err)
		}
	})
}

func TestAnyFrameIsASignOfLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		p.raw.StopReading(true) // so it answers no pings
		for range 10 {
			time.Sleep(25 * time.Second)
			p.say(Partners{Count: 1})
		}
		synctest.Wait()
		select {
		case <-e.over:
			t.Errorf("it ended: %v", e.err)
		default:
		}
		if s := e.Silence(); s != 0 {
			t.Errorf("it was silent for %v", s)
		}
	})
}

func TestPingsGoOutEveryTenSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := memnet.New()
		near, far := n.Pair()
		run(t, near, false, link.Config{})
		defer far.Close()
		for range 5 {
			var frame [2]byte
			d := took(func() {
				_, err := far.Read(frame[:])
				must(t, err)
			})
			if frame != [2]byte{0x89, 0} || d != link.PingInterval {
				t.Errorf("after %v came % x", d, frame)
			}
			_, err := far.Write(appendFrame(nil, 0x8a, nil, true))
			must(t, err)
		}
	})
}

func TestWhatAPeerSaidToItsEndIsDeliveredThoughTheLinkIsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		half, other := opened(t, e, p)
		words := noise(1, 1<<20)
		p.data(channel, words)
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		p.data(other, words)
		synctest.Wait()
		p.net.Cut()
		<-e.over
		if _, err := st.Write([]byte("x")); err == nil {
			t.Error("a write to a lost link")
		}
		wantAll(t, st, words)
		// A Join that passes our user's end on must not make an error of it.
		if err := st.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("CloseWrite: %v", err)
		}
		must(t, st.Close())
		wantFailure(t, half, link.ErrLost) // of this one there might have been more
		if n := e.inbound.room.held.Load(); n != 0 {
			t.Errorf("%d bytes are still held", n)
		}
	})
}

func TestALinkThatIsLostWhileItWaitsForASlowReaderEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		p.inBackground(func() { p.flood(channel, maxStreamQueue+4*block) })
		synctest.Wait()
		p.ending.Store(true)
		if d := took(func() {
			e.Close()
			<-e.over
		}); d != 0 {
			t.Errorf("it took %v", d)
		}
		wantFailure(t, st, link.ErrLost)
	})
}

func TestWhenRunReturnsTheConnectionIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := memnet.New()
		near, far := n.Pair()
		defer far.Close()
		s := New(ws.New(near, nil, ws.Config{}), link.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.Run(ctx)
			if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Run has returned, and writing gives %v", err)
			}
		}()
		synctest.Wait()
		s.Shut() // the peer does not answer
		cancel()
		<-ended
	})
}

func TestAContextThatHasEndedEndsRunAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		defer far.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := New(ws.New(near, nil, ws.Config{}), link.Config{})
		if d := took(func() { _ = s.Run(ctx) }); d != 0 {
			t.Errorf("it took %v", d)
		}
	})
}

// Its last words need a moment: whoever closes it waits for them.
func TestEveryCloseReturnsWhenTheConnectionIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		defer far.Close()
		s := New(ws.New(near, nil, ws.Config{}), link.Config{})
		s.Shut() // the peer does not answer
		var work sync.WaitGroup
		for range 3 {
			work.Go(func() {
				s.Close()
				if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Close has returned, and writing gives %v", err)
				}
			})
		}
		work.Wait()
	})
}
