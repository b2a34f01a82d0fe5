package linksocks

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// relay is two sessions of which one dials through the other, as between a
// connector and a provider.
type relay struct {
	front, back         *end
	connector, provider *peer
}

func newRelay(t *testing.T) relay {
	t.Helper()
	back, provider := byHand(t, false, link.Config{})
	front, connector := byHand(t, false, link.Config{Dial: back.DialEarly})
	return relay{front, back, connector, provider}
}

// ask has the connector open a channel and say something, of which the provider
// hears before it has answered.
func (r relay) ask(t *testing.T, words string) (asked, through uuid.UUID) {
	t.Helper()
	m := connect("target", 80)
	r.connector.say(m)
	r.connector.data(m.Channel, []byte(words))
	there := *hear[*Connect](r.provider)
	if there.Host != "target" || there.Port != 80 {
		t.Errorf("the provider heard %+v", there)
	}
	if d := hear[*Data](r.provider); string(d.Payload) != words || d.Channel != there.Channel {
		t.Errorf("the provider heard %+v", d)
	}
	r.connector.hearsNothing()
	return m.Channel, there.Channel
}

func (r relay) wantNothingOpen(t *testing.T) {
	t.Helper()
	wantNothingOpen(t, r.front)
	wantNothingOpen(t, r.back)
	r.connector.hearsNothing()
	r.provider.hearsNothing()
}

func TestWhatAPeerSaysEarlyIsPassedOnBeforeTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRelay(t)
		asked, through := r.ask(t, "early")
		r.provider.say(ConnectResponse{OK: true, Channel: through})
		if m := hear[*ConnectResponse](r.connector); !m.OK || m.Channel != asked {
			t.Errorf("the connector heard %+v", m)
		}
		r.provider.data(through, []byte("answer"))
		r.provider.say(Disconnect{Channel: through, Cause: "EOF"})
		if m := hear[*Data](r.connector); string(m.Payload) != "answer" {
			t.Errorf("the connector heard %+v", m)
		}
		hear[*Disconnect](r.connector)
		r.connector.say(Disconnect{Channel: asked, Cause: "EOF"})
		hear[*Disconnect](r.provider)
		r.wantNothingOpen(t)
	})
}

func TestATargetThatRefusesEarlyDataIsAnsweredOnceAndWithItsReason(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for range 20 { // several hear of it at once
			r := newRelay(t)
			asked, through := r.ask(t, "early")
			r.provider.say(ConnectResponse{Channel: through, Cause: "refused: nobody there"})
			m := hear[*ConnectResponse](r.connector)
			if m.OK || m.Channel != asked || FailureReason(m.Cause) != site.Refused || !strings.Contains(m.Cause, "nobody there") {
				t.Fatalf("the connector heard %+v", m)
			}
			r.wantNothingOpen(t)
		}
	})
}

// A stock provider's data may overtake its word; and a target may say all it
// has to say at once.
func TestTheAnswerToAnEarlyConnectLeavesBeforeTheData(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for range 20 {
			r := newRelay(t)
			asked, through := r.ask(t, "early")
			r.provider.data(through, []byte("answer"))
			r.provider.say(Disconnect{Channel: through, Cause: "EOF"})
			r.provider.say(ConnectResponse{OK: true, Channel: through})
			if m := hear[*ConnectResponse](r.connector); !m.OK {
				t.Fatalf("the connector heard %+v", m)
			}
			hear[*Data](r.connector)
			if m := hear[*Disconnect](r.connector); m.Cause != "EOF" {
				t.Fatalf("the connector heard %+v", m)
			}
			r.connector.say(Disconnect{Channel: asked, Cause: "EOF"})
			hear[*Disconnect](r.provider)
			r.wantNothingOpen(t)
		}
	})
}

func TestAConnectorThatGivesUpBeforeTheAnswerGivesUpThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRelay(t)
		asked, through := r.ask(t, "early")
		r.connector.say(Disconnect{Channel: asked, Cause: "user is gone"})
		if m := hear[*Disconnect](r.provider); m.Channel != through || m.Cause == "EOF" {
			t.Errorf("the provider heard %+v", m)
		}
		if m := hear[*ConnectResponse](r.connector); m.OK {
			t.Errorf("the connector heard %+v", m)
		}
		r.wantNothingOpen(t)
	})
}

func TestAProviderThatDoesNotAnswerIsWaitedForNoLongerThanADialMayTake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRelay(t)
		_, through := r.ask(t, "early")
		if d := took(func() {
			if m := hear[*ConnectResponse](r.connector); m.OK || FailureReason(m.Cause) != site.TimedOut {
				t.Errorf("the connector heard %+v", m)
			}
		}); d != link.DialTimeout {
			t.Errorf("it took %v", d)
		}
		if m := hear[*Disconnect](r.provider); m.Channel != through {
			t.Errorf("the provider heard %+v", m)
		}
		r.wantNothingOpen(t)
	})
}

func TestALostProviderIsAFailedDial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRelay(t)
		r.ask(t, "early")
		r.provider.net.Cut()
		if m := hear[*ConnectResponse](r.connector); m.OK || FailureReason(m.Cause) != site.NetworkUnreachable {
			t.Errorf("the connector heard %+v", m)
		}
		wantNothingOpen(t, r.front)
		r.connector.hearsNothing()
	})
}

