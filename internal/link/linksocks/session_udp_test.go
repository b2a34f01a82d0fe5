package linksocks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/site"
)

// packet is a datagram and where it goes to or comes from.
type packet struct {
	payload string
	host    string
	port    uint16
}

// udpSite makes associations in memory.
type udpSite struct {
	mu   sync.Mutex
	made []*udpTarget
	err  error
}

func (s *udpSite) Associate(context.Context) (site.Association, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	a := &udpTarget{sent: make(chan packet, 4096), came: make(chan packet, 4096), next: make(chan packet, 1), closed: make(chan struct{})}
	s.made = append(s.made, a)
	return a, nil
}

// only gives the one association that was made.
func (s *udpSite) only(t *testing.T) *udpTarget {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.made) != 1 {
		t.Fatalf("%d associations", len(s.made))
	}
	return s.made[0]
}

type udpTarget struct {
	sent   chan packet // by the session
	came   chan packet // for it
	next   chan packet // what Await took of it
	closed chan struct{}
	once   sync.Once
}

func (a *udpTarget) Send(p []byte, host string, port uint16) error {
	if host == "refused.test" {
		return &site.DialError{Reason: site.Denied, Address: host, Err: errors.New("not there")}
	}
	a.sent <- packet{string(p), host, port}
	return nil
}

func (a *udpTarget) Await() error {
	select {
	case d := <-a.came:
		a.next <- d
		return nil
	case <-a.closed:
		return net.ErrClosed
	}
}

// Receive is called after Await.
func (a *udpTarget) Receive(p []byte) (int, netip.AddrPort, error) {
	d := <-a.next
	return copy(p, d.payload), netip.AddrPortFrom(netip.MustParseAddr(d.host), d.port), nil
}

func (a *udpTarget) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

func TestDatagramsGoBothWaysWholeAndWithTheirAddresses(t *testing.T) {
	for _, opener := range []string{"client", "server"} {
		t.Run(opener, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				there := &udpSite{}
				l := newLink(t, link.Config{UDP: there}, link.Config{UDP: there})
				from, to := l.near, l.far
				if opener == "server" {
					from, to = to, from
				}
				a, err := from.Associate(t.Context())
				must(t, err)
				target := there.only(t)
				for i, d := range []packet{
					{"", "192.0.2.1", 53},
					{"x", "2001:db8::1", 65535},
					{string(noise(1, 65507)), "example.test", 1},
					{"y", "Not-Resolved.EXAMPLE.test.", 443},
					{"z", "", 0},
				} {
					must(t, a.Send([]byte(d.payload), d.host, d.port))
					if got := <-target.sent; got != d {
						t.Errorf("datagram %d: %d bytes for %q port %d arrived", i, len(got.payload), got.host, got.port)
					}
				}
				buf := make([]byte, 65535)
				for i, d := range []packet{
					{"", "192.0.2.1", 53},
					{"x", "2001:db8::1", 65535},
					{string(noise(2, 65507)), "203.0.113.7", 1},
				} {
					target.came <- d
					n, source, err := a.Receive(buf)
					if err != nil || string(buf[:n]) != d.payload || source.String() != net.JoinHostPort(d.host, fmt.Sprint(d.port)) {
						t.Errorf("datagram %d: %d bytes from %v, %v", i, n, source, err)
					}
				}
				target.came <- packet{"mapped", "::ffff:192.0.2.9", 9}
				if _, source, _ := a.Receive(buf); source.String() != "192.0.2.9:9" {
					t.Errorf("a mapped source is %v", source)
				}
				must(t, a.Close())
				<-target.closed
				wantNothingOpen(t, from)
				wantNothingOpen(t, to)
				if err := a.Send([]byte("x"), "192.0.2.1", 53); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Send after Close: %v", err)
				}
				if _, _, err := a.Receive(buf); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Receive after Close: %v", err)
				}
				must(t, a.Close())
			})
		})
	}
}

