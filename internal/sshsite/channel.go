package sshsite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// channel is an SSH channel as a stream. It has no deadlines: x/crypto/ssh has
// none, and the streams of a tunnel need none.
type channel struct {
	ssh.Channel
	conn          *Conn
	local, remote net.Addr
}

// Read returns io.EOF only when the peer ended its direction; an end by loss of
// the connection is io.ErrUnexpectedEOF.
func (c *channel) Read(p []byte) (int, error) {
	n, err := c.Channel.Read(p)
	if err == io.EOF && !c.conn.t.alive() {
		err = errLost
	}
	return n, err
}

// Close ends both directions. It does not wait: the message may have to, while
// the server takes no bytes.
func (c *channel) Close() error {
	c.conn.spawn(func() { _ = c.Channel.Close() }) // an error means that it is closed
	return nil
}

// errLost is the end of a channel whose connection was lost.
var errLost = fmt.Errorf("SSH connection lost: %w", io.ErrUnexpectedEOF)

func (c *channel) LocalAddr() net.Addr              { return c.local }
func (c *channel) RemoteAddr() net.Addr             { return c.remote }
func (c *channel) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *channel) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *channel) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// address is a host and port as the SSH server knows it; the host may be a name.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// directTCPIP is the channel open data of RFC 4254, section 7.2.
type directTCPIP struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// Dial opens a direct-tcpip channel: the server resolves the name and connects.
// network must be a TCP one. The error is a *site.DialError.
func (c *Conn) Dial(ctx context.Context, network, target string) (pipe.Conn, error) {
	host, port, err := splitAddress(network, target)
	if err != nil {
		return nil, &site.DialError{Reason: site.Other, Address: target, Err: err}
	}
	// The origin is only for the server's log; the client's own address is not its business.
	open := ssh.Marshal(&directTCPIP{Host: host, Port: uint32(port), OriginHost: "127.0.0.1"})
	ch, err := c.openChannel(ctx, "direct-tcpip", open)
	if err != nil {
		return nil, &site.DialError{Reason: openReason(err), Address: target, Err: err}
	}
	return c.stream(ch, c.t.LocalAddr(), address(target)), nil
}

func splitAddress(network, target string) (string, uint16, error) {
	if !strings.HasPrefix(network, "tcp") {
		return "", 0, net.UnknownNetworkError(network)
	}
	host, text, err := net.SplitHostPort(target)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: %w", text, errors.Unwrap(err))
	}
	return host, uint16(port), nil
}

func (c *Conn) stream(ch ssh.Channel, local, remote net.Addr) *channel {
	return &channel{Channel: ch, conn: c, local: local, remote: remote}
}

// openChannel opens a channel, as long as ctx allows. The SSH layer cannot give
// up waiting, so that a late answer is met by a goroutine, which closes the channel.
func (c *Conn) openChannel(ctx context.Context, kind string, data []byte) (ssh.Channel, error) {
	type opened struct {
		ch  ssh.Channel
		err error
	}
	answer := make(chan opened)
	// Close does not wait for this goroutine: there is a moment in the end of a
	// connection in which the SSH layer takes an open that it never answers.
	go func() {
		ch, requests, err := c.client.OpenChannel(kind, data)
		if err == nil {
			// The SSH layer stops when requests are not taken.
			c.spawn(func() { ssh.DiscardRequests(requests) })
		}
		select {
		case answer <- opened{ch, err}:
		case <-c.done:
		case <-ctx.Done():
			if err == nil {
				ch.Close()
			}
		}
	}()
	select {
	case o := <-answer:
		var refused *ssh.OpenChannelError
		if o.err != nil && !errors.As(o.err, &refused) {
			return nil, c.ended(o.err)
		}
		return o.ch, o.err
	case <-c.done:
		return nil, c.ended(net.ErrClosed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// openReason reads why the server did not open a channel. RFC 4254 (section
// 5.1) has one code for everything that can go wrong with a connection, so that
// only the text, in OpenSSH's the system's own, tells refused from unreachable.
// It decides about nothing but the reply that a SOCKS client is given.
func openReason(err error) site.Reason {
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return site.ReasonOf(err)
	}
	if refused.Reason == ssh.Prohibited {
		return site.Denied
	}
	text := strings.ToLower(refused.Message)
	for _, known := range openTexts {
		if strings.Contains(text, known.text) {
			return known.reason
		}
	}
	return site.Other
}

var openTexts = []struct {
	text   string
	reason site.Reason
}{
	{"refused", site.Refused},
	{"network is unreachable", site.NetworkUnreachable},
	{"unreachable", site.HostUnreachable},
	{"no route", site.HostUnreachable},
	{"timed out", site.TimedOut},
	{"timeout", site.TimedOut},
	{"not known", site.NameNotFound},
	{"name resolution", site.NameNotFound},
	{"no such host", site.NameNotFound},
	{"no address associated", site.NameNotFound},
}