func TestAStreamThatIsEndedWhileItIsDialledHasOneAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: hanging, DialTimeout: time.Hour})
		m := connect("target", 80)
		p.say(m)
		p.flood(m.Channel, maxStreamQueue+4*block)
		r := hear[*ConnectResponse](p)
		if r.OK || r.Channel != m.Channel || r.Cause != "failed: "+ErrTooSlow.Error() {
			t.Errorf("heard %+v", r)
		}
		p.hearsNothing()
		wantNothingOpen(t, e)
	})
}

// Who ends a stream must not wait for the network, and still not overtake the
// answer that is on its way out.
func TestAStreamThatIsEndedWhileItIsAnsweredEndsBehindTheAnswer(t *testing.T) {
	for name, end := range map[string]func(st *Stream){
		"by the session": func(st *Stream) { st.kill(ErrTooSlow, "receiver too slow") },
		"by its user":    func(st *Stream) { _ = st.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, p := byHand(t, false, link.Config{Dial: serving(echo)})
				other, _ := opened(t, e, p)
				p.raw.StopReading(true)
				go func() { _, _ = other.Write(make([]byte, 1<<20)) }()
				synctest.Wait()
				m := connect("target", 80)
				p.say(m)
				synctest.Wait()
				if d := took(func() { end(e.stream(m.Channel)) }); d != 0 {
					t.Errorf("it took %v", d)
				}
				p.raw.StopReading(false)
				hear[*Data](p)
				if r := hear[*ConnectResponse](p); !r.OK || r.Channel != m.Channel {
					t.Errorf("heard %+v", r)
				}
				if d := hear[*Disconnect](p); d.Channel != m.Channel || d.Cause == "EOF" {
					t.Errorf("heard %+v", d)
				}
				p.hearsNothing()
			})
		})
	}
}

// late is a target that is there at once and says so late.
type late struct {
	pipe.Conn
	opened chan error
}

func (c late) Opened(ctx context.Context) error {
	select {
	case err := <-c.opened:
		return err
	case <-ctx.Done():
		return &site.DialError{Reason: site.ReasonOf(ctx.Err()), Address: "late", Err: ctx.Err()}
	}
}

// What a target says is a yes, whoever says so first.
func TestATargetThatSpeaksIsOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		opened := make(chan error, 1)
		_, p := byHand(t, false, link.Config{Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
			c, err := dial(ctx, network, address)
			return late{c, opened}, err
		}})
		p.say(connect("target", 80))
		_, err := (<-came).Write([]byte("220 ready"))
		must(t, err)
		if m := hear[*ConnectResponse](p); !m.OK {
			t.Errorf("heard %+v", m)
		}
		hear[*Data](p)
		opened <- errors.New("a word that comes too late to be a no")
		if m := hear[*Disconnect](p); m.Cause != "aborted" {
			t.Errorf("heard %+v", m)
		}
		p.hearsNothing()
	})
}

func TestATargetThatBreaksBeforeItIsOpenIsAFailedDial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		opened := make(chan error, 1)
		e, p := byHand(t, false, link.Config{Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
			c, err := dial(ctx, network, address)
			return late{c, opened}, err
		}})
		p.say(connect("target", 80))
		pipe.Reset(<-came)
		p.hearsNothing() // it may still have a reason to tell
		opened <- nil
		if m := hear[*ConnectResponse](p); m.OK {
			t.Errorf("heard %+v", m)
		}
		p.hearsNothing()
		wantNothingOpen(t, e)
	})
}

// As a Join does.
func TestWhoClosesARefusedStreamAtOnceDoesNotHideWhyNorTellThePeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		c, err := e.DialEarly(t.Context(), "tcp", "target:80")
		must(t, err)
		st := c.(*Stream)
		st.OnBreak(func(error) { _ = st.Close() })
		p.say(ConnectResponse{Channel: hear[*Connect](p).Channel, Cause: "refused: nobody there"})
		if err := st.Opened(t.Context()); site.ReasonOf(err) != site.Refused {
			t.Errorf("opened: %v", err)
		}
		p.hearsNothing()
		wantNothingOpen(t, e)
	})
}

func TestAnEarlyStreamSaysWhetherItIsOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		early := func() (site.Pending, uuid.UUID) {
			c, err := e.DialEarly(t.Context(), "tcp", "target:80")
			must(t, err)
			return c.(site.Pending), hear[*Connect](p).Channel
		}
		wants := func(name string, c site.Pending, reason site.Reason, cause error) {
			t.Helper()
			var dial *site.DialError
			if err := c.Opened(t.Context()); !errors.As(err, &dial) || dial.Reason != reason || cause != nil && !errors.Is(err, cause) {
				t.Errorf("%s: %v", name, err)
			}
		}
		good, channel := early()
		p.say(ConnectResponse{OK: true, Channel: channel})
		must(t, good.Opened(t.Context()), good.Opened(t.Context()))

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		silent, _ := early()
		if err := silent.Opened(short); site.ReasonOf(err) != site.TimedOut {
			t.Errorf("a word that does not come in time: %v", err)
		}
		wants("a word that does not come", silent, site.TimedOut, link.ErrUnanswered)
		hear[*Disconnect](p)

		closed, _ := early()
		must(t, closed.Close())
		hear[*Disconnect](p)
		wants("closed", closed, site.Other, nil)

		aborted, channel := early()
		p.say(Disconnect{Channel: channel, Cause: "no such luck"})
		wants("aborted", aborted, site.NetworkUnreachable, link.ErrAborted)

		lost, _ := early()
		p.ending.Store(true)
		e.Close()
		wants("lost", lost, site.NetworkUnreachable, link.ErrLost)
		must(t, good.Opened(t.Context()))
	})
}
