package native

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/site"
)

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
					{string(noise(1, 65507)), string(noise(2, 255)), 1},
					{"y", "Not-Resolved.EXAMPLE.test.", 443},
					{"z", "", 0},
				} {
					must(t, a.Send([]byte(d.payload), d.host, d.port))
					if got := <-target.sent; got != d {
						t.Errorf("datagram %d: %d bytes for %q port %d arrived", i, len(got.payload), got.host, got.port)
					}
				}
				must(t, a.Send(zeros(65508), "192.0.2.1", 53), a.Send(nil, string(zeros(256)), 53)) // lost
				buf := zeros(65535)
				for i, d := range []packet{{"", "192.0.2.1", 53}, {"x", "2001:db8::1", 65535}, {string(noise(2, 65507)), "203.0.113.7", 1}} {
					target.came <- d
					n, source, err := a.Receive(buf)
					if err != nil || string(buf[:n]) != d.payload || source.String() != net.JoinHostPort(d.host, fmt.Sprint(d.port)) {
						t.Errorf("datagram %d: %d bytes from %v, %v", i, n, source, err)
					}
				}
				must(t, a.Close())
				<-target.closed
				if n := from.counts.of("udp_lost"); n != 2 {
					t.Errorf("%d were lost", n)
				}
				wantNothingLeft(t, from, to)
			})
		})
	}
}

func TestAnAssociationThatIsRefusedSaysWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, reason := range reasons {
			l := newLink(t, link.Config{}, link.Config{UDP: &udpSite{err: &site.DialError{Reason: reason, Address: "udp", Err: errors.New("no")}}})
			_, err := l.near.Associate(t.Context())
			if _, ok := errors.AsType[*site.DialError](err); !ok || site.ReasonOf(err) != reason {
				t.Errorf("%v, want %v", err, reason)
			}
			wantNothingLeft(t, l.near, l.far)
		}
		l := newLink(t, link.Config{}, link.Config{})
		if _, err := l.near.Associate(t.Context()); site.ReasonOf(err) != site.Denied {
			t.Errorf("%v, want %v", err, site.Denied)
		}
	})
}

// By RESET or FIN, from either end.
func TestAnAssociationEndsByEitherFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		there := &udpSite{}
		e, p := byHand(t, true, link.Config{UDP: there})
		for i, end := range []func(id uint32) []byte{
			func(id uint32) []byte { return bare(typeFin, id) },
			func(id uint32) []byte { return reset(id, GivenUp, "") },
		} {
			go func() { p.say(bare(typeAccept, p.hear(typeOpen).stream)) }()
			a, err := e.Associate(t.Context())
			must(t, err)
			p.say(datagram{"192.0.2.1", 53, []byte("last")}.append(nil, uint32(2*i+1)))
			must(t, a.Await())
			if n, _, err := a.Receive(zeros(9)); n != 4 || err != nil {
				t.Errorf("the last one has %d bytes, %v", n, err)
			}
			p.say(end(uint32(2*i + 1)))
			synctest.Wait()
			if err := a.Await(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("it waits: %v", err)
			}
			if err := a.Send(nil, "192.0.2.1", 53); !errors.Is(err, net.ErrClosed) {
				t.Errorf("it sends: %v", err)
			}
			p.say(opening{kind: openUDP}.append(nil, uint32(2*i+2)))
			p.hear(typeAccept)
			p.say(end(uint32(2*i + 2)))
			<-there.made[i].closed
		}
		p.hearsNothing()
		wantNothingLeft(t, e)
	})
}

func TestAnAssociationOnWhichNothingMovesEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		there := &udpSite{}
		e, p := byHand(t, false, link.Config{UDP: there, UDPIdle: time.Minute})
		p.say(opening{kind: openUDP}.append(nil, 1))
		p.hear(typeAccept)
		for range 10 {
			time.Sleep(50 * time.Second)
			p.say(datagram{"192.0.2.1", 53, nil}.append(nil, 1))
			time.Sleep(50 * time.Second)
			there.only(t).came <- packet{"x", "192.0.2.1", 53}
			p.hear(typeDatagram)
		}
		var end verdict
		if d := took(func() { end = decodeVerdict(p.hear(typeReset).payload) }); d < time.Minute || d > time.Minute+link.CheckInterval || end.reason != Idle {
			t.Errorf("%+v after %v", end, d)
		}
		<-there.only(t).closed
		if n := e.counts.of("udp_idle"); n != 1 {
			t.Errorf("%d were counted", n)
		}
		wantNothingLeft(t, e)
	})
}

// A peer that does not take datagrams has them dropped, and the rest arrive.
func TestDatagramsThatNobodyTakesAreLostAndBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		go func() { p.say(bare(typeAccept, p.hear(typeOpen).stream)) }()
		a, err := e.Associate(t.Context())
		must(t, err)
		p.raw.StopReading(true)
		for range 2000 {
			must(t, a.Send(zeros(1000), "192.0.2.1", 53))
		}
		synctest.Wait()
		lost := e.counts.of("udp_lost")
		if lost < 2000-1200 || lost > 2000-400 { // 512 KiB wait, and once more that is being sent
			t.Errorf("%d were lost", lost)
		}
		p.raw.StopReading(false)
		if n := len(p.all()); n != 2000-lost {
			t.Errorf("%d arrived, %d were lost", n, lost)
		}
		for range 200 { // and those that come for a user who does not receive
			p.say(datagram{"192.0.2.1", 53, zeros(1000)}.append(nil, 1))
		}
		synctest.Wait()
		if n := e.counts.of("udp_lost") - lost; n != 200-64 {
			t.Errorf("%d that came were lost", n)
		}
		must(t, a.Close())
	})
}
