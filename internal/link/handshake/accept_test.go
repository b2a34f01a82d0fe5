package handshake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/adit-tunnel/adit/internal/link/ws"
)

func TestAcceptTalksToGorilla(t *testing.T) {
	t.Parallel()
	handler, end := echoing(t)
	u := serve(t, handler)
	// Another Origin than the host is welcome.
	g, answer, err := gorilla.DefaultDialer.Dial(u.String(), http.Header{"Origin": {"https://elsewhere.example"}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, name := range []string{"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		if got := answer.Header.Values(name); got != nil {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, size := range sizes {
		g.WriteMessage(gorilla.BinaryMessage, noise(size))
		if _, got, err := g.ReadMessage(); err != nil || !bytes.Equal(got, noise(size)) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	g.Close()
	if err := <-end; err == nil {
		t.Error("it goes on")
	}
}

func TestAcceptTalksToCoderAndAgreesOnASubprotocol(t *testing.T) {
	t.Parallel()
	handler, end := echoing(t, "adit.2", "adit.1")
	u := serve(t, handler)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	g, _, err := coder.Dial(ctx, u.String(), &coder.DialOptions{
		Subprotocols:    []string{"other", "adit.1", "adit.2"},
		CompressionMode: coder.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.CloseNow()
	if got := g.Subprotocol(); got != "adit.2" {
		t.Errorf("the subprotocol is %q", got)
	}
	g.SetReadLimit(-1)
	for _, size := range sizes {
		if err := g.Write(ctx, coder.MessageText, noise(size)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := g.Read(ctx); err != nil || !bytes.Equal(got, noise(size)) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	g.Close(coder.StatusNormalClosure, "")
	var closed *ws.CloseError
	if err := <-end; !errors.As(err, &closed) || closed.Code != ws.CodeNormal {
		t.Error(err)
	}
}

const upgrade = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

// exchange sends raw bytes to a server and gives what it answers until it ends,
// without the date.
func exchange(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, request)
	got, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(got)) {
		if !strings.HasPrefix(line, "Date: ") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func TestAcceptAnswersWhatIsNoUpgradeAsStockRelaysDo(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, err := Accept(w, r, ws.Config{})
		errs <- err
	}))
	defer s.Close()
	const fields = "Content-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\n"
	const bad = "HTTP/1.1 400 Bad Request\r\n" + fields + "Content-Length: 12\r\nConnection: close\r\n\r\nBad Request\n"
	const method = "HTTP/1.1 405 Method Not Allowed\r\n" + fields + "Content-Length: 19\r\nConnection: close\r\n\r\nMethod Not Allowed\n"
	for _, c := range []struct{ what, request, want string }{
		{"plain GET", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", bad},
		{"plain POST", "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", bad},
		{"POST", "POST / HTTP/1.1\r\n" + upgrade + "Connection: close\r\nContent-Length: 0\r\n\r\n", method},
		{"no key", "GET / HTTP/1.1\r\n" + strings.ReplaceAll(upgrade, "-Key", "-Kex") + "Connection: close\r\n\r\n", bad},
		{"short key", "GET / HTTP/1.1\r\n" + strings.ReplaceAll(upgrade, "AAAA==", "==") + "Connection: close\r\n\r\n", bad},
		{"version 8", "GET / HTTP/1.1\r\n" + strings.ReplaceAll(upgrade, "13", "8") + "Connection: close\r\n\r\n", bad},
		{"other upgrade", "GET / HTTP/1.1\r\n" + strings.ReplaceAll(upgrade, "websocket", "h2c") + "Connection: close\r\n\r\n", bad},
	} {
		if got := exchange(t, s.Listener.Addr().String(), c.request); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
		if err := <-errs; err == nil {
			t.Errorf("%s is no error", c.what)
		}
	}
}

func TestAcceptSendsABareAnswer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Other", "a")
		c, _, err := Accept(w, r, ws.Config{})
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	}))
	defer s.Close()
	got := exchange(t, s.Listener.Addr().String(), "GET / HTTP/1.1\r\n"+upgrade+"\r\n")
	want := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
	if got != want {
		t.Errorf("%q", got)
	}
}

// wrapped is what a middleware makes of a writer.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A client may send its first frame right behind the request.
func TestAcceptLosesNothingThatCameWithTheRequest(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := Accept(wrapped{w}, r, ws.Config{})
		if err != nil {
			t.Error(err)
			got <- ""
			return
		}
		defer c.Close()
		_, p, err := c.ReadMessage(nil)
		if err != nil {
			t.Error(err)
		}
		got <- string(p)
	}))
	defer s.Close()
	frame := "\x82\x85\x00\x00\x00\x00early"
	exchange(t, s.Listener.Addr().String(), "GET / HTTP/1.1\r\n"+upgrade+"\r\n"+frame)
	if p := <-got; p != "early" {
		t.Errorf("came %q", p)
	}
}

// plainConn sees the deadlines that are set.
type plainConn struct {
	net.Conn
	read, write time.Time
}

func (c *plainConn) SetDeadline(at time.Time) error {
	c.read, c.write = at, at
	return nil
}
func (c *plainConn) SetReadDeadline(at time.Time) error  { c.read = at; return nil }
func (c *plainConn) SetWriteDeadline(at time.Time) error { c.write = at; return nil }
func (c *plainConn) Write(p []byte) (int, error)         { return len(p), nil }
func (c *plainConn) Close() error                        { return nil }

type hijackable struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

func TestAcceptClearsTheServersDeadlines(t *testing.T) {
	t.Parallel()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\n" + upgrade + "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	conn := &plainConn{read: time.Now(), write: time.Now()}
	c, _, err := Accept(hijackable{httptest.NewRecorder(), conn}, r, ws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !conn.read.IsZero() || !conn.write.IsZero() {
		t.Errorf("deadlines are left: %v, %v", conn.read, conn.write)
	}
}

func TestAcceptSaysWhenItCannotTakeTheConnection(t *testing.T) {
	t.Parallel()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\n" + upgrade + "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if _, _, err := Accept(w, r, ws.Config{}); err == nil || w.Code != http.StatusInternalServerError {
		t.Errorf("%v, answered %d", err, w.Code)
	}
}
