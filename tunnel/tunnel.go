// Package tunnel lets a Go program connect through an adit relay, and be
// connected to through one, without a SOCKS port in between.
//
// With a forward or a connector token, [Client.DialContext] connects to targets
// in the network behind the relay. With a reverse token the program is a
// provider: what users of the relay connect to arrives at [Client.Listen]'s
// listener, whatever target they asked for.
//
// The client keeps its connection to the relay up by itself: streams end with the
// connection that carries them, and new ones go over the next.
package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/peer"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/proxy"
	"github.com/adit-tunnel/adit/internal/redact"
)

// Config is how to connect to a relay.
type Config struct {
	// Token is what the relay knows the program by, 1 to 255 bytes.
	Token string
	// TLS is for wss:// relays; nil trusts the system's authorities.
	TLS *tls.Config
	// Proxy is the URL of a socks5, http or https proxy by which the relay is
	// reached; empty for none. The environment is not asked.
	Proxy string
	// Lanes is how many connections there are to the relay, side by side; 0
	// means 1. Streams are spread over them, which helps on long ways with loss.
	Lanes int
	// Logger is told of the connection's ups and downs; nil for nobody.
	Logger *slog.Logger
}

// Conn is a stream through a relay. Its two directions end independently.
// Deadlines are those of package net, but that a write deadline does not interrupt
// what the link is just sending. Close is that of a TCP connection: what was
// written still arrives, with a clean end behind it, and what the other side goes
// on to send is dropped; a side that sends much, or does not end within two
// minutes, sees a reset.
//
// Errors are *[net.OpError], but for io.EOF; a stream that was cut, or whose link
// was lost, is a [syscall.ECONNRESET] to [errors.Is].
type Conn interface {
	net.Conn
	// CloseWrite ends the direction away from the program.
	CloseWrite() error
}

// Client is a connection to a relay.
type Client struct {
	peer *peer.Peer

	closing sync.WaitGroup // streams that are closed and not yet over; none more once closed is set

	mu       sync.Mutex // guards below
	listener *listener
	closed   bool
}

// Dial connects to a relay, as ws://host:port or wss://host, and waits until it
// has taken the token. It tries again as long as ctx lasts, which bounds this
// wait alone: give it a deadline, and Config a Logger that is told of each try.
// A relay that refuses the token ends it at once, with an error of type
// *[github.com/adit-tunnel/adit/api.Error] whose Code is CodeAuthFailed. Close
// must follow.
func Dial(ctx context.Context, relay string, c Config) (*Client, error) {
	u, err := handshake.NormalizeURL(relay)
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	if c.Token == "" {
		return nil, errors.New("tunnel: a token is needed")
	}
	client := new(Client)
	o := peer.Options{
		URL: u, Role: peer.Either, Token: redact.New(c.Token), Threads: c.Lanes,
		Dialer: handshake.Dialer{TLS: c.TLS}, Accept: client.accept, Logger: c.Logger,
	}
	if c.Proxy != "" {
		way, err := proxy.Parse(c.Proxy)
		if err != nil {
			return nil, fmt.Errorf("tunnel: %w", err)
		}
		o.Dialer.NetDial = way.Dial
	}
	if client.peer, err = peer.Open(ctx, o); err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	return client, nil
}

// DialContext connects to address, "host:port", in the network behind the relay;
// names are resolved there. network is tcp, tcp4 or tcp6, which are the same.
// It fits http.Transport. The stream is a [Conn]. While there is no connection to
// the relay it waits, for ten seconds at most. There is no UDP.
//
// Errors are *[net.OpError]. Of why the target was not reached, errors.Is and
// errors.As tell what they would of net.Dial's: ECONNREFUSED, EHOSTUNREACH,
// ENETUNREACH (also when no provider is there), ETIMEDOUT, EACCES where the
// relay's rules forbid it, and *net.DNSError for a name that is not found there.
// ErrClosed is that of a client that has ended.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := checkNetwork(network, address); err != nil {
		return nil, err
	}
	conn, err := c.peer.Dial(ctx, network, address)
	if err != nil {
		return nil, c.dialError(network, address, err)
	}
	return c.conn(conn), nil
}

