package native

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// scene is a link with something of every kind on it, that waits.
type scene struct {
	*pairing
	waiting int
	ended   chan result
}

type result struct {
	what string
	err  error
}

func newScene(t *testing.T) *scene {
	t.Helper()
	there := &udpSite{}
	targets := func(ctx context.Context, network, address string) (pipe.Conn, error) {
		switch address {
		case "deaf:80":
			return deaf{make(chan struct{})}, nil
		case "hangs:80":
			<-ctx.Done()
			return nil, ctx.Err()
		case "talks:80":
			return serving(func(c *memnet.Conn) { _, _ = c.Write(zeros(1 << 20)) })(ctx, network, address)
		}
		return serving(echo)(ctx, network, address)
	}
	sc := &scene{ended: make(chan result, 16)}
	sc.pairing = newLink(t, link.Config{Dial: targets}, link.Config{
		Dial: targets, UDP: there, UDPIdle: 24 * time.Hour, DialTimeout: 24 * time.Hour,
		Manage: func(link.Wish, func(redact.Secret, string)) {},
	})
	at := func(e *end, address string) *Stream {
		c, err := e.Dial(t.Context(), "tcp", address)
		must(t, err)
		return c.(*Stream)
	}
	idle, theirs, stuck := at(sc.near, "target:80"), at(sc.far, "target:80"), at(sc.near, "deaf:80")
	sc.read("read", idle)
	sc.read("read of the server", theirs)
	sc.wait("write", func() error {
		defer stuck.Close()
		_, err := stuck.Write(zeros(2 << 20))
		return err
	})
	for name, address := range map[string]string{"idle join": "target:80", "blocked join": "talks:80"} {
		user, program := memnet.New().Pair()
		c := at(sc.near, address)
		sc.wait(name, func() error { return pipe.Join(user, c, nil) })
		if address == "target:80" {
			sc.read("program of a join", program)
		}
	}
	sc.wait("dial", func() error {
		_, err := sc.near.Dial(context.Background(), "tcp", "hangs:80")
		return err
	})
	early, err := sc.near.DialEarly(t.Context(), "tcp", "hangs:80")
	must(t, err)
	sc.wait("early dial", func() error {
		defer early.Close()
		return early.(site.Pending).Opened(context.Background())
	})
	a, err := sc.near.Associate(t.Context())
	must(t, err)
	sc.wait("association", func() error { return a.Await() })
	synctest.Wait()
	there.hang = true
	sc.wait("association that is opened", func() error {
		_, err := sc.near.Associate(context.Background())
		return err
	})
	synctest.Wait()
	return sc
}

func (sc *scene) read(name string, c net.Conn) {
	sc.wait(name, func() error {
		defer c.Close()
		_, err := c.Read(make([]byte, 1))
		return err
	})
}

func (sc *scene) wait(what string, f func() error) {
	sc.waiting++
	go func() { sc.ended <- result{what, f()} }()
}

// losses are the ways in which a link ends, with how long it may take to notice
// and what its two ends are told.
var losses = map[string]struct {
	cut       func(sc *scene)
	limit     time.Duration
	near, far error
}{
	"cut":               {func(sc *scene) { sc.net.Cut() }, 0, syscall.ECONNRESET, syscall.ECONNRESET},
	"closed here":       {func(sc *scene) { sc.near.Close() }, 0, net.ErrClosed, nil},
	"closed there":      {func(sc *scene) { sc.far.Close() }, 0, nil, net.ErrClosed},
	"context here":      {func(sc *scene) { sc.near.stop() }, 0, net.ErrClosed, nil},
	"shut here":         {func(sc *scene) { sc.near.Shut() }, time.Second, nil, nil},
	"shut there":        {func(sc *scene) { sc.far.Shut() }, time.Second, nil, nil},
	"a black hole":      {func(sc *scene) { sc.net.BlackHole(true) }, link.DeadAfter + link.CheckInterval + time.Second, link.ErrDead, link.ErrDead},
	"shut into a hole":  {func(sc *scene) { sc.net.BlackHole(true); sc.near.Shut() }, link.DeadAfter + link.CheckInterval, os.ErrDeadlineExceeded, link.ErrDead},
	"closed and closed": {func(sc *scene) { sc.near.Close(); sc.near.Close(); sc.far.Shut() }, time.Second, net.ErrClosed, nil},
}

