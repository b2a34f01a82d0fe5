package linksocks

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
)

// took gives how long f takes by the bubble's clock.
func took(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

func TestTheEndOfTheTargetArrivesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		target, came := giving()
		l := newLink(t, link.Config{}, link.Config{Dial: target})
		st := dial(t, l.near)
		c := <-came
		if d := took(func() {
			_, err := c.Write([]byte("bye"))
			must(t, err, c.CloseWrite())
			wantAll(t, st, []byte("bye"))
			must(t, st.CloseWrite(), st.Close())
			wantAll(t, c, nil)
		}); d != 0 {
			t.Errorf("it took %v", d)
		}
		wantNothingOpen(t, l.near)
		wantNothingOpen(t, l.far)
	})
}

func TestTheReplyArrivesAfterAHalfClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		target, came := giving()
		l := newLink(t, link.Config{}, link.Config{Dial: target})
		st := dial(t, l.near)
		c := <-came
		_, err := st.Write([]byte("question"))
		must(t, err, st.CloseWrite())
		wantAll(t, c, []byte("question"))
		reply := noise(1, 300<<10)
		go func() {
			time.Sleep(50 * time.Second) // thinking; less than would be forgotten
			_, _ = c.Write(reply)
			_ = c.Close()
		}()
		wantAll(t, st, reply)
	})
}

func TestAnOrdinaryDisconnectIsACleanEnd(t *testing.T) {
	for _, cause := range []string{"", "EOF"} {
		t.Run("cause "+cause, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, p := byHand(t, true, link.Config{})
				st, channel := opened(t, e, p)
				p.data(channel, []byte("the last words"))
				p.say(Disconnect{Channel: channel, Cause: cause})
				synctest.Wait() // the end is known, and the words come first all the same
				wantAll(t, st, []byte("the last words"))
				if n, err := st.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
					t.Errorf("wrote %d, %v", n, err)
				}
				must(t, st.CloseWrite(), st.Close())
				if m := hear[*Disconnect](p); m.Channel != channel || m.Cause != "EOF" {
					t.Errorf("heard %+v", m)
				}
				p.hearsNothing()
			})
		})
	}
}

// Each is what a peer may say after some data, and what then must not look like
// a clean end.
func TestAnyOtherEndIsAnError(t *testing.T) {
	for name, causes := range map[string][]string{
		"another cause":               {"read tcp: connection reset by peer"},
		"aborted":                     {"aborted"},
		"too slow":                    {"receiver too slow"},
		"a second word":               {"EOF", ""},
		"an error behind the end":     {"EOF", "write: broken pipe"},
		"a case that differs":         {"eof"},
		"an EOF that is a prefix":     {"EOF?"},
		"an unexpected EOF":           {"unexpected EOF"},
		"an end of 255 bytes of text": {string(make([]byte, 255))},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, p := byHand(t, true, link.Config{})
				st, channel := opened(t, e, p)
				p.data(channel, []byte("half of a"))
				for _, cause := range causes {
					p.say(Disconnect{Channel: channel, Cause: cause})
				}
				synctest.Wait()
				wantFailure(t, st, link.ErrAborted)
				if _, err := st.Write([]byte("x")); !errors.Is(err, link.ErrAborted) {
					t.Errorf("Write: %v", err)
				}
				if err := st.CloseWrite(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("CloseWrite: %v", err)
				}
				must(t, st.Close())
				p.hearsNothing() // it knows
			})
		})
	}
}

func TestASecondWordOnWhatHasEndedBothWaysIsNoNews(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		must(t, st.CloseWrite())
		p.data(channel, []byte("reply"))
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		p.say(Disconnect{Channel: channel, Cause: "EOF"}) // a stock peer's, 5 s later
		synctest.Wait()
		wantAll(t, st, []byte("reply"))
	})
}

func TestAResetOfTheTargetIsAnErrorForTheUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		target, came := giving()
		l := newLink(t, link.Config{}, link.Config{Dial: target})
		st := dial(t, l.near)
		c := <-came
		_, err := c.Write([]byte("half"))
		must(t, err)
		wantRead(t, st, []byte("half"))
		pipe.Reset(c)
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, link.ErrAborted) {
			t.Errorf("read: %v", err)
		}
	})
}

func TestAUserWhoGivesUpResetsTheTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		target, came := giving()
		l := newLink(t, link.Config{}, link.Config{Dial: target})
		st := dial(t, l.near)
		c := <-came
		_, err := st.Write([]byte("half"))
		must(t, err)
		wantRead(t, c, []byte("half"))
		must(t, st.Close())
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target read: %v", err)
		}
		if err := st.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Close: %v", err)
		}
		wantNothingOpen(t, l.near)
		wantNothingOpen(t, l.far)
	})
}

// What nobody read is lost, so the peer must not take it for delivered.
func TestClosingWithBytesUnreadIsNoCleanEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		must(t, st.CloseWrite())
		p.data(channel, []byte("unread"))
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		hear[*Disconnect](p)
		synctest.Wait()
		must(t, st.Close())
		if m := hear[*Disconnect](p); m.Channel != channel || m.Cause == "" || m.Cause == "EOF" {
			t.Errorf("heard %+v", m)
		}
		wantNothingOpen(t, e)
	})
}

