package native

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// everything is every frame that a stream may have.
func everything(id uint32) [][]byte {
	return [][]byte{
		bare(typeAccept, id), data(id, zeros(100000)), window(id, 1), window(id, 0), bare(typeFin, id), bare(typeFin, id),
		data(id, []byte("x")), datagram{"192.0.2.1", 53, nil}.append(nil, id), reset(id, Failed, "late"), bare(typeAccept, id),
	}
}

func TestWhatComesForAStreamThatIsOverIsIgnored(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, e *end, p *peer) uint32{
		"given up by us": func(t *testing.T, e *end, p *peer) uint32 {
			st := p.opened()
			must(t, st.Close())
			return p.hear(typeReset).stream
		},
		"given up by us before the answer": func(t *testing.T, e *end, p *peer) uint32 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { _, _ = e.Dial(ctx, "tcp", "target:80") }()
			p.hear(typeOpen)
			cancel()
			return p.hear(typeReset).stream
		},
		"not answered in time, and not yet closed": func(t *testing.T, e *end, p *peer) uint32 {
			_, err := e.DialEarly(t.Context(), "tcp", "target:80")
			must(t, err)
			p.hear(typeOpen)
			return p.hear(typeReset).stream
		},
		"reset by the peer, and not yet closed": func(t *testing.T, e *end, p *peer) uint32 {
			st := p.opened()
			p.say(bare(typeFin, st.id), reset(st.id, Failed, ""))
			return st.id
		},
		"refused by the peer, and not yet closed": func(t *testing.T, e *end, p *peer) uint32 {
			_, err := e.DialEarly(t.Context(), "tcp", "target:80")
			must(t, err)
			id := p.hear(typeOpen).stream
			p.say(reset(id, Refused, ""))
			return id
		},
		"ended both ways, and not yet closed": func(t *testing.T, e *end, p *peer) uint32 {
			st := p.opened()
			must(t, st.CloseWrite())
			p.hear(typeFin)
			p.say(bare(typeFin, st.id))
			return st.id
		},
		"served, and reset by the peer": func(t *testing.T, e *end, p *peer) uint32 {
			id := p.open()
			p.say(reset(id, Failed, ""))
			return id
		},
		"an association given up by us": func(t *testing.T, e *end, p *peer) uint32 {
			go func() { // says ACCEPT
				p.say(bare(typeAccept, p.hear(typeOpen).stream))
			}()
			a, err := e.Associate(t.Context())
			must(t, err, a.Close())
			return p.hear(typeReset).stream
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, p := byHand(t, false, link.Config{Dial: serving(echo)})
				id := end(t, e, p)
				p.say(everything(id)...)
				for _, frame := range everything(id) {
					p.say(frame)
				}
				p.hearsNothing()
				p.open()
			})
		})
	}
}

// Both happen at the same time, in every order that there is.
func TestAnAnswerToADialThatIsGivenUpDoesNotEndTheLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		for range 300 {
			ctx, cancel := context.WithCancel(t.Context())
			var work sync.WaitGroup
			work.Go(func() {
				if c, err := e.Dial(ctx, "tcp", "target:80"); err == nil {
					must(t, c.Close())
				} else if errors.Is(err, link.ErrLost) {
					t.Error(err)
				}
			})
			id := p.hear(typeOpen).stream
			work.Go(cancel)
			p.say(bare(typeAccept, id))
			p.hear(typeReset)
			work.Wait()
		}
		wantNothingLeft(t, e)
		p.hearsNothing()
	})
}

func TestAResetIsNotAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		answer := make(chan error)
		_, p := byHand(t, false, link.Config{UDP: &udpSite{hang: true}, Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
			if address == "other:80" {
				<-ctx.Done() // it does not look, or is done already
				return serving(echo)(ctx, network, address)
			}
			select {
			case err := <-answer:
				return nil, err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}})
		p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 1), reset(1, GivenUp, ""))
		p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, 3), data(3, []byte("x")))
		p.say(opening{kind: openTCP, host: "other", port: 80}.append(nil, 5))
		p.say(opening{kind: openUDP}.append(nil, 7))
		p.hearsNothing()
		p.say(reset(3, GivenUp, ""), reset(5, GivenUp, ""), reset(7, GivenUp, ""))
		p.hearsNothing()
		st := p.opened()
		p.say(reset(st.id, Failed, ""))
		synctest.Wait()
		_ = st.Close()
		p.hearsNothing()
	})
}