func TestAStockPeerIsSentDatagramsAsItSendsThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		there := &udpSite{}
		e, p := byHand(t, false, link.Config{UDP: there})
		channel := uuid.New()
		p.say(Connect{Proto: UDP, Channel: channel})
		if m := hear[*ConnectResponse](p); !m.OK || m.Channel != channel {
			t.Fatalf("heard %+v", m)
		}
		target := there.only(t)
		p.say(Data{Proto: UDP, Channel: channel, Payload: []byte("q"), Target: Endpoint{Host: []byte("name.test"), Port: 53}})
		if got := <-target.sent; got != (packet{"q", "name.test", 53}) {
			t.Errorf("sent %+v", got)
		}
		p.say(Data{Proto: UDP, Channel: channel, Payload: []byte("q"), Target: Endpoint{Host: []byte("refused.test"), Port: 53}})
		target.came <- packet{"a", "192.0.2.1", 53}
		m := hear[*Data](p)
		if string(m.Payload) != "a" || string(m.Source.Host) != "192.0.2.1" || m.Source.Port != 53 || len(m.Target.Host) != 0 || m.Target.Port != 0 {
			t.Errorf("heard %+v", m)
		}
		synctest.Wait()
		if e.counts.of("udp_unsent") != 1 {
			t.Error("what was refused is not counted")
		}
		must(t, target.Close()) // its socket broke
		if m := hear[*Disconnect](p); m.Channel != channel {
			t.Errorf("heard %+v", m)
		}
		wantNothingOpen(t, e)
	})
}

// associated has the session open an association with the peer.
func associated(t *testing.T, e *end, p *peer) (site.Association, uuid.UUID) {
	t.Helper()
	came := make(chan site.Association, 1)
	go func() {
		a, err := e.Associate(t.Context())
		if err != nil {
			t.Error(err)
		}
		came <- a
	}()
	m := hear[*Connect](p)
	if m.Proto != UDP {
		t.Errorf("heard %+v", m)
	}
	p.say(ConnectResponse{OK: true, Channel: m.Channel})
	return <-came, m.Channel
}

func TestADatagramFromNowhereIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		a, channel := associated(t, e, p)
		for _, host := range []string{"", "name.test", "fe80::1%eth0", "1.2.3"} {
			p.say(Data{Proto: UDP, Channel: channel, Payload: []byte("bad"), Source: Endpoint{Host: []byte(host), Port: 1}})
		}
		p.say(Data{Proto: UDP, Channel: channel, Payload: []byte("good"), Source: Endpoint{Host: []byte("192.0.2.1"), Port: 1}})
		buf := make([]byte, 10)
		if n, _, err := a.Receive(buf); err != nil || string(buf[:n]) != "good" {
			t.Errorf("received %q, %v", buf[:n], err)
		}
		if n := e.counts.of("udp_malformed"); n != 4 {
			t.Errorf("%d are counted", n)
		}
	})
}

func TestDatagramsThatNobodyReceivesHoldNobodyUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		a, channel := associated(t, e, p)
		st, stream := opened(t, e, p)
		const queued = 64 // for their reader
		d := Data{Proto: UDP, Channel: channel, Payload: make([]byte, 1000), Source: Endpoint{Host: []byte("192.0.2.1"), Port: 1}}
		if d := took(func() {
			for range queued + 36 {
				p.say(d)
			}
			p.data(stream, []byte("past them"))
			wantRead(t, st, []byte("past them"))
		}); d != 0 {
			t.Errorf("it took %v", d)
		}
		if n := e.counts.of("udp_lost"); n != 36 {
			t.Errorf("%d are counted as lost", n)
		}
		for range queued {
			_, _, err := a.Receive(nil)
			must(t, err)
		}
	})
}

// There is no such datagram, and 64 of them would be a lot of memory.
func TestADatagramOfAnImpossibleLengthIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		there := &udpSite{}
		e, p := byHand(t, true, link.Config{UDP: there})
		a, channel := associated(t, e, p)
		from := Endpoint{Host: []byte("192.0.2.1"), Port: 1}
		p.say(Data{Proto: UDP, Channel: channel, Payload: make([]byte, flow.MaxDatagram+1), Source: from})
		p.say(Data{Proto: UDP, Channel: channel, Payload: []byte("fits"), Source: from})
		buf := make([]byte, 10)
		if n, _, err := a.Receive(buf); err != nil || string(buf[:n]) != "fits" {
			t.Errorf("received %q, %v", buf[:n], err)
		}
		if n := e.counts.of("udp_malformed"); n != 1 {
			t.Errorf("%d are counted", n)
		}
	})
}

