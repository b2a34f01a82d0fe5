package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// ways gives the ways by which a test reaches targets: as a forward client, by
// a SOCKS port, and as a connector.
func ways(t testing.TB, f *fixture) map[string]func(t testing.TB, address string) pipe.Conn {
	t.Helper()
	f.forward("some-forward-token")
	port := f.reverse("some-reverse-token").Port
	f.connector("some-connector-token", "some-reverse-token")
	f.provider("some-reverse-token")
	client, connector := f.user("some-forward-token", Forward), f.user("some-connector-token", Connector)
	return map[string]func(t testing.TB, address string) pipe.Conn{
		"forward":   func(t testing.TB, address string) pipe.Conn { return client.dial(t, address) },
		"reverse":   func(t testing.TB, address string) pipe.Conn { return through(t, port, address) },
		"connector": func(t testing.TB, address string) pipe.Conn { return connector.dial(t, address) },
	}
}

func TestEveryByteArrivesInEveryMode(t *testing.T) {
	t.Parallel()
	address := target.Start(t)
	for mode, dial := range ways(t, serve(t, Options{})) {
		for name, run := range map[string]func(net.Conn, int64) error{
			"download": target.Download, "upload": target.Upload, "echo": target.Echo,
		} {
			for _, n := range []int64{0, 1, 1 << 20} {
				if err := run(dial(t, address), n); err != nil {
					t.Errorf("%s: %s of %d bytes: %v", mode, name, n, err)
				}
			}
		}
	}
}

