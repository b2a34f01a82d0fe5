package sshsite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/pipe"
)

const (
	// acceptBacklog is how many connections may wait for Accept; the server is told when there are more.
	acceptBacklog = 64
	// maxRejects is how many channels may be refused at a time without waiting.
	maxRejects = 16
	// cancelTimeout bounds how long closing a listener waits for the server's word.
	cancelTimeout = 3 * time.Second
)

// tcpipForward is the request data of tcpip-forward and cancel-tcpip-forward (RFC 4254, section 7.1).
type tcpipForward struct {
	Host string
	Port uint32
}

// forwardedTCPIP is the channel open data of RFC 4254, section 7.2.
type forwardedTCPIP struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// listener is a listening port of the SSH server.
type listener struct {
	conn     *Conn
	host     string
	port     uint32
	incoming chan ssh.NewChannel
	closing  chan struct{}

	mu     sync.Mutex // guards below
	closed bool
}

// Listen asks the server to listen (tcpip-forward). An empty host is every
// address. The error is an *api.Error: CodeRemoteListenRefused, CodeTimeout or CodeConnectionLost.
func (c *Conn) Listen(ctx context.Context, network, target string) (pipe.Listener, error) {
	host, port, err := splitAddress(network, target)
	if err != nil {
		return nil, err
	}
	l := &listener{conn: c, host: host, port: uint32(port), incoming: make(chan ssh.NewChannel, acceptBacklog), closing: make(chan struct{})}
	if port != 0 {
		c.add(l) // before the request: a connection may come before its answer is seen
	}
	payload := ssh.Marshal(&tcpipForward{Host: host, Port: uint32(port)})
	ok, reply, err := c.request(ctx, "tcpip-forward", payload, func([]byte) { l.cancel(c.ctx) })
	if err == nil && ok && port == 0 {
		err = l.grantedPort(reply)
	}
	if err == nil && ok {
		return l, nil
	}
	c.remove(l)
	l.refusePending()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &api.Error{Code: api.CodeTimeout, Err: err,
			Message: fmt.Sprintf("SSH server %s: no answer in time while asking it to listen on %s", c.t.RemoteAddr(), target),
			Hint:    "the server may be overloaded or not support remote forwards"}
	case err != nil:
		return nil, err
	}
	return nil, &api.Error{Code: api.CodeRemoteListenRefused,
		Message: fmt.Sprintf("SSH server %s refused to listen on %s", c.t.RemoteAddr(), target),
		Hint:    "the port may be in use there, be reserved (below 1024), or forwarding may be switched off (AllowTcpForwarding, PermitListen)"}
}

func (l *listener) grantedPort(reply []byte) error {
	var granted struct{ Port uint32 }
	if err := ssh.Unmarshal(reply, &granted); err != nil {
		return fmt.Errorf("tcpip-forward: %w", err)
	}
	l.port = granted.Port
	l.conn.add(l)
	return nil
}

func (c *Conn) add(l *listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners[l] = struct{}{}
}

func (c *Conn) remove(l *listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listeners, l)
}

// find returns the listener that a channel is for. Servers differ in how they
// spell the address that was asked for, so that the port decides where it is
// the only one.
func (c *Conn) find(host string, port uint32) *listener {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *listener
	for l := range c.listeners {
		switch {
		case l.port != port:
		case l.host == host:
			return l
		case found != nil:
			return nil // two with this port: only the exact address tells
		default:
			found = l
		}
	}
	return found
}

// routeChannels hands what the server opens to the listeners. It never blocks:
// everything on the connection would stand.
func (c *Conn) routeChannels(channels <-chan ssh.NewChannel) {
	for nc := range channels {
		if nc.ChannelType() != "forwarded-tcpip" {
			c.reject(nc, ssh.UnknownChannelType, "only forwarded-tcpip is taken")
			continue
		}
		var open forwardedTCPIP
		if err := ssh.Unmarshal(nc.ExtraData(), &open); err != nil {
			c.reject(nc, ssh.ConnectionFailed, "malformed forwarded-tcpip")
			continue
		}
		l := c.find(open.Host, open.Port)
		if l == nil {
			c.reject(nc, ssh.Prohibited, "nobody listens there")
			continue
		}
		l.offer(nc)
	}
}

// reject answers in a goroutine of its own, since a write may block. A server
// that opens more than can be refused has to wait itself.
func (c *Conn) reject(nc ssh.NewChannel, reason ssh.RejectionReason, message string) {
	select {
	case c.rejects <- struct{}{}:
		if c.spawn(func() { _ = nc.Reject(reason, message); <-c.rejects }) {
			return
		}
		<-c.rejects
	default:
		_ = nc.Reject(reason, message)
	}
}

// offer queues a channel for Accept, or refuses it.
func (l *listener) offer(nc ssh.NewChannel) {
	l.mu.Lock()
	closed, queued := l.closed, false
	if !closed {
		select {
		case l.incoming <- nc:
			queued = true
		default:
		}
	}
	l.mu.Unlock()
	switch {
	case closed:
		l.conn.reject(nc, ssh.Prohibited, "nobody listens there")
	case !queued:
		l.conn.reject(nc, ssh.ResourceShortage, "too many connections wait")
	}
}

// Accept returns the next connection that came in at the server. After Close,
// and after the loss of the connection, it fails with net.ErrClosed.
func (l *listener) Accept() (pipe.Conn, error) {
	for {
		select {
		case <-l.closing:
			return nil, net.ErrClosed
		case <-l.conn.done:
			return nil, net.ErrClosed
		case nc := <-l.incoming:
			ch, requests, err := nc.Accept()
			if err != nil {
				continue // it was withdrawn, or the connection is ending
			}
			if !l.conn.spawn(func() { ssh.DiscardRequests(requests) }) {
				return nil, net.ErrClosed
			}
			return l.conn.stream(ch, l.Addr(), origin(nc)), nil
		}
	}
}

func origin(nc ssh.NewChannel) net.Addr {
	var open forwardedTCPIP
	_ = ssh.Unmarshal(nc.ExtraData(), &open) // it was read once already
	return address(net.JoinHostPort(open.OriginHost, strconv.Itoa(int(open.OriginPort))))
}

// Addr is the address as it was asked for, with the port that the server granted.
func (l *listener) Addr() net.Addr {
	return address(net.JoinHostPort(l.host, strconv.Itoa(int(l.port))))
}

// Close stops listening and waits, for a short time, for the server to confirm,
// so that the port can be claimed again at once.
func (l *listener) Close() error {
	l.conn.remove(l)
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if again {
		return nil
	}
	close(l.closing)
	l.refusePending()
	ctx, cancel := context.WithTimeout(l.conn.ctx, cancelTimeout)
	defer cancel()
	l.cancel(ctx)
	return nil
}

// cancel withdraws the request; the server's refusal changes nothing.
func (l *listener) cancel(ctx context.Context) {
	_, _, _ = l.conn.request(ctx, "cancel-tcpip-forward", ssh.Marshal(&tcpipForward{Host: l.host, Port: l.port}), nil)
}

func (l *listener) refusePending() {
	for {
		select {
		case nc := <-l.incoming:
			l.conn.reject(nc, ssh.Prohibited, "nobody listens there")
		default:
			return
		}
	}
}
