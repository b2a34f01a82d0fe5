package ws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

var interopSizes = []int{0, 1, 125, 126, 4082, 4096, 4097, 65535, 65536, 65560, 1<<20 + 3}

// echo sends back what comes, until the end.
func echo(c *Conn) error {
	var buf []byte
	for {
		op, got, err := c.ReadMessage(buf)
		if err != nil {
			return err
		}
		if err := c.WriteMessage(op, got); err != nil {
			return err
		}
		buf = got
	}
}

// serve starts an HTTP server for one test and gives its address for WebSocket.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

// echoServer is ours, behind a handshake by gorilla. How it ended is in the channel.
func echoServer(t *testing.T) (url string, end <-chan error) {
	t.Helper()
	result := make(chan error, 1)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		up := gorilla.Upgrader{}
		g, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		c := New(g.NetConn(), nil, Config{})
		result <- echo(c)
		c.Close()
	}), result
}

// headConn lets a handshake read a byte at a time, so that it cannot read what
// comes behind it.
type headConn struct{ *net.TCPConn }

func (h headConn) Read(p []byte) (int, error) { return h.TCPConn.Read(p[:min(1, len(p))]) }

// dial is our client, behind a handshake by gorilla.
func dial(t *testing.T, url string, cfg Config) *Conn {
	t.Helper()
	d := gorilla.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return headConn{c.(*net.TCPConn)}, nil
	}}
	g, _, err := d.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Client = true
	c := New(g.NetConn().(headConn).TCPConn, nil, cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

// With its buffer of 4096 bytes gorilla sends what stock linksocks peers send:
// a chain of masked frames for each long message.
func TestOurServerTalksToGorilla(t *testing.T) {
	t.Parallel()
	url, end := echoServer(t)
	g, _, err := (&gorilla.Dialer{WriteBufferSize: 4096}).Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	pongs := 0
	g.SetPongHandler(func(s string) error {
		if s == "ping" {
			pongs++
		}
		return nil
	})
	for _, size := range interopSizes {
		g.WriteControl(gorilla.PingMessage, []byte("ping"), time.Now().Add(time.Second))
		if err := g.WriteMessage(gorilla.TextMessage, noise(size)); err != nil {
			t.Fatal(err)
		}
		op, got, err := g.ReadMessage()
		if err != nil || op != gorilla.TextMessage || !bytes.Equal(got, noise(size)) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	if pongs == 0 {
		t.Error("no ping was answered")
	}
	g.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(1001, "bye"), time.Now().Add(time.Second))
	if _, _, err := g.ReadMessage(); !gorilla.IsCloseError(err, 1001) {
		t.Errorf("it ends with %v", err)
	}
	var closed *CloseError
	if err := <-end; !errors.As(err, &closed) || *closed != (CloseError{CodeGoingAway, "bye"}) {
		t.Error(err)
	}
}

func TestOurServerTalksToCoder(t *testing.T) {
	t.Parallel()
	url, end := echoServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	g, _, err := coder.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.CloseNow()
	g.SetReadLimit(-1)
	for _, size := range interopSizes {
		if err := g.Write(ctx, coder.MessageBinary, noise(size)); err != nil {
			t.Fatal(err)
		}
		op, got, err := g.Read(ctx)
		if err != nil || op != coder.MessageBinary || !bytes.Equal(got, noise(size)) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	reading := g.CloseRead(ctx)
	if err := g.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := g.Close(coder.StatusPolicyViolation, "no more"); err != nil {
		t.Errorf("close: %v", err)
	}
	<-reading.Done()
	var closed *CloseError
	if err := <-end; !errors.As(err, &closed) || *closed != (CloseError{CodePolicy, "no more"}) {
		t.Error(err)
	}
}

// talk has our client send messages of all sizes to a server that echoes them,
// and end with a close frame. The server speaks first.
func talk(t *testing.T, url string) {
	pongs := make(chan string, 1)
	c := dial(t, url, Config{})
	c.OnPong(func(p []byte) { pongs <- string(p) })
	op, got, err := c.ReadMessage(nil)
	if err != nil || op != Text || string(got) != "welcome" {
		t.Fatalf("%d %q %v", op, got, err)
	}
	c.Ping([]byte("ping"))
	for _, size := range interopSizes {
		if err := c.WriteMessage(Binary, noise(size)[:size/3], noise(size)[size/3:]); err != nil {
			t.Fatal(err)
		}
		op, got, err := c.ReadMessage(nil)
		if err != nil || op != Binary || !bytes.Equal(got, noise(size)) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	if got := <-pongs; got != "ping" {
		t.Errorf("pong %q", got)
	}
	c.SendClose(CodeNormal, "done")
	var closed *CloseError
	if _, err := c.Next(); !errors.As(err, &closed) || closed.Code != CodeNormal {
		t.Error(err)
	}
}

func TestOurClientTalksToGorilla(t *testing.T) {
	t.Parallel()
	end := make(chan error, 1)
	talk(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		up := gorilla.Upgrader{}
		g, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		g.WriteMessage(gorilla.TextMessage, []byte("welcome"))
		for {
			op, got, err := g.ReadMessage()
			if err != nil {
				end <- err
				return
			}
			g.WriteMessage(op, got)
		}
	}))
	if err := <-end; !gorilla.IsCloseError(err, 1000) || !strings.Contains(err.Error(), "done") {
		t.Error(err)
	}
}

func TestOurClientTalksToCoder(t *testing.T) {
	t.Parallel()
	end := make(chan error, 1)
	talk(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		g, err := coder.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer g.CloseNow()
		g.SetReadLimit(-1)
		g.Write(r.Context(), coder.MessageText, []byte("welcome"))
		for {
			op, got, err := g.Read(r.Context())
			if err != nil {
				end <- err
				return
			}
			g.Write(r.Context(), op, got)
		}
	}))
	if err := <-end; coder.CloseStatus(err) != coder.StatusNormalClosure || !strings.Contains(err.Error(), "done") {
		t.Error(err)
	}
}

func TestOthersLearnWhatTheyDidWrong(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		up := gorilla.Upgrader{}
		g, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		c := New(g.NetConn(), nil, Config{MaxMessage: 1000})
		echo(c)
		c.Close()
	})
	g, _, err := gorilla.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	g.WriteMessage(gorilla.BinaryMessage, make([]byte, 1<<20))
	if _, _, err := g.ReadMessage(); !gorilla.IsCloseError(err, gorilla.CloseMessageTooBig) {
		t.Errorf("too long a message ends with %v", err)
	}
}

// A server may put its first frame right behind the handshake. The one-byte
// reads of the handshake leave it where it is.
func TestAFrameThatComesWithTheHandshakeIsNotLost(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		// gorilla writes the answer and we the frame; here both in one write.
		rec := &hijacked{ResponseWriter: w}
		up := gorilla.Upgrader{}
		if _, err := up.Upgrade(rec, r, nil); err != nil {
			t.Error(err)
			return
		}
		rec.held = append(rec.held, frames(Text, []byte("early"), 125, false)...)
		rec.conn.Write(rec.held)
		rec.conn.Close()
	})
	c := dial(t, url, Config{})
	got, err := outcomeOf(c)
	if err != ErrAbrupt || len(got.messages) != 1 || got.messages[0] != (message{Text, "early"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// hijacked hands out a connection whose writes are held back.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
	held []byte
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return &holding{conn, h}, rw, err
}

type holding struct {
	net.Conn
	h *hijacked
}

func (c *holding) Write(p []byte) (int, error) {
	c.h.held = append(c.h.held, p...)
	return len(p), nil
}
