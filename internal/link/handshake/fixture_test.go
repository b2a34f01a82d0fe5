package handshake

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/link/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is in queries and headers, and must be in no error.
const secret = "5ec4e7"

var sizes = []int{0, 1, 125, 126, 4096, 65536, 1<<20 + 3}

func noise(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(size), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// serve starts an HTTP server for one test and gives its WebSocket URL, with a
// secret in its query.
func serve(t *testing.T, handler http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return wsURL(t, s.URL)
}

func wsURL(t *testing.T, base string) *url.URL {
	t.Helper()
	u, err := url.Parse("ws" + strings.TrimPrefix(base, "http") + "/socket?token=" + secret)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// acceptKey is the answer to a request's key (RFC 6455, section 4.2.2).
func acceptKey(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// quiet is for servers whose clients hang up on purpose.
var quiet = log.New(io.Discard, "", 0)

// echoing accepts with ours and sends back what comes. How it ended is in the channel.
func echoing(t *testing.T, subprotocols ...string) (handler http.HandlerFunc, end <-chan error) {
	result := make(chan error, 1)
	return func(w http.ResponseWriter, r *http.Request) {
		c, _, err := Accept(w, r, ws.Config{}, subprotocols...)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for {
			op, got, err := c.ReadMessage(nil)
			if err == nil {
				err = c.WriteMessage(op, got)
			}
			if err != nil {
				result <- err
				return
			}
		}
	}, result
}

// talks wants our client to be understood by a server that echoes.
func talks(t *testing.T, c *ws.Conn) {
	t.Helper()
	defer c.Close()
	for _, size := range sizes {
		if err := c.WriteMessage(ws.Binary, noise(size)); err != nil {
			t.Fatal(err)
		}
		op, got, err := c.ReadMessage(nil)
		if err != nil || op != ws.Binary || !bytes.Equal(got, noise(size)) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	c.SendClose(ws.CodeNormal, "done")
	var closed *ws.CloseError
	if _, err := c.Next(); !errors.As(err, &closed) || closed.Code != ws.CodeNormal {
		t.Error(err)
	}
}

// discreet wants an error that says something and not the secret.
func discreet(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) ||
		strings.ContainsAny(err.Error(), "\r\n\x00") {
		t.Errorf("the error is %v, want one with %q", err, want)
	}
}
