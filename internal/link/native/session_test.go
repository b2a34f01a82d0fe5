package native

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both gives two sessions, the client's and the server's, over loopback TCP.
func both(t *testing.T, client, server link.Config) (near, far *Session) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	near = New(ws.New(a, nil, ws.Config{Client: true}), true, client)
	far = New(ws.New(b, nil, ws.Config{}), false, server)
	ctx, cancel := context.WithCancel(context.Background())
	ends := make(chan error, 2)
	go func() { ends <- near.Run(ctx) }()
	go func() { ends <- far.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ends
		<-ends
	})
	return near, far
}

func TestBytesArriveBothWays(t *testing.T) {
	t.Parallel()
	near, _ := both(t, link.Config{}, link.Config{Dial: new(site.Here).Dial})
	at := target.Start(t)
	for name, exchange := range map[string]func(net.Conn, int64) error{
		"download": target.Download, "upload": target.Upload, "half-close": target.HalfClose, "echo": target.Echo,
	} {
		t.Run(name, func(t *testing.T) {
			c, err := near.Dial(t.Context(), "tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := exchange(c, 20<<20); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFailedDialTellsItsReason(t *testing.T) {
	t.Parallel()
	near, _ := both(t, link.Config{}, link.Config{Dial: new(site.Here).Dial})
	_, err := near.Dial(t.Context(), "tcp", "127.0.0.1:1")
	if site.ReasonOf(err) != site.Refused {
		t.Errorf("%v", err)
	}
	c, err := near.DialEarly(t.Context(), "tcp", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte(strings.Repeat("early", 1000)))
	if _, err := c.Read(make([]byte, 1)); site.ReasonOf(err) != site.Refused {
		t.Errorf("%v", err)
	}
}

func TestALostLinkEndsItsStreams(t *testing.T) {
	t.Parallel()
	near, far := both(t, link.Config{}, link.Config{Dial: new(site.Here).Dial})
	c, err := near.Dial(t.Context(), "tcp", target.EchoServer(t))
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := io.ReadAll(c); !errors.Is(err, link.ErrLost) {
		t.Error(err)
	}
	c.Close()
}
