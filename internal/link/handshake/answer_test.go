package handshake

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/link/ws"
)

func TestARelayThatRefusesIsQuotedByItsStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status      int
		retry, text string
		after       time.Duration
	}{
		{503, "7", "relay answered 503 Service Unavailable", 7 * time.Second},
		{401, "", "relay answered 401 Unauthorized", 0},
		{200, "-1", "relay answered 200 OK", 0},
		{599, "99999999999", "relay answered 599", 0},
		{429, "999999999", "relay answered 429 Too Many Requests", 24 * time.Hour},
		{429, "Mon, 02 Jan 2006 15:04:05 GMT", "relay answered 429 Too Many Requests", 0},
		{304, "", "relay answered 304 Not Modified", 0},
	} {
		u := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", c.retry)
			w.WriteHeader(c.status)
		})
		_, _, err := new(Dialer).Dial(t.Context(), u, ws.Config{})
		var status *StatusError
		if !errors.As(err, &status) || *status != (StatusError{c.status, c.after}) || err.Error() != c.text {
			t.Errorf("%d: %#v", c.status, err)
		}
	}
}

// answers is a server that reads one request and answers with these bytes,
// in which KEY is the key's answer.
func answers(t *testing.T, answer string) *url.URL {
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
		c.SetDeadline(time.Now().Add(20 * time.Second))
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		io.WriteString(c, strings.ReplaceAll(answer, "KEY", acceptKey(r)))
	}()
	return wsURL(t, "http://"+ln.Addr().String())
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n"

// The first frame is in the packet of the answer.
func TestAFrameThatComesWithTheAnswerIsNotLost(t *testing.T) {
	t.Parallel()
	u := answers(t, switching+"\r\n\x82\x05early")
	c, _, err := new(Dialer).Dial(t.Context(), u, ws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, got, err := c.ReadMessage(nil); err != nil || string(got) != "early" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAnswersThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"":                                 "closed the connection",
		"HTTP/1.1 101 S\r\n":               "closed the connection",
		"SSH-2.0-x " + secret + "\r\n\r\n": "not that of a web server",
		"HTTP/1.1 200 OK\r\n\x01" + secret + "\r\n\r\n":                                                                            "not that of a web server",
		strings.ReplaceAll(switching, "KEY", secret) + "\r\n":                                                                      "not to this request",
		strings.ReplaceAll(switching, "websocket", "h2c") + "\r\n":                                                                 "not to this request",
		switching + "Sec-WebSocket-Protocol: " + secret + "\r\n\r\n":                                                               "not offered: a subprotocol",
		switching + "Sec-WebSocket-Protocol: adit.1, adit.2\r\n\r\n":                                                               "not offered: a subprotocol",
		switching + "Sec-WebSocket-Extensions: x-" + secret + "\r\n\r\n":                                                           "not offered: an extension",
		switching + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n": "not offered: an extension",
		switching + "A: " + strings.Repeat(secret, 4000) + "\r\n\r\n":                                                              "longer than 16384 bytes",
	} {
		d := Dialer{Subprotocols: []string{"adit.1", "adit.2"}}
		c, _, err := d.Dial(t.Context(), answers(t, answer), ws.Config{})
		if err == nil {
			c.Close()
		}
		discreet(t, err, want)
	}
}
