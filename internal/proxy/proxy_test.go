package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// inMemory is a proxy on a network in memory, and what serves it.
func inMemory(t *testing.T, url string, serve func(net.Conn)) *Proxy {
	t.Helper()
	n := memnet.New()
	ln, err := n.Listen("proxy")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() { ln.Close() })
	p := parse(t, url)
	p.NetDial = func(ctx context.Context, _, address string) (pipe.Conn, error) {
		if address != p.address() {
			t.Errorf("dialled %s", address)
		}
		return n.Dial(ctx, "proxy")
	}
	return p
}

func silent(c net.Conn) { io.Copy(io.Discard, c) }

func TestASilentProxyIsGivenUpAfterTenSeconds(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"socks5://p.example", "http://p.example", "https://p.example"} {
		synctest.Test(t, func(t *testing.T) {
			p := inMemory(t, url, silent)
			start := time.Now()
			_, err := p.Dial(t.Context(), "tcp", "t.remote:80")
			failed(t, url, err, site.TimedOut)
			if took := time.Since(start); took != handshakeTimeout || !strings.Contains(err.Error(), "after 10s") {
				t.Errorf("%s: after %v: %v", url, took, err)
			}
		})
	}
}

func TestADialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inMemory(t, "http://p.example", silent)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := p.Dial(ctx, "tcp", "t.remote:80")
		if !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p.Dial(ctx, "tcp", "t.remote:80")
		failed(t, "deadline", err, site.TimedOut)
	})
}

func TestNoDeadlineIsLeftOnTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inMemory(t, "socks5://p.example", func(c net.Conn) {
			io.ReadFull(c, make([]byte, len(greetOpen)))
			io.WriteString(c, "\x05\x00")
			io.ReadFull(c, make([]byte, len(toName)))
			io.WriteString(c, boundIPv4)
			time.Sleep(time.Hour) // the bubble's clock
			io.WriteString(c, "late")
		})
		ctx, cancel := context.WithCancel(t.Context())
		c, err := p.Dial(ctx, "tcp", "t.remote:80")
		if err != nil {
			t.Fatal(err)
		}
		cancel() // it bounds the dial alone
		if got, err := io.ReadAll(c); err != nil || string(got) != "late" {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
	})
}

func TestAProxyThatCannotBeReachedIsNotTheTargetsRefusal(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	_, err = parse(t, "socks5://"+ln.Addr().String()).Dial(t.Context(), "tcp", "t.remote:80")
	failed(t, "nobody listens", err, site.NetworkUnreachable)
}

func TestWhatIsNoTargetIsNotAskedFor(t *testing.T) {
	t.Parallel()
	s := &Site{Check: func(string, uint16) error { t.Error("the policy was asked"); return nil }}
	s.Proxy = parse(t, "http://p.example")
	s.Proxy.NetDial = func(context.Context, string, string) (pipe.Conn, error) {
		t.Error("the proxy was dialled")
		return nil, net.ErrClosed
	}
	for _, c := range []struct{ network, address string }{
		{"udp", "t.remote:80"}, {"tcp", "t.remote"}, {"tcp", "t.remote:0"}, {"tcp", "t.remote:65536"}, {"tcp", "t.remote:http"},
		{"tcp", ":80"}, {"tcp", "a b:80"}, {"tcp", "a\r\nX: y:80"}, {"tcp", "[fe80::1%eth0]:80"}, {"tcp", "[fe80::1%\r\nX]:80"},
		{"tcp", "bücher:80"}, {"tcp", strings.Repeat("a", 256) + ":80"},
	} {
		for _, dial := range []func(context.Context, string, string) (pipe.Conn, error){s.Dial, s.Proxy.Dial} {
			_, err := dial(t.Context(), c.network, c.address)
			failed(t, c.address, err, site.Other)
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q", err)
			}
		}
	}
}

func TestThePolicyIsAskedWithWhatTheProxyWillBeSent(t *testing.T) {
	t.Parallel()
	p := parse(t, "socks5://"+scripted(t, turn{greetOpen, "\x05\x00"}, turn{toName, boundIPv4}))
	s := &Site{Proxy: p, Check: func(host string, port uint16) error {
		if host == "t.remote" && port == 80 {
			return nil
		}
		return &site.DialError{Reason: site.Denied, Address: "x", Err: errors.New("denied by rule")}
	}}
	_, err := s.Dial(t.Context(), "tcp", "[2001:db8::1]:81")
	failed(t, "denied", err, site.Denied)
	if got := err.Error(); got != "dial [2001:db8::1]:81: denied by rule" {
		t.Error(got)
	}
	c, err := s.Dial(t.Context(), "tcp", "t.remote:80")
	if err != nil {
		t.Fatal(err)
	}
	usable(t, c, "")
	if _, err := s.Listen(t.Context(), "tcp", "127.0.0.1:0"); !errors.Is(err, ErrListen) {
		t.Error(err)
	}
}
