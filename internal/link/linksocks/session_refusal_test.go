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

// failing dials nothing.
func failing(err error) dialFunc {
	return func(context.Context, string, string) (pipe.Conn, error) { return nil, err }
}

// wantRefusal wants the answer to m to be a failure with this first word.
func (p *peer) wantRefusal(m Connect, word string) {
	p.t.Helper()
	p.say(m)
	r := hear[*ConnectResponse](p)
	if first, _, _ := strings.Cut(r.Cause, ":"); r.OK || r.Channel != m.Channel || first != word {
		p.t.Errorf("%+v was answered %+v, want %s", m, r, word)
	}
}

func connect(host string, port uint16) Connect {
	return Connect{Proto: TCP, Channel: uuid.New(), Host: host, Port: port}
}

func TestAPeerThatMayNotOpenAnythingIsDenied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		p.wantRefusal(connect("target", 80), "denied")
		p.wantRefusal(Connect{Proto: UDP, Channel: uuid.New()}, "denied")
		if n := e.counts.of("connect_refused"); n != 2 {
			t.Errorf("%d are counted", n)
		}
		wantNothingOpen(t, e)
	})
}

func TestWhatNamesNoTargetIsAnsweredWithAFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{UDP: &udpSite{err: errors.New("no socket")}, Dial: func(context.Context, string, string) (pipe.Conn, error) {
			t.Error("it was dialled")
			return nil, errors.ErrUnsupported
		}})
		p.wantRefusal(connect("", 80), "failed")
		p.wantRefusal(connect("target", 0), "failed")
		p.wantRefusal(Connect{Proto: UDP, Channel: uuid.New()}, "failed")
		for _, proto := range []byte{0, 3, 255} {
			channel := uuid.New()
			p.sayBytes(append([]byte{Version, byte(TypeConnect), proto}, channel[:]...))
			if m := hear[*ConnectResponse](p); m.OK || m.Channel != channel {
				t.Errorf("protocol %d was answered %+v", proto, m)
			}
		}
		wantNothingOpen(t, e)
	})
}

func TestADrainingSessionOpensNothingAndKeepsWhatIsOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: serving(echo), UDP: &udpSite{}})
		channel := p.open()
		e.Drain()
		p.wantRefusal(connect("target", 80), "failed")
		p.wantRefusal(Connect{Proto: UDP, Channel: uuid.New()}, "failed")
		p.data(channel, []byte("still there"))
		if m := hear[*Data](p); string(m.Payload) != "still there" {
			t.Errorf("heard %+v", m)
		}
		st, _ := opened(t, e, p) // what this end opens is its own affair
		must(t, st.Close())
	})
}

func TestALinkHasABoundedNumberOfChannels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: failing(errors.New("not reached"))})
		e.mu.Lock()
		e.served = link.MaxChannels // 16384 true ones would take long
		e.mu.Unlock()
		p.wantRefusal(connect("target", 80), "failed")
		e.mu.Lock()
		e.served--
		e.mu.Unlock()
		p.wantRefusal(connect("target", 80), "failed") // it was dialled, and gives its place back
		synctest.Wait()
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.served != link.MaxChannels-1 {
			t.Errorf("%d are counted", e.served)
		}
		e.served = 0
	})
}

func TestAChannelThatIsOpenedTwiceGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: serving(echo), UDP: &udpSite{}})
		channel := p.open()
		p.say(Connect{Proto: TCP, Channel: channel, Host: "other", Port: 80})
		p.say(Connect{Proto: UDP, Channel: channel})
		p.data(channel, []byte("still there"))
		if m := hear[*Data](p); string(m.Payload) != "still there" {
			t.Errorf("heard %+v", m)
		}
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		hear[*Disconnect](p)
		if n := e.counts.of("channel_twice"); n != 2 {
			t.Errorf("%d are counted", n)
		}
		wantNothingOpen(t, e)
	})
}

func TestAPeerCannotTakeAChannelThatThisEndOpened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{Dial: serving(echo)})
		st, channel := opened(t, e, p)
		p.say(Connect{Proto: TCP, Channel: channel, Host: "other", Port: 80})
		p.data(channel, []byte("mine"))
		wantRead(t, st, []byte("mine"))
		p.hearsNothing()
	})
}

