package ws

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheClosingHandshakeWeBegin(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		end := reading(c)
		c.SendClose(CodeGoingAway, "drained")
		c.SendClose(CodeInternal, "too late")
		p.expect(opClose, "\x03\xe9drained")
		for _, err := range []error{c.WriteMessage(Binary, nil), c.Ping(nil), c.Pong()} {
			if err != ErrCloseSent {
				t.Error(err)
			}
		}
		p.say(opPing, "no answer is due")
		p.say(Binary, "what was on its way")
		p.say(opClose, "\x03\xe9")
		var closed *CloseError
		if err := <-end; !errors.As(err, &closed) || closed.Code != CodeGoingAway || closed.Reason != "" {
			t.Error(err)
		}
		go func() {
			if n, err := p.Read(make([]byte, 100)); n != 0 || err != io.EOF {
				t.Errorf("the peer hears %d bytes more, %v", n, err)
			}
			p.Close()
		}()
		start := time.Now()
		if err := c.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Close: %v", err)
		}
	})
}

func TestTheClosingHandshakeThePeerBegins(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		for said, want := range map[string]CloseError{
			"":                      {Code: CodeNoStatus},
			"\x03\xe8":              {Code: CodeNormal},
			"\x03\xf0no, you don't": {Code: CodePolicy, Reason: "no, you don't"},
			"\x0f\xa0\xe2\x82\xac":  {Code: 4000, Reason: "€"},
		} {
			c, p := pair(t, cfg)
			p.say(opClose, said)
			_, err := c.Next()
			var closed *CloseError
			if !errors.As(err, &closed) || *closed != want {
				t.Errorf("%q: %v", said, err)
			}
			p.expect(opClose, said[:min(2, len(said))])
			if err := c.WriteMessage(Binary, nil); err != ErrCloseSent {
				t.Error(err)
			}
			p.Close()
			c.Close()
		}
	})
}

func TestAPeerThatDoesNotAnswerACloseHasASecond(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		end := reading(c)
		start := time.Now()
		c.SendClose(CodeNormal, "")
		if err := <-end; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if err := c.Close(); err != nil || time.Since(start) != time.Second {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		p.expect(opClose, "\x03\xe8")
	})
}

// A close frame stuck behind a message must not keep Close.
func TestCloseDoesNotWaitForABlockedMessage(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, _ := pair(t, cfg)
		end := reading(c)
		written := make(chan error, 2)
		go func() { written <- c.WriteMessage(Binary, make([]byte, 1<<20)) }()
		synctest.Wait()
		go func() { written <- c.WriteMessage(Binary, nil) }()
		synctest.Wait()
		start := time.Now()
		c.SendClose(CodePolicy, "removed")
		if err := <-written; err != ErrCloseSent {
			t.Errorf("the message that waited: %v", err)
		}
		c.Close()
		if took := time.Since(start); took != time.Second {
			t.Errorf("Close took %v", took)
		}
		if err := <-written; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the message that was being written: %v", err)
		}
		if err := <-end; err == nil {
			t.Error("the reader goes on")
		}
	})
}

// Close and the reader read side by side then, each a part of what comes.
func TestAReaderGetsNothingAfterClose(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		for range 20 {
			c, p := pair(t, cfg)
			end := reading(c)
			c.SendClose(CodeNormal, "")
			closed := make(chan struct{})
			go func() { c.Close(); close(closed) }()
			synctest.Wait()
			p.say(Binary, "data")
			p.say(opClose, "\x03\xe8")
			p.Close()
			if err := <-end; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			<-closed
		}
	})
}

func TestCloseWithoutACloseFrameCutsAtOnce(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, _ := pair(t, cfg)
		end := reading(c)
		written := make(chan error, 1)
		go func() { written <- c.WriteMessage(Binary, make([]byte, 1<<20)) }()
		synctest.Wait()
		start := time.Now()
		if err := c.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		for _, err := range []error{<-end, <-written, c.WriteMessage(Binary, nil)} {
			if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
}

// The peer is in the middle of a message that is too long. Closing with its
// bytes unread would be a reset, which takes the close frame with it.
func TestThePeerLearnsWhyWhileItSends(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		cfg.MaxMessage = 1000
		c, p := pair(t, cfg)
		sent := make(chan error, 1)
		go func() {
			_, err := p.Write(frames(Binary, make([]byte, 1<<20), 1<<20, p.masked))
			sent <- err
		}()
		_, _, err := c.ReadMessage(nil)
		var wrong *ProtocolError
		if !errors.As(err, &wrong) || wrong.Code != CodeTooBig {
			t.Error(err)
		}
		closed := make(chan struct{})
		go func() { c.Close(); close(closed) }()
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if f := p.hear(); f.first != 0x88 || !strings.HasPrefix(string(f.payload), "\x03\xf1a message of more than 1000 bytes") {
			t.Errorf("heard %+v", f)
		}
		p.Close()
		<-closed
	})
}

func TestALongReasonIsCutBetweenCharacters(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		c.SendClose(4001, "a\xff"+strings.Repeat("€", 50))
		p.expect(opClose, "\x0f\xa1a"+strings.Repeat("€", 40))
		p.Close()
		c.Close()
	})
}

func TestAResetIsNoCleanEnd(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		p.say(Binary, "the last words")
		p.SetLinger(0)
		p.Close()
		if _, got, err := c.ReadMessage(nil); string(got) != "the last words" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if _, _, err := c.ReadMessage(nil); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
		c.Close()
	})
}

// What the peer said before it went is read although a write has failed by then.
func TestAFailedWriteLosesNothingOfWhatThePeerSaid(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		p.say(Binary, "the last words")
		p.say(opClose, "\x03\xf0no")
		p.Close()
		if err := c.WriteMessage(Binary, []byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the write: %v", err)
		}
		got, err := outcomeOf(c)
		if len(got.messages) != 1 || got.reason != "no" {
			t.Errorf("%+v, %v", got, err)
		}
		c.Close()
	})
}
