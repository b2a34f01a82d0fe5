package flow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/site"
)

var _ site.Association = (*Association)(nil)

// end is an association with the link that it is on, which loses what it is told to.
type end struct {
	*Association
	mu     sync.Mutex // guards below
	said   []string   // to the peer
	counts map[string]int
	full   bool
	gone   int
}

func newEnd(served bool) *end {
	e := &end{counts: make(map[string]int)}
	e.Association = NewAssociation(Wire{
		Send: func(p []byte, host string, port uint16) bool {
			e.mu.Lock()
			full := e.full
			e.mu.Unlock()
			if !full {
				e.say(fmt.Sprintf("%s %s %d", p[:min(len(p), 20)], host, port))
			}
			return !full
		},
		Bye:    func() { e.say("bye") },
		Forget: func() { e.mu.Lock(); defer e.mu.Unlock(); e.gone++ },
		Count:  func(event string) { e.mu.Lock(); defer e.mu.Unlock(); e.counts[event]++ },
	}, served)
	return e
}

func (e *end) say(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.said = append(e.said, text)
}

func (e *end) answer(err error) { e.say(fmt.Sprint("answer ", err)) }

// want wants this to have been said to the peer, and the link to have
// forgotten the association, once, if that has ended.
func (e *end) want(t *testing.T, ended bool, said ...string) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := strings.Join(e.said, ", "); got != strings.Join(said, ", ") {
		t.Errorf("said %q, want %q", got, said)
	}
	if (e.gone == 1) != ended || e.gone > 1 {
		t.Errorf("forgotten %d times", e.gone)
	}
}

func (e *end) wantCount(t *testing.T, event string, want int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.counts[event] != want {
		t.Errorf("counted %v, want %d %s", e.counts, want, event)
	}
}

// target is where a served association leads: the other end of another one.
type target struct {
	*end
	opening func(ctx context.Context) error
}

func (s target) Associate(ctx context.Context) (site.Association, error) {
	if s.opening != nil {
		if err := s.opening(ctx); err != nil {
			return nil, err
		}
	}
	return s.end, nil
}

// serve runs an association until what it gives is closed.
func serve(ctx context.Context, e *end, at target) (over chan struct{}) {
	over = make(chan struct{})
	go func() {
		defer close(over)
		e.Serve(ctx, at, time.Minute, e.answer)
	}()
	return over
}

func TestAServedAssociationAnswersAndCarriesBothWays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, at := newEnd(true), target{end: newEnd(false)}
		over := serve(t.Context(), e, at)
		synctest.Wait()
		e.Arrived([]byte("question"), "name.test", 53)
		at.Arrived([]byte("answer"), "::ffff:192.0.2.1", 53)
		at.Arrived([]byte("other"), "2001:DB8::1", 54)
		e.want(t, false, "answer <nil>", "answer 192.0.2.1 53", "other 2001:db8::1 54")
		at.want(t, false, "question name.test 53")
		e.End() // by the peer
		<-over
		e.want(t, true, "answer <nil>", "answer 192.0.2.1 53", "other 2001:db8::1 54")
		at.want(t, true, "question name.test 53", "bye")
	})
}

// sources is a place that has a datagram from each of these, and no more.
type sources struct {
	*end
	from []string
}

func (s *sources) Associate(context.Context) (site.Association, error) { return s, nil }

func (s *sources) Await() error {
	if len(s.from) == 0 {
		return net.ErrClosed
	}
	return nil
}

func (s *sources) Receive([]byte) (int, netip.AddrPort, error) {
	source := netip.MustParseAddrPort(s.from[0])
	s.from = s.from[1:]
	return 0, source, nil
}

// IPv4 is dotted even where the socket is one for both families, and a zone
// means nothing elsewhere.
func TestThePeerIsToldWhereADatagramCameFrom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEnd(true)
		at := &sources{newEnd(false), []string{"192.0.2.7:53", "[::ffff:192.0.2.7]:53", "[2001:DB8::1]:53", "[fe80::1%eth0]:53"}}
		e.Serve(t.Context(), at, time.Minute, e.answer)
		e.want(t, true, "answer <nil>", " 192.0.2.7 53", " 192.0.2.7 53", " 2001:db8::1 53", " fe80::1 53", "bye")
	})
}

func TestWhatComesBeforeAServedAssociationIsOpenIsLostAndCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		e, at := newEnd(true), target{newEnd(false), func(context.Context) error { <-release; return nil }}
		over := serve(t.Context(), e, at)
		synctest.Wait()
		e.Arrived([]byte("early"), "192.0.2.1", 53)
		e.wantCount(t, "udp_lost", 1)
		close(release)
		synctest.Wait()
		e.Arrived([]byte("late"), "192.0.2.1", 53)
		at.want(t, false, "late 192.0.2.1 53")
		e.End()
		<-over
	})
}

func TestAPeerThatGivesUpWhileItIsOpenedEndsTheOpening(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, at := newEnd(true), target{newEnd(false), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		over := serve(t.Context(), e, at)
		synctest.Wait()
		e.End()
		<-over
		e.want(t, true, "answer context canceled")
	})
}

