package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/api"
	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

const transfer = 8 << 20

func TestBytesGoThroughAClientAndComeBackWhole(t *testing.T) {
	t.Parallel()
	at := target.Start(t)
	for name, fast := range map[string]bool{"waiting": false, "fast open": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hostRelay(t)
			r.set(func(m *manner) { m.config.Dial = new(site.Here).Dial })
			o := client(r)
			o.Threads, o.FastOpen = 2, fast
			p := start(t, o)
			socks := <-p.ready
			work(t, func() net.Conn { return through(t, socks, at) })
		})
	}
}

// work has a target prove each byte, both ways and after a half-close.
func work(t *testing.T, dial func() net.Conn) {
	t.Helper()
	for name, prove := range map[string]func(net.Conn, int64) error{
		"download": target.Download, "upload": target.Upload, "half-close": target.HalfClose,
	} {
		c := dial()
		if err := prove(c, transfer); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.Close()
	}
}

func TestBytesGoThroughAProviderAndComeBackWhole(t *testing.T) {
	t.Parallel()
	at := target.Start(t)
	r := hostRelay(t)
	p := start(t, provider(r))
	s := <-r.up
	if socks := <-p.ready; socks != nil {
		t.Errorf("a provider is ready at %v", socks)
	}
	work(t, func() net.Conn {
		c, err := s.Dial(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}

func TestAProviderTellsTheRelayWhyItDidNotDial(t *testing.T) {
	t.Parallel()
	r := hostRelay(t)
	o := provider(r)
	o.Dial = func(_ context.Context, _, address string) (pipe.Conn, error) {
		return nil, &site.DialError{Reason: site.Denied, Address: address, Err: errAsked}
	}
	start(t, o)
	s := <-r.up
	if _, err := s.Dial(t.Context(), "tcp", "192.0.2.1:80"); site.ReasonOf(err) != site.Denied || !strings.Contains(err.Error(), errAsked.Error()) {
		t.Errorf("the relay was told %v", err)
	}
	if _, err := s.Associate(t.Context()); site.ReasonOf(err) != site.Denied {
		t.Errorf("without UDP the relay was told %v", err)
	}
}

func TestAClientAndAConnectorDialNothingForTheRelay(t *testing.T) {
	t.Parallel()
	for _, role := range []Role{Client, Connector} {
		r := hostRelay(t)
		o := client(r)
		o.Role, o.UDP = role, new(site.Here)
		o.Dial = func(context.Context, string, string) (pipe.Conn, error) {
			t.Error("the relay had it dial")
			return nil, errAsked
		}
		start(t, o)
		s := <-r.up
		if _, err := s.Dial(t.Context(), "tcp", "127.0.0.1:1"); site.ReasonOf(err) != site.Denied {
			t.Errorf("the relay was told %v", err)
		}
		if _, err := s.Associate(t.Context()); site.ReasonOf(err) != site.Denied {
			t.Errorf("the relay was told %v of datagrams", err)
		}
	}
}

func TestDatagramsGoThroughAClientAndAProvider(t *testing.T) {
	t.Parallel()
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(buf[:n], from)
		}
	})
	t.Cleanup(func() { _ = echo.Close(); group.Wait() })
	at := echo.LocalAddr().(*net.UDPAddr)

	r := hostRelay(t)
	o := provider(r)
	o.UDP = new(site.Here)
	start(t, o)
	there := <-r.up // the relay's way to the provider
	r.set(func(m *manner) { m.config.UDP = there })
	p := start(t, client(r))
	socks := <-p.ready
	control, err := net.Dial("tcp", socks.String())
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	reply, bound, err := ask(control, 3, "0.0.0.0", 0)
	if err != nil || reply != 0 {
		t.Fatalf("reply %d, %v", reply, err)
	}
	c, err := net.Dial("udp", bound.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	head := []byte{0, 0, 0, 1, 127, 0, 0, 1, byte(at.Port >> 8), byte(at.Port)}
	if _, err := c.Write(append(head, "hello"...)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	if want := string(head) + "hello"; err != nil || string(buf[:n]) != want {
		t.Errorf("got %q, %v, want %q", buf[:n], err, want)
	}
}

func TestALostLinkEndsItsStreamsAtOnceAndIsMadeAnew(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		var group sync.WaitGroup
		r.set(func(m *manner) { m.config.Dial = echo(n, &group) })
		p := start(t, o)
		<-p.ready
		for range 3 {
			s := <-r.up
			c := memThrough(t, n)
			began := time.Now()
			s.Close()
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("the stream ended with %v", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("the stream ended after %v", took)
			}
			time.Sleep(10 * time.Second)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		group.Wait()
	})
}

// memThrough opens a connection by way of the SOCKS port in memory, and sees
// that it carries.
func memThrough(t *testing.T, n *memnet.Network) net.Conn {
	t.Helper()
	c, err := n.Dial(t.Context(), "socks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if reply, _, err := ask(c, 1, "any", 80); err != nil || reply != 0 {
		t.Fatalf("reply %d, %v", reply, err)
	}
	pingPong(t, c)
	return c
}

func pingPong(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

func TestStreamsSpreadOverLinksAndALostOneEndsItsOwnAlone(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		var group sync.WaitGroup
		r.set(func(m *manner) { m.config.Dial = echo(n, &group) })
		o.Threads = 2
		p := start(t, o)
		a, b := <-r.up, <-r.up
		<-p.ready
		var conns [6]net.Conn
		for i := range conns {
			conns[i] = memThrough(t, n)
		}
		if a.Streams() != 3 || b.Streams() != 3 {
			t.Errorf("6 streams are spread as %d and %d", a.Streams(), b.Streams())
		}
		r.set(func(m *manner) { m.status = 503 })
		a.Close()
		lost := 0
		for _, c := range conns {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			if _, err := c.Write([]byte("pong")); err != nil {
				lost++
				continue
			}
			if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
				lost++
			}
		}
		if lost != 3 || b.Streams() != 3 {
			t.Errorf("%d streams were lost, %d are left", lost, b.Streams())
		}
		for range 4 {
			memThrough(t, n)
		}
		if b.Streams() != 7 {
			t.Errorf("the link that is left has %d streams", b.Streams())
		}
		_ = p.stop()
		group.Wait()
	})
}