// dialError says of a client that has ended that it has.
func (c *Client) dialError(network, address string, err error) error {
	select {
	case <-c.peer.Done():
		err = ErrClosed
	default:
	}
	return &net.OpError{Op: "dial", Net: network, Addr: target(address), Err: asNet(err, false)}
}

// DialEarly is DialContext that does not wait for the target: data, which may be
// empty, is on its way when it returns, and what else is written follows. That
// saves a round trip. If the target cannot be reached, reading tells. Of more than
// 64 KiB, the rest waits until the target takes it, as long as ctx lasts.
func (c *Client) DialEarly(ctx context.Context, network, address string, data []byte) (net.Conn, error) {
	if err := checkNetwork(network, address); err != nil {
		return nil, err
	}
	conn, err := c.dialEarly(ctx, network, address, data)
	if err != nil {
		return nil, c.dialError(network, address, err)
	}
	return c.conn(conn), nil
}

func (c *Client) dialEarly(ctx context.Context, network, address string, data []byte) (pipe.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := c.peer.DialEarly(ctx, network, address)
	if err != nil || len(data) == 0 {
		return conn, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // which ends the write
	_, err = conn.Write(data)
	if !stop() {
		return nil, ctx.Err()
	}
	if err != nil {
		_ = conn.Close() // it has failed already
		return nil, err
	}
	return conn, nil
}

func checkNetwork(network, address string) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return nil
	}
	return &net.OpError{Op: "dial", Net: network, Addr: target(address), Err: net.UnknownNetworkError(network)}
}

// Listen takes what users of the relay connect to, by a reverse token. Without a
// listener they are refused. There is one listener at a time. Streams that it
// gives are [Conn]s, and their RemoteAddr is the target that was asked for.
func (c *Client) Listen() (net.Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.peer.Done():
		return nil, ErrClosed
	default:
	}
	switch {
	case c.closed:
		return nil, ErrClosed
	case c.listener != nil:
		return nil, errors.New("tunnel: there is a listener already")
	}
	c.listener = &listener{c: c, conns: make(chan pipe.Conn, backlog), done: make(chan struct{})}
	return c.listener, nil
}

// accept is asked for each stream that the relay opens.
func (c *Client) accept(string) (take func(pipe.Conn), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener == nil {
		return nil, errNoListener
	}
	return c.listener.take, nil
}

var errNoListener = errors.New("nobody listens")

// Done is closed when the client has ended: it was closed, or the relay refuses
// its token.
func (c *Client) Done() <-chan struct{} { return c.peer.Done() }

// Err is why the client has ended by itself; nil while it has not.
func (c *Client) Err() error { return c.peer.Err() }

// Close ends the client, its listener and all its streams, also those that were
// closed a moment ago and have not arrived: wait for the other side's word
// before.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	ln := c.listener
	c.mu.Unlock()
	if ln != nil {
		_ = ln.Close() // once is enough
	}
	err := c.peer.Close()
	c.closing.Wait()
	return err
}

// finishing runs what a stream that was closed has still to do. It reports false
// if the client was closed, too, and nothing is to be done any more.
func (c *Client) finishing(finish func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.closing.Go(finish)
	return true
}

// backlog is how many streams wait to be accepted; more are refused.
const backlog = 128

// listener is a net.Listener for streams through a relay.
type listener struct {
	c     *Client
	conns chan pipe.Conn
	done  chan struct{}
	once  sync.Once
}

// take queues a stream for Accept. One that nobody takes in time is closed, and
// its user told.
func (l *listener) take(conn pipe.Conn) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.c.listener == l {
		select {
		case l.conns <- conn:
			return
		default:
		}
	}
	_ = conn.Close()
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return l.c.conn(conn), nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-l.c.peer.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: streams that were accepted go on.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.c.mu.Lock()
		l.c.listener = nil
		l.c.mu.Unlock()
		for {
			select {
			case conn := <-l.conns:
				_ = conn.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "adit" }
func (addr) String() string  { return "relay" }
