package proxy

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/site"
)

const (
	greetOpen  = "\x05\x01\x00"
	greetLogin = "\x05\x02\x00\x02"
	toName     = "\x05\x01\x00\x03\x08t.remote\x00\x50"
	boundIPv4  = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
)

// The target speaks first, in the packet of the reply.
func TestSOCKS5ConnectsAndKeepsTheTargetsFirstBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ login, target, request, greet, method, bound string }{
		{"", "t.remote:80", toName, greetOpen, "\x05\x00", boundIPv4},
		{"", "192.0.2.7:258", "\x05\x01\x00\x01\xc0\x00\x02\x07\x01\x02", greetOpen, "\x05\x00", "\x05\x00\x00\x03\x03abc\x00\x01"},
		{"", "[2001:db8::1]:80", "\x05\x01\x00\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x00\x50", greetOpen, "\x05\x00",
			"\x05\x00\x00\x04" + strings.Repeat("\x00", 18)},
		{"ann:s3cret@", "t.remote:80", toName, greetLogin, "\x05\x00", boundIPv4},
		{"", "t.remote:80", toName, greetOpen, "\x05\x00", "\x05\x00\x00\x03\x00\x00\x01"},
	} {
		p := parse(t, "socks5://"+c.login+scripted(t, turn{c.greet, c.method}, turn{c.request, c.bound + "220 ready\r\n"}))
		conn, err := p.Dial(t.Context(), "tcp", c.target)
		if err != nil {
			t.Errorf("%s: %v", c.target, err)
			continue
		}
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("the stream is wrapped in a %T", conn)
		}
		usable(t, conn, "220 ready\r\n")
	}
}

func TestSOCKS5LogsInWhenTheProxyWantsIt(t *testing.T) {
	t.Parallel()
	addr := scripted(t, turn{greetLogin, "\x05\x02"}, turn{"\x01\x03ann\x06s3cret", "\x01\x00"}, turn{toName, boundIPv4})
	conn, err := parse(t, "socks5h://ann:s3cret@"+addr).Dial(t.Context(), "tcp", "t.remote:80")
	if err != nil {
		t.Fatal(err)
	}
	usable(t, conn, "")
}

func TestSOCKS5RepliesHaveTheirReasons(t *testing.T) {
	t.Parallel()
	for reply, want := range map[byte]site.Reason{
		1: site.Other, 2: site.Denied, 3: site.NetworkUnreachable, 4: site.HostUnreachable,
		5: site.Refused, 6: site.TimedOut, 7: site.Other, 8: site.Other, 99: site.Other,
	} {
		// No more than the code: that has to do.
		p := parse(t, "socks5://"+scripted(t, turn{greetOpen, "\x05\x00"}, turn{toName, "\x05" + string([]byte{reply})}))
		_, err := p.Dial(t.Context(), "tcp", "t.remote:80")
		failed(t, p.String(), err, want)
		if !strings.HasPrefix(err.Error(), "dial t.remote:80: proxy socks5://127.0.0.1:") {
			t.Error(err)
		}
	}
}

func TestSOCKS5SaysWhatTheProxyDidWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		login bool
		in    string
		want  string
	}{
		{false, "HTTP/1.1 400", "does not speak SOCKS5"},
		{false, "\x05\xff", "wants credentials, and its URL has none"},
		{true, "\x05\xff", "takes no user and password"},
		{false, "\x05\x02", "method 2, which was not offered"},
		{true, "\x05\x01", "method 1, which was not offered"},
		{true, "\x05\x02\x01\x01", "refused the credentials"},
		{true, "\x05\x02\x05\x00", "login with version 5"},
		{false, "\x05\x00\x04\x5a", "SOCKS version 4"},
		{false, "\x05\x00\x05\x00\x00\x02", "address type 2"},
		{false, "\x05\x00\x05\x00\x00\x01\x00", "closed the connection"},
		{false, "\x05", "closed the connection"},
		{false, "", "closed the connection"},
	} {
		p := parse(t, "socks5://p.example")
		if c.login {
			p = parse(t, "socks5://ann:s3cret@p.example")
		}
		err := p.askSOCKS(&script{in: bytes.NewReader([]byte(c.in))}, target{host: "t.remote", port: 80})
		if err == nil || !strings.Contains(err.Error(), c.want) || reasonOf(err) != site.Other || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", c.in, err)
		}
	}
}

func FuzzSOCKSReply(f *testing.F) {
	f.Add([]byte("\x05\x00"+boundIPv4+"220 ready"), false)
	f.Add([]byte("\x05\x02\x01\x00"+boundIPv4+"220 ready"), true)
	f.Fuzz(func(t *testing.T, in []byte, login bool) {
		p := &Proxy{scheme: "socks5", login: login, username: "ann"}
		c := &script{in: bytes.NewReader(in)}
		if err := p.askSOCKS(c, target{host: "t.remote", port: 80}); err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("the proxy's bytes are in %q", err)
			}
			return
		}
		if used, want := len(in)-c.in.Len(), replyLen(in); used != want {
			t.Errorf("%d bytes were read of a handshake of %d", used, want)
		}
	})
}

// replyLen is how long a proxy's side of a handshake is that went well.
func replyLen(in []byte) int {
	n := 2
	if in[1] == 2 {
		n += 2
	}
	switch in[n+3] {
	case 1:
		return n + 10
	case 4:
		return n + 22
	}
	return n + 7 + int(in[n+4])
}
