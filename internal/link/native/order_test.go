package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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

// Invariant 3. The targets say all they have to say before they can be heard.
func TestTheAnswerGoesOutBeforeTheDataAndTheDataBeforeTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		words := noise(1, 60000)
		_, p := byHand(t, false, link.Config{UDP: chatty{&udpSite{}}, Dial: func(context.Context, string, string) (pipe.Conn, error) {
			near, far := memnet.New().Pair()
			go func() {
				_, _ = far.Write(words)
				_ = far.Close()
			}()
			return near, nil
		}})
		kinds := map[uint32]string{}
		bytes := map[uint32]int{}
		for id := uint32(1); id < 200; id += 2 {
			p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, id))
		}
		for _, g := range p.all() {
			if k := g.kind.String(); !strings.HasSuffix(kinds[g.stream], k) {
				kinds[g.stream] += " " + k
			}
			if g.kind == typeData {
				bytes[g.stream] += len(g.payload)
			}
		}
		for id := uint32(1); id < 200; id += 2 {
			if kinds[id] != " ACCEPT DATA FIN" || bytes[id] != len(words) {
				t.Errorf("stream %d: %s, %d bytes", id, kinds[id], bytes[id])
			}
			p.say(bare(typeFin, id))
		}
		p.hearsNothing()
		for id := uint32(201); id < 300; id += 2 {
			p.say(opening{kind: openUDP}.append(nil, id))
			if a, b := p.hear(typeAccept), p.hear(typeDatagram); a.stream != id || b.stream != id {
				t.Errorf("heard of streams %d and %d", a.stream, b.stream)
			}
		}
	})
}

// chatty has associations that say something as soon as they are made.
type chatty struct{ *udpSite }

func (c chatty) Associate(ctx context.Context) (site.Association, error) {
	a, err := c.udpSite.Associate(ctx)
	a.(*udpTarget).came <- packet{"hello", "192.0.2.1", 53}
	return a, err
}

func TestServersThatSpeakFirstAreHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		greeting, answer := noise(1, 3000), noise(2, 70000)
		l := newLink(t, link.Config{}, link.Config{Dial: serving(func(c *memnet.Conn) {
			_, _ = c.Write(greeting)
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, answer) {
				return // which shows at the client
			}
			_, _ = c.Write(greeting)
			_ = c.Close()
		})})
		var work sync.WaitGroup
		for range 200 {
			work.Go(func() {
				c, err := l.near.Dial(t.Context(), "tcp", "target:25")
				if err != nil {
					t.Error(err)
					return
				}
				wantRead(t, c, greeting)
				_, err = c.Write(answer)
				must(t, err, c.CloseWrite())
				wantAll(t, c, greeting)
				must(t, c.Close())
			})
		}
		work.Wait()
		wantNothingLeft(t, l.near, l.far)
	})
}

// Half-close, by either side first, on streams that either end opened.
func TestADirectionThatEndsLeavesTheOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		l := newLink(t, link.Config{Dial: dial}, link.Config{Dial: dial})
		for _, opener := range []*end{l.near, l.far} {
			for _, first := range []bool{true, false} {
				c, err := opener.DialEarly(t.Context(), "tcp", "target:80")
				must(t, err)
				var a, b pipe.Conn = c, <-came
				if first {
					a, b = b, a
				}
				_, err = a.Write([]byte("all that a has to say"))
				must(t, err, a.CloseWrite())
				wantAll(t, b, []byte("all that a has to say"))
				for range 3 {
					time.Sleep(time.Hour)
					_, err = b.Write(noise(1, 100000))
					must(t, err)
					wantRead(t, a, noise(1, 100000))
				}
				must(t, b.CloseWrite())
				wantAll(t, a, nil)
				_, _ = a.Close(), b.Close()
			}
		}
		wantNothingLeft(t, l.near, l.far)
	})
}

var reasons = []site.Reason{
	site.Other, site.Refused, site.HostUnreachable, site.NetworkUnreachable, site.NameNotFound, site.Denied, site.TimedOut,
}