func TestTheReasonOfAFailedDialReachesItsOpener(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for reason, word := range map[site.Reason]string{
			site.Other: "failed", site.Refused: "refused", site.HostUnreachable: "unreachable", site.NetworkUnreachable: "unreachable",
			site.NameNotFound: "name", site.Denied: "denied", site.TimedOut: "timeout",
		} {
			cause := &site.DialError{Reason: reason, Address: "target:80", Err: errors.New("connection refused or timeout, who knows")}
			_, p := byHand(t, false, link.Config{Dial: failing(cause)})
			p.wantRefusal(connect("target", 80), word)

			l := newLink(t, link.Config{}, link.Config{Dial: failing(cause), UDP: &udpSite{err: cause}})
			for what, open := range map[string]func() error{
				"Dial":      func() error { _, err := l.near.Dial(t.Context(), "tcp", "target:80"); return err },
				"Associate": func() error { _, err := l.near.Associate(t.Context()); return err },
				"DialEarly": func() error {
					c, err := l.near.DialEarly(t.Context(), "tcp", "target:80")
					must(t, err)
					_, err = c.Read(make([]byte, 1))
					if _, werr := c.Write([]byte("x")); werr != err {
						t.Errorf("Write: %v, Read: %v", werr, err)
					}
					must(t, c.Close())
					return err
				},
			} {
				var dial *site.DialError
				if err := open(); !errors.As(err, &dial) || dial.Reason != reason {
					t.Errorf("%s for %v: %v", what, reason, err)
				}
			}
			wantNothingOpen(t, l.near)
			wantNothingOpen(t, l.far)
			if n := l.near.counts.of("fast_open_failed"); n != 1 {
				t.Errorf("%d early dials are counted as failed", n)
			}
		}
	})
}

func TestALinkSurvivesAFailedDialWithDataBehindIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: func(context.Context, string, string) (pipe.Conn, error) {
			time.Sleep(time.Second)
			return nil, errors.New("no")
		}})
		m := connect("target", 80)
		p.say(m)
		p.data(m.Channel, make([]byte, 1<<20))
		p.say(Disconnect{Channel: m.Channel})
		synctest.Wait()
		if n := e.inbound.room.held.Load(); n != 1<<20 {
			t.Errorf("%d bytes are held meanwhile", n)
		}
		if r := hear[*ConnectResponse](p); r.OK {
			t.Errorf("heard %+v", r)
		}
		p.hearsNothing() // no more about it
		wantNothingOpen(t, e)
	})
}

// hanging dials for as long as it may.
func hanging(ctx context.Context, _, _ string) (pipe.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAPeerThatGivesUpEndsTheDial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: hanging})
		m := connect("target", 80)
		p.say(m)
		synctest.Wait()
		if d := took(func() {
			p.say(Disconnect{Channel: m.Channel, Cause: "user is gone"})
			if r := hear[*ConnectResponse](p); r.OK {
				t.Errorf("heard %+v", r)
			}
		}); d != 0 {
			t.Errorf("it took %v", d)
		}
		wantNothingOpen(t, e)
	})
}

func TestADialThatIsGivenUpIsGivenUpThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, link.Config{}, link.Config{Dial: hanging})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if d := took(func() {
			var dial *site.DialError
			if _, err := l.near.Dial(ctx, "tcp", "target:80"); !errors.As(err, &dial) || dial.Reason != site.TimedOut {
				t.Errorf("dial: %v", err)
			}
		}); d != 3*time.Second {
			t.Errorf("it took %v", d)
		}
		wantNothingOpen(t, l.near)
		wantNothingOpen(t, l.far)
	})
}

func TestADialThatHangsTimesOutAfterTenSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, link.Config{}, link.Config{Dial: hanging})
		if d := took(func() {
			if _, err := l.near.Dial(t.Context(), "tcp", "target:80"); site.ReasonOf(err) != site.TimedOut {
				t.Errorf("dial: %v", err)
			}
		}); d != link.DialTimeout {
			t.Errorf("it took %v", d)
		}
	})
}

func TestAnAddressThatIsNoneIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		for _, address := range []string{"", "target", "target:no-such-service", "target:70000", "a:b:1", strings.Repeat("x", 256) + ":80"} {
			var dial *site.DialError
			if _, err := e.Dial(t.Context(), "tcp", address); !errors.As(err, &dial) || dial.Address != address || dial.Reason != site.Other {
				t.Errorf("%.20q: %v", address, err)
			}
		}
		p.hearsNothing()
		wantNothingOpen(t, e)
	})
}
