package socks5

import (
	"bytes"
	"io"
	"net"
	"os"
	"time"
)

// script is a connection whose client has sent all its bytes already and then
// ended its direction. It keeps what is written to it.
type script struct {
	net.Conn // nil: what is not listed here is not used

	in    []byte
	first int // the most that the first Read gives; 0 means no limit
	chunk int // the most that any Read gives; 0 means no limit
	out   bytes.Buffer

	deadline  time.Time // as set last
	deadlines int       // how often one was set, clearing not counted
	slow      bool      // at the end of in, time out instead of ending
	noTimer   bool      // refuse deadlines
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		if s.slow {
			return 0, os.ErrDeadlineExceeded
		}
		return 0, io.EOF
	}
	if s.chunk > 0 {
		b = b[:min(len(b), s.chunk)]
	}
	if s.first > 0 {
		b = b[:min(len(b), s.first)]
		s.first = 0
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) { return s.out.Write(b) }

func (s *script) SetDeadline(t time.Time) error {
	if s.noTimer {
		return os.ErrNoDeadline
	}
	s.deadline = t
	if !t.IsZero() {
		s.deadlines++
	}
	return nil
}

func (s *script) SetWriteDeadline(t time.Time) error { return s.SetDeadline(t) }

// join makes one message of bytes, strings and single bytes.
func join(parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			b = append(b, byte(part))
		case string:
			b = append(b, part...)
		case []byte:
			b = append(b, part...)
		}
	}
	return b
}

// auth is RFC 1929's message.
func auth(user, password string) []byte {
	return join(1, len(user), user, len(password), password)
}

var (
	greetOpen = []byte{5, 1, 0}
	greetAuth = []byte{5, 1, 2}
	toIPv4    = []byte{5, 1, 0, 1, 192, 0, 2, 7, 0, 80}
)
