package tunnel_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/testx/target"
	"github.com/adit-tunnel/adit/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startRelay runs a relay with a forward, a reverse and a connector token, and
// gives its URL.
func startRelay(t testing.TB) string {
	t.Helper()
	hub, err := newHub()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.Close)
	server := httptest.NewServer(hub)
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func dialRelay(t testing.TB, url, token string) *tunnel.Client {
	t.Helper()
	c, err := tunnel.Dial(t.Context(), url, tunnel.Config{Token: token, Lanes: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestAProgramConnectsThroughARelay(t *testing.T) {
	t.Parallel()
	c := dialRelay(t, startRelay(t), "forward-token")
	at := target.Start(t)
	for name, exchange := range map[string]func(net.Conn, int64) error{"download": target.Download, "upload": target.Upload, "half-close": target.HalfClose} {
		conn, err := c.DialContext(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		if err := exchange(conn, 5<<20); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	early, err := c.DialEarly(t.Context(), "tcp", target.EchoServer(t), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	var got [5]byte
	if _, err := io.ReadFull(early, got[:]); err != nil || string(got[:]) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := c.DialContext(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
		t.Error("connected to nothing")
	}
	if _, err := c.DialContext(t.Context(), "udp", at); err == nil {
		t.Error("udp was dialled")
	}
}

// A provider that is a program answers what a connector's program asks for.
func TestAProgramIsConnectedToThroughARelay(t *testing.T) {
	t.Parallel()
	url := startRelay(t)
	provider, user := dialRelay(t, url, "reverse-token"), dialRelay(t, url, "connector-token")
	if _, err := user.DialContext(t.Context(), "tcp", "web.internal:80"); err == nil {
		t.Error("connected while nobody listens")
	}
	ln, err := provider.Listen()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Listen(); err == nil {
		t.Error("there are two listeners")
	}
	var server http.Server
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello "+r.Host) })
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	transport := &http.Transport{DialContext: user.DialContext}
	client := http.Client{Transport: transport}
	answer, err := client.Get("http://web.internal/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || string(body) != "hello web.internal" {
		t.Errorf("read %q, %v", body, err)
	}
	transport.CloseIdleConnections()
	server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	again, err := provider.Listen()
	if err != nil {
		t.Errorf("after the first listener was closed: %v", err)
	} else {
		again.Close()
	}
}

// As with TCP, what was written before Close arrives, with a clean end.
func TestWhatWasWrittenBeforeACloseArrives(t *testing.T) {
	t.Parallel()
	url := startRelay(t)
	provider, user := dialRelay(t, url, "reverse-token"), dialRelay(t, url, "connector-token")
	ln, err := provider.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const size = 3 << 20 // more than a window
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.CopyN(c, target.Stream(), size)
			c.Close()
		}
	}()
	for range 5 {
		c, err := user.DialContext(t.Context(), "tcp", "x:1")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		c.Close()
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Close: %v", err)
		}
	}
}

func TestAClientThatIsClosedSaysSo(t *testing.T) {
	t.Parallel()
	c, err := tunnel.Dial(t.Context(), startRelay(t), tunnel.Config{Token: "forward-token"})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := c.DialContext(t.Context(), "tcp", "x:1"); !errors.Is(err, tunnel.ErrClosed) {
		t.Error(err)
	}
	if err := c.Err(); err != nil {
		t.Errorf("it did not end by itself: %v", err)
	}
}

func TestARefusedTokenIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	if _, err := tunnel.Dial(t.Context(), startRelay(t), tunnel.Config{Token: "wrong-token"}); err == nil || strings.Contains(err.Error(), "wrong-token") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tunnel.Dial(ctx, "ws://127.0.0.1:1", tunnel.Config{Token: "some-token"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestACloseEndsTheListener(t *testing.T) {
	t.Parallel()
	c, err := tunnel.Dial(t.Context(), startRelay(t), tunnel.Config{Token: "reverse-token"})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := c.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		ended <- err
	}()
	c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Listen(); !errors.Is(err, tunnel.ErrClosed) {
		t.Error(err)
	}
}
