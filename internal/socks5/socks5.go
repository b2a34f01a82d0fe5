// Package socks5 is the server's side of SOCKS5: the greeting, the two methods
// "no authentication" and "username and password", the request, the reply and
// the header of datagrams (RFC 1928 and RFC 1929). Server reads what a client
// asks for; Proxy does it, too, CONNECT and UDP ASSOCIATE. Whether that may be
// done, and where targets are dialled from, is the caller's part.
package socks5

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// defaultTimeout is how long each half of a handshake, and a reply, may take.
const defaultTimeout = 10 * time.Second

// version is VER of every SOCKS5 message (RFC 1928, section 3).
const version = 5

// A Server shakes hands with the clients of one port. The zero Server asks for
// no authentication. It may be used by several goroutines at once, and must
// not be changed meanwhile.
type Server struct {
	// Username and Password are what a client must give, each of 0 to 255
	// bytes; longer ones can be sent by no client. If either is set, both are
	// checked: half of a pair never means that there is no authentication.
	Username string
	Password redact.Secret

	// Timeout is how long the greeting with its authentication may take, and
	// then the request, each from its first moment. 0 means 10 seconds.
	Timeout time.Duration
}

// Command is what a request asks for (CMD in RFC 1928, section 4).
type Command byte

// The commands.
const (
	Connect   Command = 1
	Bind      Command = 2
	Associate Command = 3
)

// String gives the command's name in the standard.
func (c Command) String() string {
	switch c {
	case Connect:
		return "CONNECT"
	case Bind:
		return "BIND"
	case Associate:
		return "UDP ASSOCIATE"
	}
	return "command " + strconv.Itoa(int(c))
}

// Request is what a client asks for (RFC 1928, section 4).
type Request struct {
	Command Command
	// Host is an IP address as text, without brackets, or a host name exactly
	// as it was sent: 1 to 255 letters, digits, hyphens, underscores and dots.
	// A name may still be a spelling of an address ("127.1", "0x7f000001").
	Host string
	// Port is as it was sent; 0 too, which Associate often has.
	Port uint16
}

// Address is the target as host:port, with IPv6 in brackets.
func (r Request) Address() string {
	return net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port)))
}

// Handshake reads a client's greeting, authentication and request, and answers
// all but the last. It returns requests of all three commands, and the caller
// answers them with WriteReply, those that it does not serve with
// CommandNotSupported. No byte behind the request is read: what a client sent
// early is still in c.
//
// Handshake sets the deadlines of c and, when it succeeds, clears them. With an
// error the client has been told what the protocol has words for, and the
// caller has only to close c. The error wraps ErrVersion, ErrNoMethod, ErrAuth,
// ErrCommand, ErrAddressType, ErrName or ErrTimeout, io.EOF when the client
// left without a byte, io.ErrUnexpectedEOF when it left later, or else the
// connection's own error.
func (s *Server) Handshake(c net.Conn) (Request, error) {
	e := &exchange{c: c}
	if err := s.limit(c); err != nil {
		return Request{}, err
	}
	if err := s.greet(e); err != nil {
		return Request{}, err
	}
	if err := s.limit(c); err != nil {
		return Request{}, err
	}
	req, err := e.readRequest()
	if err != nil {
		e.refuse(err)
		return Request{}, fmt.Errorf("socks5 request: %w", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return Request{}, fmt.Errorf("clear socks5 deadline: %w", err)
	}
	return req, nil
}

// limit gives the next half of the handshake its time.
func (s *Server) limit(c net.Conn) error {
	timeout := s.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return fmt.Errorf("set socks5 deadline: %w", err)
	}
	return nil
}
