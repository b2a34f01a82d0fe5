package tunnel_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

// newHub gives a relay with a forward, a reverse and a connector token.
func newHub() (*relay.Hub, error) {
	targets, err := policy.New(nil, nil)
	if err != nil {
		return nil, err
	}
	hub, err := relay.New(context.Background(), relay.Options{Policy: targets, SOCKSHost: "127.0.0.1", Logger: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		return nil, err
	}
	for _, spec := range []relay.TokenSpec{
		{Kind: relay.Forward, Token: redact.New("forward-token")},
		{Kind: relay.Reverse, Token: redact.New("reverse-token"), ManageConnectors: true},
		{Kind: relay.Connector, Token: redact.New("connector-token"), ReverseToken: redact.New("reverse-token")},
	} {
		if _, err := hub.Add(context.Background(), spec); err != nil {
			hub.Close()
			return nil, err
		}
	}
	return hub, nil
}

// stand is what an example needs around it: a relay, and in the network behind
// it a web server and one that echoes.
type stand struct {
	URL, Web, Echo string
	closers        []func()
}

func newStand() *stand {
	hub, err := newHub()
	if err != nil {
		log.Fatal(err)
	}
	relay := httptest.NewServer(hub)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from behind the relay", r.URL.Path[1:])
	}))
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return &stand{
		URL: "ws" + strings.TrimPrefix(relay.URL, "http"), Web: web.Listener.Addr().String(), Echo: echo.Addr().String(),
		closers: []func(){relay.Close, hub.Close, web.Close, func() { _ = echo.Close() }},
	}
}

func (s *stand) Close() {
	for _, end := range s.closers {
		end()
	}
}