func TestDatagramsToAPeerThatDoesNotReadAreLostAndDoNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		a, _ := associated(t, e, p)
		p.raw.StopReading(true)
		const n, size = 100, 20000
		if d := took(func() {
			for range n {
				must(t, a.Send(make([]byte, size), "192.0.2.1", 53))
			}
		}); d != 0 {
			t.Errorf("it took %v", d)
		}
		synctest.Wait()
		p.raw.StopReading(false)
		synctest.Wait()
		if lost, heard := e.counts.of("udp_lost"), len(p.heard); lost+heard != n || lost == 0 || heard < maxDatagrams/size-1 {
			t.Errorf("%d are lost, %d heard, of %d", lost, heard, n)
		}
	})
}

func TestAnIdleAssociationIsEndedOnBothSides(t *testing.T) {
	bubble(t, func(t *testing.T) {
		there := &udpSite{}
		l := newLink(t, link.Config{UDPIdle: time.Hour}, link.Config{UDP: there, UDPIdle: 30 * time.Second})
		a, err := l.near.Associate(t.Context())
		must(t, err)
		target := there.only(t)
		for i := range 8 { // either direction is a sign of life
			time.Sleep(25 * time.Second)
			if i%2 == 0 {
				must(t, a.Send([]byte("x"), "192.0.2.1", 53))
			} else {
				target.came <- packet{"x", "192.0.2.1", 53}
			}
		}
		for range 4 {
			_, _, err := a.Receive(nil)
			must(t, err)
		}
		d := took(func() {
			if _, _, err := a.Receive(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Receive: %v", err)
			}
		})
		if d < 30*time.Second || d > 30*time.Second+link.PingInterval {
			t.Errorf("it took %v", d)
		}
		<-target.closed
		wantNothingOpen(t, l.near)
		wantNothingOpen(t, l.far)
		if l.far.counts.of("udp_idle") != 1 {
			t.Error("not counted")
		}
	})
}

func TestTheAddressesOfDatagramsAreCopied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		a, channel := associated(t, e, p)
		for i := range byte(5) {
			p.say(Data{Proto: UDP, Channel: channel, Payload: bytes.Repeat([]byte{i}, 100), Source: Endpoint{Host: []byte("192.0.2.1"), Port: uint16(i)}})
		}
		synctest.Wait()
		buf := make([]byte, 200)
		for i := range byte(5) {
			n, source, err := a.Receive(buf)
			if err != nil || !bytes.Equal(buf[:n], bytes.Repeat([]byte{i}, 100)) || source.Port() != uint16(i) {
				t.Errorf("datagram %d is % .5x from %v, %v", i, buf[:n], source, err)
			}
		}
	})
}

func TestAwaitLeavesTheDatagramForReceive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		a, channel := associated(t, e, p)
		say := func(text string) {
			p.say(Data{Proto: UDP, Channel: channel, Payload: []byte(text), Source: Endpoint{Host: []byte("192.0.2.1"), Port: 1}})
		}
		say("one")
		must(t, a.Await(), a.Await()) // still there
		say("two")
		synctest.Wait()
		must(t, a.Await())
		buf := make([]byte, 10)
		for _, want := range []string{"one", "two"} {
			if n, _, err := a.Receive(buf); err != nil || string(buf[:n]) != want {
				t.Errorf("received %q, %v, want %q", buf[:n], err, want)
			}
		}
		p.say(Disconnect{Channel: channel})
		if err := a.Await(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Await: %v", err)
		}
	})
}

// chatty is a place whose associations have a datagram from the beginning.
type chatty struct{ *udpSite }

func (c chatty) Associate(ctx context.Context) (site.Association, error) {
	a, err := c.udpSite.Associate(ctx)
	if err == nil {
		a.(*udpTarget).came <- packet{"first", "192.0.2.1", 1}
	}
	return a, err
}

func TestAPeerThatRefusesAnAssociationHearsNoMoreOfIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		failed := make(chan error, 1)
		go func() {
			_, err := e.Associate(t.Context())
			failed <- err
		}()
		p.say(ConnectResponse{Channel: hear[*Connect](p).Channel, Cause: "denied: no"})
		if err := <-failed; site.ReasonOf(err) != site.Denied {
			t.Errorf("associate: %v", err)
		}
		p.hearsNothing()
		wantNothingOpen(t, e)
	})
}