func TestAReplyThatDoesNotComeIsForgottenAfterAMinute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		must(t, st.CloseWrite())
		hear[*Disconnect](p)
		time.Sleep(50 * time.Second)
		p.data(channel, []byte("a sign")) // puts it off
		wantRead(t, st, []byte("a sign"))
		d := took(func() {
			if _, err := st.Read(make([]byte, 1)); !errors.Is(err, link.ErrAborted) {
				t.Errorf("read: %v", err)
			}
		})
		if d < forgottenAfter || d > forgottenAfter+link.PingInterval {
			t.Errorf("it took %v", d)
		}
		if m := hear[*Disconnect](p); m.Channel != channel || m.Cause == "EOF" {
			t.Errorf("heard %+v", m)
		}
		time.Sleep(forgottenAfter) // its user closes it late
		p.hearsNothing()
		if n := e.counts.of("half_close_lost"); n != 1 {
			t.Errorf("counted %d times", n)
		}
	})
}

// It may be a stock peer that has closed: nobody would read what is sent.
func TestATargetThatIsSilentToAHalfClosedUserIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		e, p := byHand(t, false, link.Config{Dial: dial})
		channel := p.open()
		c := <-came
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		wantAll(t, c, nil)
		time.Sleep(50 * time.Second)
		_, err := c.Write([]byte("a sign"))
		must(t, err)
		d := took(func() {
			for {
				if _, err := c.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNRESET) {
					return
				}
				time.Sleep(time.Second)
			}
		})
		if d < forgottenAfter || d > forgottenAfter+link.PingInterval {
			t.Errorf("it took %v", d)
		}
		hear[*Data](p)
		hear[*Disconnect](p)
		wantNothingOpen(t, e)
	})
}

func TestATargetThatTalksToAHalfClosedUserHasTenMinutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		_, p := byHand(t, false, link.Config{Dial: dial})
		channel := p.open()
		c := <-came
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		wantAll(t, c, nil)
		d := took(func() {
			for {
				if _, err := c.Write([]byte("tick")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		if d < halfLife || d > halfLife+link.PingInterval+time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestAUserWhoReadsLateIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		must(t, st.CloseWrite())
		p.data(channel, []byte("reply"))
		time.Sleep(3 * forgottenAfter)
		wantRead(t, st, []byte("reply"))
		time.Sleep(forgottenAfter / 2) // the peer's time counts from now
		p.data(channel, []byte(", and more"))
		p.say(Disconnect{Channel: channel})
		time.Sleep(3 * forgottenAfter)
		wantAll(t, st, []byte(", and more"))
	})
}

// The minute counts from when the target has the whole question.
func TestATargetThatTakesTheQuestionSlowlyHasTimeToAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dial, came := giving()
		_, p := byHand(t, false, link.Config{Dial: dial})
		channel := p.open()
		c := <-came
		const size = 3 << 20
		p.flood(channel, size)
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		if n, err := readSlowly(c, 32<<10, time.Second); err != nil || n != size {
			t.Errorf("the target got %d of %d bytes, %v", n, size, err)
		}
		time.Sleep(forgottenAfter / 2)
		_, err := c.Write([]byte("answer"))
		must(t, err, c.Close())
		if m := hear[*Data](p); string(m.Payload) != "answer" {
			t.Errorf("heard %q", m.Payload)
		}
		hear[*Disconnect](p)
	})
}

func TestADeadlineEndsAReadOrAWriteAndNotTheStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		d := took(func() {
			must(t, st.SetDeadline(time.Now().Add(3*time.Second)))
			if _, err := st.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
		})
		if d != 3*time.Second {
			t.Errorf("it took %v", d)
		}
		if n, err := st.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		p.data(channel, []byte("late"))
		synctest.Wait()
		if n, err := st.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v", n, err)
		}
		must(t, st.SetDeadline(time.Time{}))
		_, err := st.Write([]byte("x"))
		must(t, err)
		wantRead(t, st, []byte("late"))
		// A deadline that is set while a read waits.
		go func() {
			time.Sleep(time.Second)
			_ = st.SetReadDeadline(time.Now())
		}()
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	})
}

func TestCloseWakesAReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, _ := opened(t, e, p)
		go func() {
			time.Sleep(time.Second)
			_ = st.Close()
		}()
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := st.Next(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("next: %v", err)
		}
		if _, err := st.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestNothingFollowsOurOwnEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, _ := opened(t, e, p)
		must(t, st.CloseWrite())
		if _, err := st.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write: %v", err)
		}
		if err := st.CloseWrite(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second CloseWrite: %v", err)
		}
		hear[*Disconnect](p)
		p.hearsNothing()
	})
}

func TestAPeersEndBeforeItsAnswerIsAFailedDial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		failed := make(chan error, 1)
		go func() {
			_, err := e.Dial(t.Context(), "tcp", "target:80")
			failed <- err
		}()
		p.say(Disconnect{Channel: hear[*Connect](p).Channel, Cause: "EOF"})
		if err := <-failed; !errors.Is(err, link.ErrAborted) {
			t.Errorf("dial: %v", err)
		}
		p.say(Disconnect{Channel: uuid.New(), Cause: "never heard of"})
		_, _ = opened(t, e, p) // the link goes on
	})
}

var _ io.Reader = (*Stream)(nil)
var _ pipe.Source = (*Stream)(nil)
var _ pipe.Breaker = (*Stream)(nil)
var _ pipe.Conn = (*Stream)(nil)