func TestAHalfCloseKeepsTheReplyInEveryMode(t *testing.T) {
	t.Parallel()
	address := target.Start(t)
	for mode, dial := range ways(t, serve(t, Options{})) {
		if err := target.HalfClose(dial(t, address), 1<<20); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// serverFirst is a target that speaks first, and ends at once.
func serverFirst(t testing.TB, says string) string {
	t.Helper()
	ln, _ := occupy(t, 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, says)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

func TestATargetThatSpeaksFirstIsHeardEveryTime(t *testing.T) {
	t.Parallel()
	const banner = "220 ready\r\n"
	address := serverFirst(t, banner)
	for mode, dial := range ways(t, serve(t, Options{})) {
		for range 100 {
			c := dial(t, address)
			if got, err := io.ReadAll(c); err != nil || string(got) != banner {
				t.Fatalf("%s: read %q, %v", mode, got, err)
			}
			_ = c.Close()
		}
	}
}

func TestWhyADialFailedIsToldInEveryMode(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("some-forward-token")
	port := f.reverse("some-reverse-token").Port
	f.connector("some-connector-token", "some-reverse-token")
	var why error
	f.providerOf("some-reverse-token", uuid.New(), wire.Config{
		Dial: func(_ context.Context, _, address string) (pipe.Conn, error) { return nil, why },
	})
	connector := f.user("some-connector-token", Connector)
	for reason, reply := range map[site.Reason]byte{
		site.Refused: 5, site.HostUnreachable: 4, site.NetworkUnreachable: 3, site.NameNotFound: 4,
		site.Denied: 2, site.TimedOut: 6, site.Other: 1,
	} {
		why = &site.DialError{Reason: reason, Address: "target:80", Err: errors.New("for this reason")}
		if got := replyTo(t, port, "target:80"); got != reply {
			t.Errorf("%v: reply %d, want %d", reason, got, reply)
		}
		if _, err := connector.Dial(t.Context(), "tcp", "target:80"); site.ReasonOf(err) != reason {
			t.Errorf("%v: the connector is told %v", reason, err)
		}
	}
	client := f.user("some-forward-token", Forward)
	closedPort := "127.0.0.1:" + strconv.Itoa(freePort(t))
	for address, reason := range map[string]site.Reason{closedPort: site.Refused, "no.such.host.invalid:80": site.NameNotFound} {
		if _, err := client.Dial(t.Context(), "tcp", address); site.ReasonOf(err) != reason {
			t.Errorf("%s: the client is told %v", address, err)
		}
	}
}

// The words of a stock provider.
func TestAStockProvidersWordsBecomeReplies(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	port := f.reverse("some-reverse-token").Port
	g := f.guest("some-reverse-token", Reverse, uuid.New())
	for cause, reply := range map[string]byte{
		"dial tcp 127.0.0.1:1: connect: connection refused":    5,
		"dial tcp 10.0.0.1:1: connect: no route to host":       4,
		"dial tcp 10.0.0.1:1: connect: network is unreachable": 3,
		"dial tcp 10.0.0.1:1: i/o timeout":                     6,
		"":                                                     1,
	} {
		c := socks(t, port)
		if !greet(t, c, nil) {
			t.Fatal("the port asks for a password")
		}
		go func() {
			if m := await[*linksocks.Connect](g); m != nil {
				g.say(linksocks.ConnectResponse{Channel: m.Channel, Cause: cause})
			}
		}()
		if got, _ := request(t, c, 1, "target:80"); got != reply {
			t.Errorf("%q: reply %d, want %d", cause, got, reply)
		}
	}
}

func TestASOCKSPortAsksForBothHalvesOfItsPair(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo := target.EchoServer(t)
	for text, pair := range map[string]login{
		"both-halves-token":   {"user", "some-password"},
		"username-only-token": {"user", ""},
		"password-only-token": {"", "some-password"},
	} {
		port := f.add(TokenSpec{Kind: Reverse, Token: redact.New(text), Username: pair.username, Password: redact.New(pair.password)}).Port
		f.provider(text)
		if greet(t, socks(t, port), nil) {
			t.Errorf("%s: who gives nothing is let in", text)
		}
		for _, wrong := range []login{{"user", "other-password"}, {"other", "some-password"}, {"some-password", "user"}, {"x", ""}, {"", "x"}} {
			if greet(t, socks(t, port), &wrong) {
				t.Errorf("%s: %v is let in", text, wrong)
			}
		}
		c := socks(t, port)
		if !greet(t, c, &pair) {
			t.Fatalf("%s: the right pair is refused", text)
		}
		if reply, _ := request(t, c, 1, echo); reply != 0 {
			t.Fatalf("%s: reply %d", text, reply)
		}
		must(t, target.EchoMore(c, 1000))
	}
}

// datagramEcho echoes datagrams.
func datagramEcho(t testing.TB) *net.UDPAddr {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFromUDP(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDP(buf[:n], from)
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
	return c.LocalAddr().(*net.UDPAddr)
}

func TestDatagramsGoThroughASOCKSPort(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo := datagramEcho(t)
	port := f.reverse("some-reverse-token").Port
	provider := f.provider("some-reverse-token")
	control := socks(t, port)
	if !greet(t, control, nil) {
		t.Fatal("the port asks for a password")
	}
	reply, bound := request(t, control, 3, "0.0.0.0:0")
	if reply != 0 || !bound.IP.IsLoopback() {
		t.Fatalf("reply %d, bound at %v", reply, bound)
	}
	c, err := net.DialUDP("udp", nil, bound)
	must(t, err, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	defer c.Close()
	for _, stray := range [][]byte{{}, {0}, {0, 0, 0, 1, 127}, {0, 0, 0, 3, 200, 'x'}, {0, 0, 0, 4, 1, 2}} {
		_, err := c.Write(stray) // what once crashed the process
		must(t, err)
	}
	head := append([]byte{0, 0, 0, 1}, echo.IP.To4()...)
	head = append(head, byte(echo.Port>>8), byte(echo.Port))
	buf := make([]byte, 2048)
	for i := range 20 {
		msg := append(bytes.Clone(head), "datagram "+strconv.Itoa(i)...)
		_, err := c.Write(msg)
		must(t, err)
		n, err := c.Read(buf)
		must(t, err)
		if !bytes.Equal(buf[:n], msg) {
			t.Fatalf("heard %q, want %q", buf[:n], msg)
		}
	}
	must(t, control.Close())
	eventually(t, "the association has ended", func() bool { return provider.Streams() == 0 && f.hub.streams() == 0 })
}

func TestDatagramsGoThroughAConnectorAndAForwardClient(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo := datagramEcho(t)
	f.forward("some-forward-token")
	f.reverse("some-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	f.provider("some-reverse-token")
	for token, kind := range map[string]Kind{"some-forward-token": Forward, "some-connector-token": Connector} {
		a, err := f.user(token, kind).Associate(t.Context())
		must(t, err)
		buf := make([]byte, 2048)
		for i := range 20 {
			must(t, a.Send([]byte{byte(i)}, echo.IP.String(), uint16(echo.Port)))
			n, from, err := a.Receive(buf)
			if err != nil || n != 1 || buf[0] != byte(i) || int(from.Port()) != echo.Port {
				t.Fatalf("%s: heard %v from %v, %v", kind, buf[:n], from, err)
			}
		}
		_ = a.Close()
	}
	eventually(t, "the associations have ended", func() bool { return f.hub.streams() == 0 })
}
