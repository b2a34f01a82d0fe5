package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// turn is one exchange as a proxy sees it: it wants these bytes and answers those.
type turn struct{ want, answer string }

// scripted is a proxy for one connection, which plays its turns, then echoes
// until its client ends, and says goodbye. Its address is given.
func scripted(t *testing.T, turns ...turn) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second)) // a test that fails ends
		play(t, c, turns)
	}()
	return ln.Addr().String()
}

func play(t *testing.T, c net.Conn, turns []turn) {
	for _, turn := range turns {
		got := make([]byte, len(turn.want))
		if n, err := io.ReadFull(c, got); err != nil || string(got) != turn.want {
			t.Errorf("the proxy was sent %q, %v, want %q", got[:n], err, turn.want)
			return
		}
		io.WriteString(c, turn.answer)
	}
	io.Copy(c, c)
	io.WriteString(c, "goodbye")
}

func parse(t *testing.T, text string) *Proxy {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// usable wants a stream whose target spoke first, which echoes, and which
// answers after our half-close.
func usable(t *testing.T, c pipe.Conn, early string) {
	t.Helper()
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, len(early))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != early {
		t.Errorf("the target's first bytes are %q, %v, want %q", got, err, early)
	}
	if _, err := io.WriteString(c, "request"); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "requestgoodbye" {
		t.Errorf("after the half-close came %q, %v", rest, err)
	}
}

// failed wants a dial that failed for a reason.
func failed(t *testing.T, what string, err error, want site.Reason) {
	t.Helper()
	var dial *site.DialError
	if !errors.As(err, &dial) || dial.Reason != want || site.ReasonOf(err) != want {
		t.Errorf("%s: %v, want the reason %v", what, err, want)
	}
}

// script is a connection whose other end has sent all its bytes already.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error) { return s.out.Write(b) }