// From the one who dials to the one who asked, over one link and by way of a relay.
func TestEveryReasonForWhichADialFailsArrives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		failing := func(_ context.Context, _, address string) (pipe.Conn, error) {
			reason := site.Reason(address[0] - 'a')
			return nil, &site.DialError{Reason: reason, Address: address, Err: fmt.Errorf("no %s today", reason)}
		}
		behind := newLink(t, link.Config{Dial: failing}, link.Config{})
		before := newLink(t, link.Config{}, link.Config{Dial: through(behind.far)})
		for _, e := range []*end{before.near, behind.far} {
			for _, reason := range reasons {
				address := string(rune('a'+reason)) + ":80"
				_, err := e.Dial(t.Context(), "tcp", address)
				wantDialError(t, err, reason, address)
				c, err := e.DialEarly(t.Context(), "tcp", address)
				must(t, err)
				wantDialError(t, c.(site.Pending).Opened(t.Context()), reason, address)
				_, err = c.Read(make([]byte, 1))
				wantDialError(t, err, reason, address)
				_, err = c.Write(make([]byte, 1))
				wantDialError(t, err, reason, address)
				must(t, c.Close())
			}
		}
		if n := before.near.counts.of("fast_open_failed"); n != len(reasons) {
			t.Errorf("%d failures of early streams were counted", n)
		}
		wantNothingLeft(t, before.near, before.far, behind.near, behind.far)
	})
}

// The stream to the provider fails while the relay joins it.
// What a relay knows of the way on that there is not (5.2).
func TestARelayTellsThatThereIsNoWayOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			err    error
			reason Reason
		}{
			{link.ErrNoProvider, NoProvider}, {link.ErrLost, LinkLost}, {fmt.Errorf("%w: %w", link.ErrLost, &BrokenError{Reason: GoingAway}), LinkLost},
		} {
			_, p := byHand(t, false, link.Config{Dial: func(_ context.Context, _, address string) (pipe.Conn, error) {
				return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: address, Err: c.err}
			}})
			p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 1))
			if m := decodeVerdict(p.hear(typeReset).payload); m.reason != c.reason {
				t.Errorf("%v: %+v, want %s", c.err, m, c.reason)
			}
		}
	})
}

func TestTheReasonOfARefusalSurvivesTheRelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		behind := newLink(t, link.Config{Dial: func(_ context.Context, _, address string) (pipe.Conn, error) {
			return nil, &site.DialError{Reason: site.Refused, Address: address, Err: syscall.ECONNREFUSED}
		}}, link.Config{})
		before := newLink(t, link.Config{}, link.Config{Dial: through(behind.far)})
		var work sync.WaitGroup
		for range 8 {
			work.Go(func() {
				for range 100 {
					if _, err := before.near.Dial(t.Context(), "tcp", "target:80"); site.ReasonOf(err) != site.Refused {
						t.Error(err)
						return
					}
				}
			})
		}
		work.Wait()
		wantNothingLeft(t, before.near, before.far, behind.near, behind.far)
	})
}

func wantDialError(t *testing.T, err error, reason site.Reason, address string) {
	t.Helper()
	var dial *site.DialError
	if !errors.As(err, &dial) || dial.Reason != reason || dial.Address != address || !strings.Contains(err.Error(), fmt.Sprintf("no %s today", reason)) {
		t.Errorf("%v, want %v of %s", err, reason, address)
	}
}

// The table of section 5.2: every code that a peer may give for a dial.
func TestWhatAPeerSaysOfADialIsUnderstood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		for code, want := range map[Reason]site.Reason{
			0: site.Other, 1: site.Refused, 2: site.HostUnreachable, 3: site.NetworkUnreachable, 4: site.NameNotFound, 5: site.Denied,
			6: site.TimedOut, 7: site.NetworkUnreachable, 8: site.Other, 9: site.NetworkUnreachable, 10: site.NetworkUnreachable, 11: site.Other, 14: site.Other, 255: site.Other,
		} {
			c, err := e.DialEarly(t.Context(), "tcp", "target:80")
			must(t, err)
			p.say(reset(p.hear(typeOpen).stream, code, "\xffwords"))
			err = c.(site.Pending).Opened(t.Context())
			var broken *BrokenError
			if site.ReasonOf(err) != want || !errors.As(err, &broken) || *broken != (BrokenError{code, "?words"}) {
				t.Errorf("%d: %v, want %v", code, err, want)
			}
			if errors.Is(err, link.ErrLost) != (code == GoingAway) || errors.Is(err, link.ErrBehind) != (code == LinkLost) {
				t.Errorf("%d: %v", code, err)
			}
			must(t, c.Close())
		}
	})
}

