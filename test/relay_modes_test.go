package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// modes are the ways through a relay: each starts what it needs and gives the
// proxy that its users have.
var modes = map[string]func(r *relayRun) proxy{
	"forward": func(r *relayRun) proxy {
		r.addForward(forwardToken)
		return r.peer("client", forwardToken).proxy
	},
	"reverse": func(r *relayRun) proxy {
		p := r.addReverse(reverseToken, object{"username": "mole", "password": "hill-hole-hull"})
		r.peer("provider", reverseToken)
		return p
	},
	"connector": func(r *relayRun) proxy {
		r.addReverse(reverseToken, nil)
		r.addConnector(connectorToken, reverseToken)
		r.peer("provider", reverseToken)
		return r.peer("connector", connectorToken).proxy
	},
	"autonomy": func(r *relayRun) proxy {
		r.add(object{"type": "reverse", "token": reverseToken, "allow_manage_connector": true})
		r.peer("provider", reverseToken, "-c", connectorToken)
		return r.peer("connector", connectorToken).proxy
	},
}

// inEachMode runs a test in each mode and both dialects, side by side.
func inEachMode(t *testing.T, test func(t *testing.T, p proxy)) {
	t.Parallel()
	for name, start := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(newRelay(t)))
		})
		t.Run(name+" in the linksocks dialect", func(t *testing.T) {
			t.Parallel()
			test(t, start(newRelay(t).inLinksocks()))
		})
	}
}

func TestEveryModeOfTheRelayCarriesEachByteBothWays(t *testing.T) {
	inEachMode(t, func(t *testing.T, p proxy) {
		to := target.Start(t)
		if err := received(ask(t, p.open(t, to), medium), medium); err != nil {
			t.Errorf("download: %v", err)
		}
		if err := target.Upload(p.open(t, to), medium); err != nil {
			t.Errorf("upload: %v", err)
		}
		// The reply comes after the end of what was sent.
		if err := target.HalfClose(p.open(t, to), small); err != nil {
			t.Errorf("half-close: %v", err)
		}
		transfers := []func(net.Conn, int64) error{target.Download, target.Upload, target.HalfClose, target.Echo}
		var streams sync.WaitGroup
		for i := range 8 {
			c := p.open(t, to)
			streams.Go(func() {
				if err := transfers[i%len(transfers)](c, small); err != nil {
					t.Errorf("stream %d of 8: %v", i, err)
				}
			})
		}
		streams.Wait()
	})
}

func TestFiveHundredShortConnectionsPassInEveryMode(t *testing.T) {
	const connections, atOnce, banner = 500, 10, "220 ready when you are\r\n"
	inEachMode(t, func(t *testing.T, p proxy) {
		to := target.Start(t)
		// It speaks first and ends: its word must arrive, and its end with it.
		speaker := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, banner) })
		once := func() error {
			c, err := p.connect(speaker)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			begun := time.Now()
			said, err := io.ReadAll(c)
			if took := time.Since(begun); err != nil || string(said) != banner || took > 2*time.Second {
				return fmt.Errorf("%q after %v: %w", said, took, err)
			}
			e, err := p.connect(to)
			if err != nil {
				return err
			}
			defer func() { _ = e.Close() }()
			return target.HalfClose(e, 1000)
		}
		var users sync.WaitGroup
		for range atOnce {
			users.Go(func() {
				for range connections / atOnce / 2 {
					if err := once(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		users.Wait()
	})
}

func TestTheRemotesEndArrivesAtOnceInEveryMode(t *testing.T) {
	inEachMode(t, func(t *testing.T, p proxy) {
		ended := make(chan time.Time, 1)
		closer := listen(t, func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 1))
			ended <- time.Now()
		})
		for range 5 {
			c := p.open(t, closer)
			if _, err := c.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%d bytes, %v", n, err)
			}
			if late := time.Since(<-ended); late > time.Second {
				t.Errorf("the end came %v late", late)
			}
		}
	})
}

