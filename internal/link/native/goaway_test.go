package native

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

func TestGOAWAYGivesUnseenStreamsBackAndLeavesTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		told := 0
		e, p := byHand(t, true, link.Config{Dial: serving(echo), UDP: &udpSite{}, GoAway: func() { told++ }})
		open := p.opened()
		asked, err := e.DialEarly(t.Context(), "tcp", "target:80") // looked at, and not yet answered
		must(t, err)
		last := p.hear(typeOpen).stream
		ends := make(chan error, 4)
		go func() { _, err := e.Dial(context.Background(), "tcp", "unseen:80"); ends <- err }()
		p.hear(typeOpen)
		early, err := e.DialEarly(t.Context(), "tcp", "unseen:80")
		must(t, err)
		p.hear(typeOpen)
		go func() { _, err := e.Associate(context.Background()); ends <- err }()
		p.hear(typeOpen)
		served := p.open()

		p.say(goAway{last, verdict{GoingAway, "an update"}}.append(nil))
		for range 2 {
			if err := <-ends; !isLost(err) {
				t.Errorf("unseen: %v", err)
			}
		}
		if err := early.(site.Pending).Opened(t.Context()); !isLost(err) {
			t.Errorf("unseen: %v", err)
		}
		if err := early.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			_, err := e.Dial(t.Context(), "tcp", "new:80")
			_, err2 := e.DialEarly(t.Context(), "tcp", "new:80")
			_, err3 := e.Associate(t.Context())
			if !isLost(err) || !isLost(err2) || !isLost(err3) {
				t.Errorf("new: %v, %v, %v", err, err2, err3)
			}
		}
		p.say(goAway{last, verdict{GoingAway, ""}}.append(nil)) // once more is no news
		p.say(bare(typeAccept, last))
		must(t, asked.(site.Pending).Opened(t.Context()))
		p.hearsNothing()
		_, err = open.Write([]byte("goes on"))
		must(t, err)
		if got := p.hear(typeData); string(got.payload) != "goes on" {
			t.Errorf("heard %q", got.payload)
		}
		p.say(data(served, []byte("and so does this")))
		if got := p.hear(typeData); string(got.payload) != "and so does this" {
			t.Errorf("heard %q", got.payload)
		}
		p.open() // the peer takes none, and may open some
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		must(t, open.Close(), asked.Close())
	})
}

func isLost(err error) bool {
	var dial *site.DialError
	return errors.As(err, &dial) && errors.Is(err, link.ErrLost)
}

func TestDrainTakesNoMoreAndLetsTheRestEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: serving(echo), UDP: &udpSite{}})
		id := p.open()
		mine := p.opened()
		for range 3 {
			e.Drain()
		}
		m := decodeGoAway(p.hear(typeGoAway).payload)
		if m.last != id || m.reason != GoingAway {
			t.Errorf("heard %+v", m)
		}
		p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 3), opening{kind: openUDP}.append(nil, 5))
		for _, id := range []uint32{3, 5} {
			if g := p.hear(typeReset); g.stream != id || Reason(g.payload[0]) != GoingAway {
				t.Errorf("heard % x of stream %d", g.payload, g.stream)
			}
		}
		p.say(data(id, []byte("goes on")))
		if g := p.hear(typeData); string(g.payload) != "goes on" {
			t.Errorf("heard %q", g.payload)
		}
		must(t, mine.CloseWrite())
		p.hear(typeFin)
		p.opened() // it may still open some itself
		if n := e.Streams(); n != 3 {
			t.Errorf("%d streams are open", n)
		}
		p.hearsNothing()
	})
}

// The dials of one end race with the other's Drain: each is served, or may be
// tried elsewhere.
func TestNoDialIsLostInADrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, link.Config{}, link.Config{Dial: serving(echo), UDP: &udpSite{}})
		ends := make(chan error)
		const dials = 400
		for i := range dials {
			go func() {
				if i%4 == 0 {
					a, err := l.near.Associate(t.Context())
					if err == nil {
						err = a.Close()
					}
					ends <- err
					return
				}
				c, err := l.near.Dial(t.Context(), "tcp", "target:80")
				if err == nil {
					_, err = c.Write([]byte("hello"))
					must(t, err)
					wantRead(t, c, []byte("hello"))
					must(t, c.Close())
				}
				ends <- err
			}()
		}
		served := 0
		for i := range dials {
			if i == dials/4 {
				l.far.Drain()
			}
			if err := <-ends; err == nil {
				served++
			} else if !isLost(err) {
				t.Errorf("%v", err)
			}
		}
		if served < dials/4 {
			t.Errorf("%d of %d were served", served, dials)
		}
		wantNothingLeft(t, l.near, l.far)
	})
}

// Who opens elsewhere what was unseen must not come back to this link.
func TestGOAWAYIsToldBeforeWhatWasUnseenIsGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told atomic.Bool
		e, p := byHand(t, true, link.Config{GoAway: func() { told.Store(true) }})
		c, err := e.DialEarly(t.Context(), "tcp", "target:80")
		must(t, err)
		first := make(chan bool, 1)
		c.(pipe.Breaker).OnBreak(func(error) { first <- told.Load() })
		p.hear(typeOpen)
		p.say(goAway{0, verdict{GoingAway, ""}}.append(nil))
		if !<-first {
			t.Error("the stream was given back before")
		}
		must(t, c.Close())
	})
}

// A relay whose provider goes away tells its clients that the way was lost, and
// no more.
func TestGOAWAYIsNotPassedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		behind, provider := byHand(t, false, link.Config{})
		_, client := byHand(t, false, link.Config{Dial: through(behind)})
		client.say(opening{kind: openTCP, host: "target", port: 80, early: bytes.Repeat([]byte("x"), 100)}.append(nil, 1))
		provider.hear(typeOpen)
		provider.say(goAway{0, verdict{GoingAway, "an update"}}.append(nil))
		synctest.Wait()
		for _, g := range client.all() {
			if g.kind != typeReset || decodeVerdict(g.payload) != (verdict{LinkLost, "an update"}) {
				t.Errorf("heard %s, %q", g.kind, g.payload)
			}
		}
		client.hearsNothing()
	})
}