func TestASilentLinkIsAvoidedWhileThereIsABetterOne(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		var group sync.WaitGroup
		r.set(func(m *manner) { m.config.Dial = echo(n, &group) })
		var mu sync.Mutex
		var first *memnet.Conn
		o.Dialer.NetDial = func(ctx context.Context, _, address string) (pipe.Conn, error) {
			c, err := n.Dial(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = c
			}
			return c, err
		}
		o.Threads = 2
		p := start(t, o)
		sessions := []*upLink{<-r.up, <-r.up}
		<-p.ready
		synctest.Wait() // the relay has a link up before its peer knows
		mu.Lock()
		first.StopReading(true)
		mu.Unlock()
		time.Sleep(silentAfter + time.Second)
		began := time.Now()
		for range 4 {
			memThrough(t, n)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("4 streams took %v: one was tried on the silent link", took)
		}
		if x, y := sessions[0].Streams(), sessions[1].Streams(); max(x, y) != 4 || min(x, y) != 0 {
			t.Errorf("4 streams are spread as %d and %d", x, y)
		}
		_ = p.stop()
		group.Wait()
	})
}

func TestAnOpeningThatLosesItsLinkTakesTheNext(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		var group sync.WaitGroup
		answer := echo(n, &group)
		var sessions [2]*upLink
		dials := 0
		r.set(func(m *manner) {
			m.config.Dial = func(ctx context.Context, network, address string) (pipe.Conn, error) {
				if dials++; dials > 1 {
					return answer(ctx, network, address)
				}
				for _, s := range sessions {
					if s.Streams() > 0 {
						s.Close()
					}
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		o.Threads = 2
		p := start(t, o)
		sessions = [2]*upLink{<-r.up, <-r.up}
		<-p.ready
		r.set(func(m *manner) { m.status = 503 })
		memThrough(t, n)
		if dials != 2 {
			t.Errorf("%d dials", dials)
		}
		_ = p.stop()
		group.Wait()
	})
}

// calm is a link that is up and idle.
type calm struct{ wire.Session }

func (calm) Done() <-chan struct{}  { return nil }
func (calm) Silence() time.Duration { return 0 }
func (calm) Streams() int           { return 0 }

// Nothing was sent, so another try loses nothing; but not for ever.
func TestWhatLosesItsWayBehindTheRelayIsOpenedAgain(t *testing.T) {
	t.Parallel()
	lost := &site.DialError{Reason: site.NetworkUnreachable, Address: "target:80", Err: wire.ErrBehind}
	for _, losses := range []int{0, 1, maxAgain, maxAgain + 1} {
		var ls links
		ls.init()
		ls.add(&link{Session: calm{}})
		tries := 0
		got, err := overLinks(t.Context(), &ls, "target:80", func(context.Context, *link) (string, error) {
			if tries++; tries <= losses {
				return "", lost
			}
			return "opened", nil
		})
		if losses <= maxAgain && (got != "opened" || err != nil || tries != losses+1) {
			t.Errorf("%d losses: %q, %v, by %d tries", losses, got, err, tries)
		}
		if losses > maxAgain && (err != lost || tries != losses) {
			t.Errorf("%d losses: %v, by %d tries", losses, err, tries)
		}
	}
}

func TestWhoWaitsForALinkIsToldOfItsOwnEnd(t *testing.T) {
	t.Parallel()
	var ls links
	ls.init()
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err := ls.Dial(ctx, "tcp", "target:80")
	if site.ReasonOf(err) != site.TimedOut || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestWithoutReconnectALostLinkIsTheEnd(t *testing.T) {
	t.Parallel()
	for _, threads := range []int{1, 3} {
		r := hostRelay(t)
		o := client(r)
		o.NoReconnect, o.Threads = true, threads
		p := start(t, o)
		for range threads {
			defer (<-r.up).Close()
		}
		<-p.ready
		r.stop()
		<-p.ended
		if e, ok := errors.AsType[*api.Error](p.err); !ok || e.Code != api.CodeConnectionLost {
			t.Errorf("ended with %v", p.err)
		}
	}
}

func TestAnEndIsToldToTheRelay(t *testing.T) {
	t.Parallel()
	r := hostRelay(t)
	p := start(t, provider(r))
	<-p.ready
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	closed, ok := errors.AsType[*ws.CloseError](<-r.ends)
	if !ok || closed.Code != ws.CodeGoingAway {
		t.Errorf("the relay's end of the link ended with %v", closed)
	}
}

func TestAnEndDoesNotWaitForATargetThatHangs(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, _ Options) {
		near, far := n.Pair() // nobody reads far
		defer far.Close()
		o := provider(r)
		o.Dialer = memDialer(n)
		o.Dial = func(context.Context, string, string) (pipe.Conn, error) { return near, nil }
		p := start(t, o)
		c, err := (<-r.up).Dial(t.Context(), "tcp", "any:80")
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		group.Go(func() { _, _ = io.CopyN(c, target.Stream(), transfer) }) // until its link is not read any more
		time.Sleep(time.Second)
		began := time.Now()
		if err := p.stop(); err != nil || time.Since(began) > 3*time.Second {
			t.Errorf("ended after %v with %v", time.Since(began), err)
		}
		_ = c.Close()
		group.Wait()
	})
}

func TestALinkThatEndedIsForgotten(t *testing.T) {
	t.Parallel()
	r := hostRelay(t)
	p := newPeer(client(r))
	var group sync.WaitGroup
	group.Go(func() { (<-r.up).Close() })
	lived, err := (&thread{peer: p, log: p.log}).link(t.Context())
	group.Wait()
	if lived == 0 || err == nil || len(p.links.up) != 0 {
		t.Errorf("%d links after one that lived for %v and ended with %v", len(p.links.up), lived, err)
	}
}

func TestAnEndDoesNotWaitForARelayThatHangs(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		p := start(t, o)
		<-p.ready
		n.BlackHole(true)
		began := time.Now()
		if err := p.stop(); err != nil || time.Since(began) > 3*time.Second {
			t.Errorf("ended after %v with %v", time.Since(began), err)
		}
		n.BlackHole(false)
	})
}
