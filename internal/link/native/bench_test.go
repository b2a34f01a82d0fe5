package native

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// overTCP gives two sessions over loopback.
func overTCP(b testing.TB, cfg link.Config) *end {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	must(b, err)
	far, err := ln.Accept()
	must(b, err)
	run(b, far, false, cfg)
	return run(b, near, true, link.Config{})
}

// toSocket dials a socket of this process, whose other end handle serves.
func toSocket(b *testing.B, handle func(net.Conn)) link.Config {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	b.Cleanup(func() { ln.Close() })
	address := ln.Addr().String()
	return link.Config{Dial: func(ctx context.Context, network, _ string) (pipe.Conn, error) {
		return new(site.Here).Dial(ctx, network, address)
	}}
}

const block = 1 << 20

// One stream through two sessions, from and to a socket. Close ends both.
func BenchmarkDownload(b *testing.B) {
	e := overTCP(b, toSocket(b, func(c net.Conn) {
		for words := zeros(block); ; {
			if _, err := c.Write(words); err != nil {
				return
			}
		}
	}))
	c, err := e.Dial(b.Context(), "tcp", "target:80")
	must(b, err)
	defer c.Close()
	buf := zeros(block)
	b.SetBytes(block)
	for b.Loop() {
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpload(b *testing.B) {
	e := overTCP(b, toSocket(b, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	c, err := e.Dial(b.Context(), "tcp", "target:80")
	must(b, err)
	defer c.Close()
	buf := zeros(block)
	b.SetBytes(block)
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	e := overTCP(b, toSocket(b, func(c net.Conn) { _, _ = io.Copy(c, c) }))
	c, err := e.Dial(b.Context(), "tcp", "target:80")
	must(b, err)
	defer c.Close()
	buf := zeros(64)
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDial(b *testing.B) {
	e := overTCP(b, toSocket(b, func(c net.Conn) { _, _ = io.Copy(c, c) }))
	for b.Loop() {
		c, err := e.Dial(b.Context(), "tcp", "target:80")
		must(b, err)
		_ = c.Close()
	}
}

// ws is what the frames cost without sessions: the bound of Download.
func BenchmarkWebSocketAlone(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	near, err := net.Dial("tcp", ln.Addr().String())
	must(b, err)
	far, err := ln.Accept()
	must(b, err)
	ln.Close()
	from, to := ws.New(far, nil, ws.Config{}), ws.New(near, nil, ws.Config{Client: true})
	go func() {
		for words := zeros(maxData); from.WriteMessage(ws.Binary, words) == nil; {
		}
	}()
	buf := zeros(maxData)
	b.SetBytes(block)
	for b.Loop() {
		for range block / maxData {
			_, err := to.Next()
			must(b, err)
			if _, err := io.ReadFull(to, buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	to.Close()
	from.Close()
}