func TestDatagramsComeBackInEveryMode(t *testing.T) {
	inEachMode(t, func(t *testing.T, p proxy) {
		port := udpEcho(t)
		a := p.associate(t)
		a.echoes("127.0.0.1:"+port, "by IPv4", "127.0.0.1")
		a.echoes("[::1]:"+port, "by IPv6", "::1")
		a.echoes("localhost:"+port, "by name", "127.0.0.1", "::1")
		a.echoes("127.0.0.1:"+port, strings.Repeat("long ", 1600), "127.0.0.1")
		a.echoes("127.0.0.1:"+port, "", "127.0.0.1")

		// What is no datagram of SOCKS, or a fragment, harms nobody.
		for _, bad := range []string{"x", "\x00\x00\x00\x01\x7f", "\x00\x00\x00\x03\xff", "\x00\x00\x00\x04", "\x00\x00\x00\x09aaaaaaaaa"} {
			if _, err := a.socket.Write([]byte(bad)); err != nil {
				t.Fatal(err)
			}
		}
		fragment := append(appendTarget([]byte{0, 0, 1}, "127.0.0.1:"+port), "fragment"...)
		stranger, err := net.Dial("udp", a.socket.RemoteAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stranger.Close() }()
		if _, err := a.socket.Write(fragment); err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Write(append(appendTarget([]byte{0, 0, 0}, "127.0.0.1:"+port), "stranger"...)); err != nil {
			t.Fatal(err)
		}
		a.echoes("127.0.0.1:"+port, "after all that", "127.0.0.1")

		// The association ends with its control connection.
		if err := a.control.Close(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); ; {
			a.t.Helper()
			_, err := a.socket.Write(append(appendTarget([]byte{0, 0, 0}, "127.0.0.1:"+port), "too late"...))
			if err == nil {
				_, _, err = a.receive(20 * time.Millisecond)
			}
			if isRefused(err) {
				return
			}
			if time.Now().After(end) {
				t.Fatal("the association outlives its control connection")
			}
		}
	})
}

func TestSOCKSPortsWithAPasswordServeOnlyWhoKnowsIt(t *testing.T) {
	t.Parallel()
	web, page := webServer(t)
	r := newRelay(t)
	r.hidden.add("hill-hole-hull")
	r.addForward(forwardToken)
	client := r.peer("client", forwardToken, "-n", "mole", "-w", "hill-hole-hull").proxy
	nameless := r.peer("client", forwardToken, "-w", "hill-hole-hull").proxy
	reverse := r.addReverse(reverseToken, object{"username": "mole", "password": "hill-hole-hull"})
	r.peer("provider", reverseToken)
	_, port := split(t, web)
	urls := []string{"http://" + web + "/", "http://localhost:" + strconv.Itoa(port) + "/"}
	for _, p := range []proxy{client, reverse} {
		for _, url := range urls {
			curl(t, page, "--socks5-hostname", p.address, "--proxy-user", "mole:hill-hole-hull", url)
		}
		curlFails(t, "--socks5-hostname", p.address, "--proxy-user", "mole:another", urls[0])
		curlFails(t, "--socks5-hostname", p.address, "--proxy-user", "worm:hill-hole-hull", urls[0])
		curlFails(t, "--socks5-hostname", p.address, urls[0])
	}
	// Half of a pair does not mean that nothing is checked.
	nameless.answers(t, web, errLogin)
}

func TestSOCKSRepliesSayWhyATargetIsNotReached(t *testing.T) {
	inEachMode(t, func(t *testing.T, p proxy) {
		p.answers(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(sshd.FreePort(t))), connectionRefused)
		p.answers(t, "nobody.invalid:80", hostUnreachable)
		p.answers(t, "169.254.169.254:80", notAllowed)
		// A failure is its own connection's alone.
		if err := target.Echo(p.open(t, target.Start(t)), small); err != nil {
			t.Error(err)
		}
		if _, _, err := p.request(2, "127.0.0.1:80"); !errors.Is(err, commandNotSupported) {
			t.Errorf("BIND: %v", err)
		}
	})
}

func TestTargetsMayBeIPv6OrNamesInEveryMode(t *testing.T) {
	inEachMode(t, func(t *testing.T, p proxy) {
		ln, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go serveEcho(ln)
		_, port, _ := net.SplitHostPort(target.EchoServer(t))
		for _, address := range []string{ln.Addr().String(), "localhost:" + port, "127.0.0.1:" + port} {
			if err := target.EchoMore(p.open(t, address), small); err != nil {
				t.Errorf("%s: %v", address, err)
			}
		}
	})
}

func TestProvidersOfATokenTakeTurns(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	p := r.addReverse(reverseToken, nil)
	// Each says who it is by what it refuses.
	free, open := strconv.Itoa(sshd.FreePort(t)), target.EchoServer(t)
	r.peer("provider", reverseToken)
	r.peer("provider", reverseToken, "--deny", "*:"+free)
	r.has(reverseToken, 2)
	counts := map[string]int{}
	for range 10 {
		_, err := p.connect("127.0.0.1:" + free)
		counts[fmt.Sprint(err)]++
	}
	if counts[notAllowed.Error()] != 5 || counts[connectionRefused.Error()] != 5 {
		t.Errorf("turns of 10: %v", counts)
	}
	said := []byte("by either")
	for range 2 {
		c := p.open(t, open)
		got := make([]byte, len(said))
		if _, err := c.Write(said); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, said) {
			t.Errorf("%q, %v", got, err)
		}
	}
}