func TestNoDataComesBehindFIN(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := byHand(t, true, link.Config{})
		for range 200 {
			st := p.opened()
			var work sync.WaitGroup
			for range 3 {
				work.Go(func() {
					for err := error(nil); err == nil; {
						_, err = st.Write([]byte("some"))
					}
				})
			}
			work.Go(func() { _ = st.CloseWrite() })
			work.Wait()
			fin := false
			for _, g := range p.all() {
				if fin {
					t.Fatalf("%s came behind FIN", g.kind)
				}
				fin = g.kind == typeFin
			}
			if !fin {
				t.Fatal("no FIN came")
			}
			p.say(bare(typeFin, st.id))
			synctest.Wait()
			must(t, st.Close())
		}
		p.hearsNothing()
	})
}

// A half-close does not wait for a peer that gives no credit.
func TestCloseWriteEndsAWriteThatWaitsForCredit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := byHand(t, true, link.Config{})
		st := p.opened()
		wrote := make(chan int)
		go func() {
			n, err := st.Write(zeros(100000))
			if err == nil {
				t.Error("all was written")
			}
			wrote <- n
		}()
		synctest.Wait()
		must(t, st.CloseWrite())
		if n := <-wrote; n != 65536 {
			t.Errorf("%d bytes were written", n)
		}
		frames := p.all()
		if len(payloads(frames, st.id)) != 65536 || frames[len(frames)-1].kind != typeFin {
			t.Errorf("heard %d bytes, and %s last", len(payloads(frames, st.id)), frames[len(frames)-1].kind)
		}
		if _, err := st.Write([]byte("x")); err == nil {
			t.Error("a write after CloseWrite")
		}
		must(t, st.Close())
	})
}

// The provider accepts and breaks the stream at once.
func TestTheReasonOfAStreamThatBreaksWithItsAnswerIsPassedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		behind, provider := byHand(t, false, link.Config{})
		e, client := byHand(t, false, link.Config{Dial: through(behind)})
		for id := uint32(1); id < 600; id += 2 {
			client.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, id))
			far := provider.hear(typeOpen).stream
			provider.say(bare(typeAccept, far), reset(far, Idle, "too long"))
			g := <-client.heard
			if g.kind == typeAccept {
				g = client.hear(typeReset)
			}
			if m := decodeVerdict(g.payload); g.kind != typeReset || m != (verdict{Idle, "too long"}) {
				t.Fatalf("heard %s %+v", g.kind, m)
			}
		}
		client.hearsNothing()
		provider.hearsNothing()
		wantNothingLeft(t, e, behind)
	})
}

func TestAnAnswerThatNeverComesEndsAnEarlyStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		c, err := e.DialEarly(t.Context(), "tcp", "target:80")
		must(t, err)
		d := took(func() { _, err = c.Read(make([]byte, 1)) })
		if site.ReasonOf(err) != site.TimedOut || !errors.Is(err, link.ErrUnanswered) || errors.Is(err, io.EOF) {
			t.Errorf("it ended with %v", err)
		}
		if d < link.AnswerTimeout || d > link.AnswerTimeout+link.CheckInterval {
			t.Errorf("after %v", d)
		}
		p.hear(typeOpen)
		if m := decodeVerdict(p.hear(typeReset).payload); m.reason != TimedOut {
			t.Errorf("the peer was told %v", m.reason)
		}
		if n := e.counts.of("fast_open_failed"); n != 1 {
			t.Errorf("%d were counted", n)
		}
		must(t, c.Close())
		time.Sleep(time.Minute)
		p.hearsNothing()
		wantNothingLeft(t, e)
	})
}