// Invariant 5.
func TestALinkThatEndsEndsAllThatIsOnItAtOnce(t *testing.T) {
	t.Parallel()
	for name, loss := range losses {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sc := newScene(t)
				sc.wait("wish", func() error {
					_, err := sc.near.Manage(context.Background(), link.Wish{})
					return err
				})
				if loss.limit > 10*time.Second { // a wish has ended by then
					<-sc.ended
					sc.waiting--
				}
				synctest.Wait()
				if n := len(sc.ended); n > 0 {
					t.Fatalf("%d have ended before: %v", n, <-sc.ended)
				}
				if d := took(func() {
					loss.cut(sc)
					sc.wantAllLost(t)
				}); d > loss.limit {
					t.Errorf("it took %v", d)
				}
				for _, side := range []struct {
					*end
					want error
				}{{sc.near, loss.near}, {sc.far, loss.far}} {
					if side.err == nil || side.want != nil && !errors.Is(side.err, side.want) {
						t.Errorf("the link ended with %v, want %v", side.err, side.want)
					}
				}
			})
		})
	}
}

func (sc *scene) wantAllLost(t *testing.T) {
	t.Helper()
	for range sc.waiting {
		r := <-sc.ended
		told := errors.Is(r.err, link.ErrLost)
		switch r.what {
		case "program of a join":
			told = errors.Is(r.err, syscall.ECONNRESET)
		case "association", "blocked join":
			told = errors.Is(r.err, net.ErrClosed)
		case "early dial":
			told = told || errors.Is(r.err, link.ErrUnanswered)
		}
		if r.err == nil || r.err == io.EOF || !told {
			t.Errorf("%s ended with %v", r.what, r.err)
		}
	}
	<-sc.near.over
	<-sc.far.over
	<-sc.near.Done()
	<-sc.far.Done()
	wantNothingLeft(t, sc.near, sc.far)
	if _, err := sc.near.Dial(t.Context(), "tcp", "target:80"); !errors.Is(err, link.ErrLost) {
		t.Errorf("a dial: %v", err)
	}
	if _, err := sc.near.DialEarly(t.Context(), "tcp", "target:80"); !errors.Is(err, link.ErrLost) {
		t.Errorf("an early dial: %v", err)
	}
	if _, err := sc.near.Associate(t.Context()); !errors.Is(err, link.ErrLost) {
		t.Errorf("an association: %v", err)
	}
	if _, err := sc.near.Manage(t.Context(), link.Wish{}); !errors.Is(err, link.ErrLost) {
		t.Errorf("a wish: %v", err)
	}
	sc.near.Drain()
	sc.near.TellPartners(1)
}

func TestAPeerThatTakesNothingLosesItsLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st := p.opened()
		p.say(window(st.id, 1<<20))
		p.raw.StopReading(true)
		pinged := make(chan struct{})
		go func() {
			defer close(pinged)
			for p.conn.Ping(nil) == nil { // it is no silent peer
				time.Sleep(time.Second)
			}
		}()
		var err error
		if d := took(func() { _, err = st.Write(zeros(1 << 20)) }); d < 25*time.Second || d > 31*time.Second {
			t.Errorf("it took %v", d)
		}
		if !errors.Is(err, link.ErrLost) {
			t.Errorf("the write ended with %v", err)
		}
		e.wantEnded(t, os.ErrDeadlineExceeded)
		must(t, st.Close())
		_ = p.conn.Close()
		<-pinged
		wantNothingLeft(t, e)
	})
}

func TestAPeerThatTakesNoAnswersLosesItsLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		p.raw.StopReading(true)
		go func() {
			for id := uint32(1); id < 80000; id += 2 {
				p.say(opening{kind: openUDP}.append(nil, id))
			}
		}()
		if d := took(func() { <-e.over }); d > link.CheckInterval {
			t.Errorf("it took %v", d)
		}
		e.wantEnded(t, link.ErrStuck)
		p.raw.StopReading(false)
	})
}

// What a peer has said whole is delivered, even when the link is gone.
func TestWhatThePeerHadSaidWholeIsDeliveredToWhoOpenedTheStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		e, p := byHand(t, false, link.Config{Dial: dial})
		opened, half := p.opened(), p.opened()
		p.say(data(opened.id, noise(1, 65536)), bare(typeFin, opened.id), data(half.id, noise(1, 65536)))
		id := p.open()
		target := <-came
		p.say(data(id, []byte("request")), bare(typeFin, id))
		wantRead(t, target, []byte("request"))
		synctest.Wait()
		p.net.Cut()
		<-e.over
		time.Sleep(time.Hour)
		wantAll(t, opened, noise(1, 65536))
		if _, err := opened.Write([]byte("x")); !errors.Is(err, link.ErrLost) {
			t.Errorf("a write: %v", err)
		}
		wantFailure(t, half, link.ErrLost)
		if _, err := io.ReadAll(target); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target of a stream whose answer is lost reads %v", err)
		}
		must(t, opened.Close(), half.Close())
		wantNothingLeft(t, e)
	})
}

func TestShutSaysThatThePeerIsGoingAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		e.Shut()
		<-e.over
		<-p.over
		if c, ok := errors.AsType[*ws.CloseError](p.err); !ok || c.Code != ws.CodeGoingAway {
			t.Errorf("the peer was told %v", p.err)
		}
	})
}
