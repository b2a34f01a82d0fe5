package socks5

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"
)

func FuzzHandshake(f *testing.F) {
	f.Add(join(greetOpen, toIPv4, "early"), false)
	f.Add(join(greetAuth, auth("ann", "s3cret"), toIPv4, "early"), true)
	f.Fuzz(func(t *testing.T, in []byte, credentials bool) {
		s := new(Server)
		if credentials {
			s = locked()
		}
		c := &script{in: in}
		req, err := s.Handshake(c)
		if err != nil {
			if req != (Request{}) {
				t.Errorf("a request %+v came with the error %v", req, err)
			}
			return
		}
		if used, want := len(in)-len(c.in), handshakeLen(in, credentials); used != want {
			t.Errorf("%d bytes were read of a handshake of %d", used, want)
		}
		if req.Host == "" || len(req.Host) > 255 || strings.ContainsAny(req.Host, "\x00\r\n\t []/") {
			t.Errorf("host is %q", req.Host)
		}
		if host, _, err := net.SplitHostPort(req.Address()); err != nil || host != req.Host {
			t.Errorf("address %q of host %q does not split: %v", req.Address(), req.Host, err)
		}
		if req.Command < Connect || req.Command > Associate {
			t.Errorf("command is %v", req.Command)
		}
		slow := &script{in: in, chunk: 1}
		again, err := s.Handshake(slow)
		if err != nil || again != req || !bytes.Equal(slow.in, c.in) || !bytes.Equal(slow.out.Bytes(), c.out.Bytes()) {
			t.Errorf("byte by byte it is %+v, %v, with % x left; at once %+v with % x left", again, err, slow.in, req, c.in)
		}
	})
}

// handshakeLen is how long a complete handshake is, told from its length bytes
// alone.
func handshakeLen(in []byte, credentials bool) int {
	n := 2 + int(in[1])
	if credentials {
		n += 2 + int(in[n+1])
		n += 1 + int(in[n])
	}
	switch in[n+3] {
	case 1:
		return n + 10
	case 4:
		return n + 22
	}
	return n + 7 + int(in[n+4])
}

func FuzzAddress(f *testing.F) {
	f.Add([]byte{1, 192, 0, 2, 7, 0, 80})
	f.Add(join(3, 11, "example.com", 0, 80, "data"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, n, err := readAddress(b)
		if err != nil {
			if a != (address{}) || n != 0 {
				t.Errorf("%+v and %d came with the error %v", a, n, err)
			}
			return
		}
		if n > len(b) || (a.name == "") != a.ip.IsValid() || a.host() == "" {
			t.Fatalf("read %d bytes of %d as %+v", n, len(b), a)
		}
		wire := appendAddress([]byte("head"), a)[len("head"):]
		again, m, err := readAddress(wire)
		if err != nil || again != a || m != len(wire) {
			t.Errorf("% x is %+v, written % x, which is %+v, %v", b[:n], a, wire, again, err)
		}
		for short := range n {
			if _, _, err := readAddress(b[:short]); err == nil || errors.Is(err, ErrAddressType) {
				t.Errorf("%d bytes of an address of %d: error is %v", short, n, err)
			}
		}
	})
}
