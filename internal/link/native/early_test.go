package native

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

func TestEarlyDataInAnOPENReachesTheTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		_, p := byHand(t, false, link.Config{Dial: dial})
		for i, size := range []int{0, 1, 65535, 65536} {
			id := uint32(1 + 2*i)
			words := noise(byte(i), size+100)
			p.say(opening{kind: openTCP, host: "::1", port: 80, early: words[:size]}.append(nil, id))
			synctest.Wait()
			c := <-came
			wantRead(t, c, words[:size])
			synctest.Wait()
			p.say(data(id, words[size:]), bare(typeFin, id))
			wantAll(t, c, words[size:])
			must(t, c.Close())
		}
	})
}

// What comes while the target is dialled is there when it answers, the end too.
func TestWhatIsSentBeforeTheAnswerReachesTheTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		l := newLink(t, link.Config{}, link.Config{Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
			time.Sleep(time.Second)
			return dial(ctx, network, address)
		}})
		c, err := l.near.DialEarly(t.Context(), "tcp", "target:80")
		must(t, err)
		if d := took(func() {
			_, err = c.Write(noise(1, 65536))
			must(t, err, c.CloseWrite())
		}); d != 0 {
			t.Errorf("it took %v", d)
		}
		there := <-came
		wantAll(t, there, noise(1, 65536))
		must(t, c.(site.Pending).Opened(t.Context()))
		_, err = there.Write([]byte("answer"))
		must(t, err, there.Close())
		wantAll(t, c, []byte("answer"))
		must(t, c.Close())
		wantNothingLeft(t, l.near, l.far)
	})
}

// A relay passes on what it was sent early before it knows whether the provider
// reaches the target, and the answer when it comes.
func TestARelayPassesEarlyDataOnBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]bool{"accepted": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				behind, provider := byHand(t, false, link.Config{})
				e, client := byHand(t, false, link.Config{Dial: through(behind)})
				client.say(opening{kind: openTCP, host: "name.test", port: 80, early: []byte("early")}.append(nil, 1), data(1, []byte(" data")))
				asked := provider.hear(typeOpen)
				if m, err := decodeOpening(asked.payload); err != nil || m.address() != "name.test:80" {
					t.Errorf("asked for %+v, %v", m, err)
				}
				if got := payloads(provider.all(), asked.stream); string(got) != "early data" {
					t.Errorf("heard %q", got)
				}
				client.say(bare(typeFin, 1))
				provider.hear(typeFin)
				client.hearsNothing()
				if refused {
					provider.say(reset(asked.stream, NameNotFound, "no such name"))
					if m := decodeVerdict(client.hear(typeReset).payload); m != (verdict{NameNotFound, "no such name"}) {
						t.Errorf("heard %+v", m)
					}
				} else {
					provider.say(bare(typeAccept, asked.stream), data(asked.stream, []byte("answer")), bare(typeFin, asked.stream))
					client.hear(typeAccept)
					if got := client.hear(typeData); string(got.payload) != "answer" {
						t.Errorf("heard %q", got.payload)
					}
					client.hear(typeFin)
				}
				client.hearsNothing()
				provider.hearsNothing()
				wantNothingLeft(t, e, behind)
			})
		})
	}
}

// The client hears nothing of a provider that says nothing, until that is a reason.
func TestARelayAnswersForAProviderThatDoesNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		behind, provider := byHand(t, false, link.Config{})
		e, client := byHand(t, false, link.Config{Dial: through(behind), DialTimeout: 7 * time.Second})
		client.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 1))
		if d := took(func() {
			if m := decodeVerdict(client.hear(typeReset).payload); m.reason != TimedOut {
				t.Errorf("heard %+v", m)
			}
		}); d != 7*time.Second {
			t.Errorf("it took %v", d)
		}
		provider.hear(typeOpen)
		provider.hear(typeReset)
		wantNothingLeft(t, e, behind)
	})
}

// Who gives up while the provider dials takes the provider's stream along.
func TestGivingUpBeforeTheAnswerIsPassedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		behind, provider := byHand(t, false, link.Config{})
		e, client := byHand(t, false, link.Config{Dial: through(behind)})
		client.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 1), reset(1, Idle, "bored"))
		id := provider.hear(typeOpen).stream
		if g := provider.hear(typeReset); g.stream != id {
			t.Errorf("stream %d was reset", g.stream)
		}
		client.hearsNothing()
		wantNothingLeft(t, e, behind)
	})
}

func TestADialTimesOutAndIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		if d := took(func() { _, err = e.Dial(ctx, "tcp", "target:80") }); d != time.Second || site.ReasonOf(err) != site.TimedOut {
			t.Errorf("%v after %v", err, d)
		}
		p.hear(typeOpen)
		if m := decodeVerdict(p.hear(typeReset).payload); m.reason != GivenUp {
			t.Errorf("heard %+v", m)
		}
		for _, address := range []string{"target", "target:70000", string(zeros(256)) + ":80"} {
			_, err := e.Dial(t.Context(), "tcp", address)
			if _, ok := errors.AsType[*site.DialError](err); !ok || errors.Is(err, link.ErrLost) {
				t.Errorf("%.20q: %v", address, err)
			}
		}
		p.hearsNothing()
		wantNothingLeft(t, e)
	})
}

// What the peer may not open is refused, each with its reason, and nothing of
// it is kept.
func TestWhatAPeerMayNotOpenIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: serving(echo)})
		q, none := byHand(t, false, link.Config{})
		refused := func(p *peer, m opening, want Reason) {
			t.Helper()
			p.say(m.append(nil, p.next))
			if g := p.hear(typeReset); Reason(g.payload[0]) != want || g.stream != p.next {
				t.Errorf("%v: %v of stream %d", m, Reason(g.payload[0]), g.stream)
			}
			p.say(data(p.next, zeros(70000)), bare(typeFin, p.next)) // may follow at once
			p.next += 2
		}
		refused(p, opening{kind: openUDP}, Denied)
		refused(p, opening{kind: openTCP, port: 80}, Failed)
		refused(p, opening{kind: openTCP, host: "target"}, Failed)
		refused(none, opening{kind: openTCP, host: "target", port: 80, early: zeros(65536)}, Denied)
		for range 20 {
			p.open()
		}
		e.mu.Lock()
		e.served += link.MaxChannels - 20
		e.mu.Unlock()
		refused(p, opening{kind: openTCP, host: "target", port: 80}, TooMany)
		e.mu.Lock()
		e.served -= link.MaxChannels - 20
		e.mu.Unlock()
		p.open()
		if n := e.counts.of("connect_refused"); n != 4 {
			t.Errorf("%d were counted", n)
		}
		wantNothingLeft(t, q)
	})
}
