package socks5

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

const (
	defaultDialTimeout = 15 * time.Second
	defaultUDPIdle     = 2 * time.Minute
)

// ErrNotServed is a request for a command that this place does not carry out.
var ErrNotServed = errors.New("the command is not served here")

// Proxy carries out what SOCKS5 clients ask for: CONNECT, and UDP ASSOCIATE if
// it has UDP. It may be used by several goroutines at once, and must not be
// changed meanwhile.
type Proxy struct {
	// Server has the credentials and the time-outs of the handshake.
	Server

	// Dial connects to a target, "host:port". ctx bounds the dial only.
	Dial func(ctx context.Context, network, address string) (pipe.Conn, error)

	// DialEarly, if set, is called instead of Dial, for what is called fast
	// open: it gives a stream before it is known whether the target can be
	// reached, and resets the stream if that turns out later. The client is
	// answered with success at once. ctx lives on behind the call, as long as
	// Serve runs; how long the dial may take is for DialEarly to bound.
	DialEarly func(ctx context.Context, network, address string) (pipe.Conn, error)

	// UDP is where the datagrams of UDP ASSOCIATE leave from; nil answers
	// those requests with CommandNotSupported.
	UDP site.Associator

	// UDPIdle is how long an association lives without a datagram, in either
	// direction, that is passed on. 0 means 2 minutes.
	UDPIdle time.Duration

	// DialTimeout bounds Dial, and UDP's Associate. 0 means 15 seconds.
	DialTimeout time.Duration

	// Count, which may be nil, is told of what was refused or dropped, in fixed
	// words: of clients socks_auth, socks_version, socks_timeout and
	// socks_request (one that cannot be read); of their datagrams udp_foreign
	// (not from the client), udp_fragment, udp_malformed, udp_denied,
	// udp_unsent (unreachable, or too large) and udp_early (an answer to a
	// client of unknown port); and udp_idle of associations.
	Count func(event string)
}

// Serve serves one client until all that it asked for has ended, and closes
// it. The end of ctx resets the client's stream and the target's. The meter,
// which may be nil, counts what streams and datagrams carry, In from the
// client and Out to it.
//
// A client that leaves while its target is dialled is noticed when the dial is
// over. Errors are those of Handshake, of Dial, of pipe.Join and of the
// client's connection, and ErrNotServed; the client has been told.
func (p *Proxy) Serve(ctx context.Context, client pipe.Conn, m *pipe.Meter) error {
	if m == nil {
		m = new(pipe.Meter)
	}
	defer resetAtEnd(ctx, client)()
	req, err := p.shake(client)
	if err != nil {
		return err
	}
	if req.Command == Associate && p.UDP != nil {
		return p.associate(ctx, client, req, m)
	}
	target, err := p.connect(ctx, client, req)
	if err != nil {
		return err
	}
	defer resetAtEnd(ctx, target)()
	return pipe.Join(client, target, m)
}

// Connect does the first half of what Serve does, for those who join the
// streams themselves: it shakes hands, dials the target of a CONNECT and
// answers. Other commands are answered with CommandNotSupported. With an error
// the client has been told, as far as it listens, and is closed. The end of ctx
// ends the dial, but what waits for the client itself is ended by closing that.
func (p *Proxy) Connect(ctx context.Context, client pipe.Conn) (pipe.Conn, error) {
	req, err := p.shake(client)
	if err != nil {
		return nil, err
	}
	return p.connect(ctx, client, req)
}

// resetAtEnd resets c when ctx ends, until the function that it returns has
// been called, which waits for a reset that has begun.
func resetAtEnd(ctx context.Context, c pipe.Conn) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		pipe.Reset(c)
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

// shake does the handshake, and closes clients that do not pass it.
func (p *Proxy) shake(client pipe.Conn) (Request, error) {
	req, err := p.Handshake(client)
	if err == nil {
		return req, nil
	}
	switch {
	case errors.Is(err, ErrAuth), errors.Is(err, ErrNoMethod):
		p.count("socks_auth")
	case errors.Is(err, ErrVersion):
		p.count("socks_version")
	case errors.Is(err, ErrTimeout):
		p.count("socks_timeout")
	case errors.Is(err, ErrCommand), errors.Is(err, ErrAddressType), errors.Is(err, ErrName):
		p.count("socks_request")
	}
	pipe.Finish(client) // what it was told must reach it
	return Request{}, err
}

// connect dials the target of a request and answers it.
func (p *Proxy) connect(ctx context.Context, client pipe.Conn, req Request) (pipe.Conn, error) {
	if req.Command != Connect {
		return nil, refuse(client, CommandNotSupported, ErrNotServed)
	}
	target, err := p.dial(ctx, req.Address())
	if err != nil {
		return nil, refuse(client, ReplyTo(err), err)
	}
	if err := WriteReply(client, Succeeded, netip.AddrPort{}); err != nil {
		pipe.Reset(target)
		pipe.Reset(client)
		return nil, err
	}
	return target, nil
}

func (p *Proxy) dial(ctx context.Context, address string) (pipe.Conn, error) {
	if p.DialEarly != nil {
		return p.DialEarly(ctx, "tcp", address)
	}
	ctx, cancel := context.WithTimeout(ctx, p.dialTimeout())
	defer cancel()
	return p.Dial(ctx, "tcp", address)
}

// refuse answers a request that cannot be carried out, and closes the client.
// Whether the answer arrives changes nothing: the reason is the news.
func refuse(client pipe.Conn, r Reply, reason error) error {
	_ = WriteReply(client, r, netip.AddrPort{})
	pipe.Finish(client)
	return reason
}

func (p *Proxy) dialTimeout() time.Duration {
	if p.DialTimeout > 0 {
		return p.DialTimeout
	}
	return defaultDialTimeout
}

func (p *Proxy) count(event string) {
	if p.Count != nil {
		p.Count(event)
	}
}