// It is opened all the same, by a place that does not look at its context.
func TestAPeerThatHasGivenUpIsNotToldThatItWasOpened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		e, at := newEnd(true), target{newEnd(false), func(context.Context) error { <-release; return nil }}
		over := serve(t.Context(), e, at)
		synctest.Wait()
		e.End()
		close(release)
		<-over
		e.want(t, true)
		at.want(t, true, "bye")
	})
}

func TestATargetThatEndsEndsTheServedAssociation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, at := newEnd(true), target{end: newEnd(false)}
		over := serve(t.Context(), e, at)
		synctest.Wait()
		at.End() // its socket broke
		<-over
		e.want(t, true, "answer <nil>", "bye")
		e.Arrived([]byte("late"), "192.0.2.1", 53)
		e.wantCount(t, "udp_unsent", 1)
	})
}

func TestAServedAssociationEndsWithItsLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		e, at := newEnd(true), target{end: newEnd(false)}
		over := serve(ctx, e, at)
		synctest.Wait()
		cancel()
		<-over
		e.want(t, true, "answer <nil>")
		at.want(t, true, "bye")
	})
}

func TestAnOpeningThatFailsOrHangsIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEnd(true)
		<-serve(t.Context(), e, target{newEnd(false), func(context.Context) error { return errors.New("no socket") }})
		e.want(t, true, "answer no socket")
		e = newEnd(true)
		begun := time.Now()
		<-serve(t.Context(), e, target{newEnd(false), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		e.want(t, true, "answer context deadline exceeded")
		if d := time.Since(begun); d != time.Minute {
			t.Errorf("it took %v", d)
		}
	})
}

func TestThePeersWordIsHeardWhateverFollowsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		refused := &site.DialError{Reason: site.Denied, Address: "udp", Err: errors.New("no")}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 { // a select takes any that is ready
			for _, word := range []error{nil, refused} {
				e := newEnd(false)
				e.Answer(word)
				e.Answer(errors.New("a second word"))
				e.End()
				if err := e.Opened(gone); err != word {
					t.Fatalf("heard %v, want %v", err, word)
				}
			}
		}
		e := newEnd(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.Opened(ctx); site.ReasonOf(err) != site.TimedOut {
			t.Errorf("a peer that says nothing: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			e.End()
		}()
		if err := e.Opened(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a link that ends: %v", err)
		}
	})
}

func TestAwaitLeavesTheDatagramForReceive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEnd(false)
		e.Arrived([]byte("one"), "192.0.2.1", 1)
		e.Arrived([]byte("two"), "192.0.2.2", 2)
		for range 3 {
			if err := e.Await(); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 10)
		for i, want := range []string{"one", "two"} {
			n, source, err := e.Receive(buf)
			if err != nil || string(buf[:n]) != want || source != netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:%d", i+1, i+1)) {
				t.Errorf("received %q from %v, %v", buf[:n], source, err)
			}
		}
		go e.Close()
		if err := e.Await(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("await: %v", err)
		}
		if _, _, err := e.Receive(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("receive: %v", err)
		}
		if err := e.Send([]byte("x"), "192.0.2.1", 1); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send: %v", err)
		}
		e.Close()
		e.want(t, true, "bye")
	})
}

func TestOnlyDatagramsThatANetworkCouldHaveGivenAreKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEnd(false)
		hosts := []string{"", "dns.lan", "127.1", "010.0.0.1", "[::1]", "fe80::1%eth0", "1.2.3.4:5", "1.2.3.4\x00"}
		for _, host := range hosts {
			e.Arrived([]byte("x"), host, 1)
		}
		e.Arrived(make([]byte, MaxDatagram+1), "192.0.2.1", 1)
		e.wantCount(t, "udp_malformed", len(hosts)+1)
		for range arrivedQueue + 3 {
			e.Arrived(make([]byte, MaxDatagram), "192.0.2.1", 1)
		}
		e.wantCount(t, "udp_lost", 3)
		for range arrivedQueue {
			if n, _, err := e.Receive(make([]byte, MaxDatagram)); n != MaxDatagram || err != nil {
				t.Fatalf("received %d bytes, %v", n, err)
			}
		}
		served := newEnd(true)
		served.Arrived(make([]byte, MaxDatagram+1), "192.0.2.1", 1)
		served.wantCount(t, "udp_malformed", 1)
	})
}

func TestWhatTheLinkDoesNotTakeIsLostAndNoSignOfLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEnd(false)
		time.Sleep(time.Minute)
		if d := e.IdleFor(time.Now()); d != time.Minute {
			t.Errorf("idle for %v", d)
		}
		e.full = true
		if err := e.Send([]byte("x"), "192.0.2.1", 1); err != nil {
			t.Error(err)
		}
		e.full = false
		if err := e.Send(make([]byte, MaxDatagram+1), "192.0.2.1", 1); err != nil {
			t.Error(err)
		}
		e.wantCount(t, "udp_lost", 2)
		if d := e.IdleFor(time.Now()); d != time.Minute {
			t.Errorf("idle for %v", d)
		}
		e.Arrived([]byte("x"), "192.0.2.1", 1)
		if d := e.IdleFor(time.Now()); d != 0 {
			t.Errorf("idle for %v", d)
		}
		e.want(t, false)
		e.End()
	})
}
