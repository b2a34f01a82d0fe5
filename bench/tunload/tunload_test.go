package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/socks5"
)

// listening serves connections on loopback until the test ends.
func listening(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = accept(ln, handle) // it was closed
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

// measured makes a small test over a path.
func measured(t *testing.T, l load) *result {
	t.Helper()
	l.bytes, l.n, l.size = 3<<20+7, 50, 64
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	res, err := l.measure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestEveryTestIsCleanOverACleanPath(t *testing.T) {
	t.Parallel()
	to := listening(t, serve)
	via := "tcp://" + listening(t, func(c *net.TCPConn) { carry(c, to) })
	for name, counted := range map[string]func(*result) bool{
		"down":    func(r *result) bool { return r.Bytes == 3*(3<<20+7) && r.MBps > 0 },
		"up":      func(r *result) bool { return r.Bytes == 3*(3<<20+7) && r.MBps > 0 },
		"rtt":     func(r *result) bool { return r.N == 50 && r.PerSecond > 0 && r.P50us > 0 },
		"connect": func(r *result) bool { return r.N == 50 && r.PerSecond > 0 && r.P50us > 0 },
		"idle":    func(r *result) bool { return r.N == 50 },
		"slow":    func(r *result) bool { return r.AloneMBps > 0 && r.MBps > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, hash := range []bool{false, true} {
				if r := measured(t, load{test: name, via: via, streams: 3, hash: hash}); r.Errors > 0 || r.Corrupt > 0 || !counted(r) {
					t.Errorf("with hash %v: %+v", hash, r)
				}
			}
		})
	}
}

// A path that changes one byte, or loses the end, must not pass for a fast one.
func TestAPathThatSpoilsBytesIsFound(t *testing.T) {
	t.Parallel()
	to := listening(t, serve)
	for name, way := range map[string]func(dst, src net.Conn){
		"one bit changed": func(dst, src net.Conn) { copyChanged(dst, src, 1<<20) },
		"the end cut off": func(dst, src net.Conn) { io.CopyN(dst, src, 2<<20); dst.Close() },
	} {
		for _, test := range []string{"down", "up"} {
			t.Run(test+", "+name, func(t *testing.T) {
				t.Parallel()
				via := listening(t, func(c *net.TCPConn) { spoil(c, to, test, way) })
				if r := measured(t, load{test: test, via: "tcp://" + via, streams: 1, hash: true}); r.Errors+r.Corrupt == 0 {
					t.Errorf("nothing found: %+v", r)
				}
			})
		}
	}
}

// spoil carries a connection, and one of its directions badly.
func spoil(c *net.TCPConn, to, test string, badly func(dst, src net.Conn)) {
	defer c.Close()
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer d.Close()
	fine := func(dst, src net.Conn) { io.Copy(dst, src) }
	up, down := fine, badly
	if test == "up" {
		up, down = badly, fine
	}
	go up(d, c)
	down(c, d)
}

// copyChanged copies, and changes the byte at offset.
func copyChanged(dst, src net.Conn, offset int64) {
	var b [1]byte
	if _, err := io.CopyN(dst, src, offset); err != nil {
		return
	}
	if _, err := io.ReadFull(src, b[:]); err != nil {
		return
	}
	dst.Write([]byte{b[0] ^ 1})
	io.Copy(dst, src)
}

func TestLoadGoesThroughASOCKSProxyWithAPassword(t *testing.T) {
	t.Parallel()
	to := listening(t, serve)
	proxy := listening(t, func(c *net.TCPConn) {
		server := socks5.Server{Username: "me", Password: redact.New("secret")}
		req, err := server.Handshake(c)
		if err != nil {
			c.Close()
			return
		}
		_ = socks5.WriteReply(c, socks5.ReplyTo(nil), netip.AddrPort{})
		carry(c, req.Address())
	})
	if r := measured(t, load{test: "down", via: "socks5://me:secret@" + proxy, target: to, streams: 2, hash: true}); r.Errors > 0 || r.Corrupt > 0 {
		t.Errorf("%+v", r)
	}
	if r := measured(t, load{test: "connect", via: "socks5://me:wrong@" + proxy, target: to, streams: 1}); r.Errors != 50 {
		t.Errorf("a wrong password: %+v", r)
	}
}

func TestBytesAreReadWithTheirUnit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"1": 1, "3K": 3 << 10, "256M": 256 << 20, "1G": 1 << 30} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "M", "1KM", "1T", "9000000000G"} {
		if n, err := parseBytes(text); err == nil {
			t.Errorf("%q is taken for %d", text, n)
		}
	}
}