// An open stream that breaks tells why, at once and behind a relay too.
func TestAStreamThatBreaksTellsWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		behind, provider := byHand(t, false, link.Config{})
		l := newLink(t, link.Config{}, link.Config{Dial: through(behind)})
		for _, want := range []BrokenError{{Idle, "nothing came"}, {GivenUp, ""}, {LinkLost, ""}, {GoingAway, "x"}, {Failed, strings.Repeat("ä", 127)}, {200, "x"}} {
			c, err := l.near.DialEarly(t.Context(), "tcp", "target:80")
			must(t, err)
			id := provider.hear(typeOpen).stream
			provider.say(bare(typeAccept, id), data(id, []byte("x")))
			wantRead(t, c, []byte("x"))
			provider.say(data(id, []byte("dropped")), reset(id, want.Reason, want.Text))
			synctest.Wait()
			want.Reason = want.Reason.passed()
			for _, f := range []func([]byte) (int, error){c.Read, c.Write} {
				_, err := f([]byte("y"))
				if broken, ok := errors.AsType[*BrokenError](err); !ok || *broken != want {
					t.Errorf("%v, want %v", err, want)
				}
			}
			if err := c.CloseWrite(); err == nil {
				t.Error("CloseWrite of a broken stream")
			}
			must(t, c.Close())
		}
		provider.hearsNothing()
		// And the other way: the client gives up, the provider hears of it.
		c, err := l.near.Dial(through2(t, provider), "tcp", "target:80")
		must(t, err)
		must(t, c.(*Stream).CloseWithError(fmt.Errorf("its file: %w", &BrokenError{Idle, "gone"})))
		if m := decodeVerdict(provider.hear(typeReset).payload); m != (verdict{Idle, "gone"}) {
			t.Errorf("heard %+v", m)
		}
		wantNothingLeft(t, l.near, l.far, behind)
	})
}

// through2 has the provider accept the next stream.
func through2(t *testing.T, provider *peer) context.Context {
	go func() { provider.say(bare(typeAccept, (<-provider.heard).stream)) }()
	return t.Context()
}

func TestALinkThatIsLostBehindARelayIsToldInFront(t *testing.T) {
	bubble(t, func(t *testing.T) {
		behind, provider := byHand(t, false, link.Config{})
		e, client := byHand(t, false, link.Config{Dial: through(behind)})
		client.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 1))
		client.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 3), data(3, zeros(65536)))
		provider.say(bare(typeAccept, provider.hear(typeOpen).stream))
		client.all()
		provider.all()
		provider.net.Cut()
		var said []verdict
		for _, g := range client.all() {
			if g.kind == typeReset {
				said = append(said, decodeVerdict(g.payload))
			}
		}
		if len(said) != 2 || said[0].reason != LinkLost || said[1].reason != LinkLost {
			t.Errorf("heard %+v", said)
		}
		wantNothingLeft(t, e)
	})
}

// Fragments, pings between them, several frames in a message (1.3).
func TestFramesArriveHoweverTheirMessagesAreCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		_, p := byHand(t, true, link.Config{Dial: dial}) // what a server sends has no masks
		words := noise(1, 30000)
		msg := slices.Concat(opening{kind: openTCP, host: "target", port: 80, early: words[:100]}.append(nil, 2),
			frame(0x80, 77, []byte("an extension")), data(2, words[100:20000]), window(2, 5), frame(0xff, 0, nil), data(2, words[20000:]), bare(typeFin, 2))
		for op := byte(ws.Binary); len(msg) > 0; op = 0 {
			n := min(len(msg), 1+len(msg)%97)
			if n == len(msg) {
				op |= 0x80
			}
			_, err := p.raw.Write(append(append([]byte{op, byte(n)}, msg[:n]...), 0x89, 1, 'x'))
			must(t, err)
			msg = msg[n:]
		}
		p.hear(typeAccept)
		c := <-came
		wantAll(t, c, words)
		must(t, c.Close())
	})
}
