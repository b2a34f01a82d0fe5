package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/gorilla/websocket"

	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
)

// Dialer connects to relays. The zero value connects directly and trusts the
// system's authorities.
type Dialer struct {
	// TLS is for wss; nil trusts the system's authorities. An empty ServerName
	// is the host of the URL. The protocol is always HTTP/1.1.
	TLS *tls.Config
	// NetDial connects to a relay's host and port; nil is directly, by TCP. A
	// proxy's Dial and a site's fit.
	NetDial func(ctx context.Context, network, address string) (pipe.Conn, error)
	// Header goes out with the request. After a redirect to another
	// host or port its Authorization and Cookie do not.
	Header http.Header
	// Subprotocols are offered, the best first.
	Subprotocols []string
}

// Dial connects to a ws or wss URL, and gives the subprotocol that the relay
// chose, empty if none. Redirects (301 to 308 with a Location) are followed, up to 5 of
// them, verbatim: nothing of u's query is added. Connecting takes at most 10
// seconds a hop, TLS and the answer included; ctx bounds all of it and nothing after.
//
// The Conn stands on the *net.TCPConn itself, for wss on the *tls.Conn.
//
// Errors: *StatusError for a relay that answered otherwise, *TLSError,
// ErrTooManyRedirects, ErrDowngrade; context.DeadlineExceeded is in the chain
// of a relay that did not answer in time. None has a query or a header in it.
func (d *Dialer) Dial(ctx context.Context, u *url.URL, cfg ws.Config) (*ws.Conn, string, error) {
	target := *u
	if err := settle(&target); err != nil {
		return nil, "", err
	}
	header := d.Header
	for range maxRedirects + 1 {
		conn, subprotocol, next, err := d.hop(ctx, &target, header, cfg)
		switch {
		case err != nil:
			return nil, "", err
		case next == nil:
			return conn, subprotocol, nil
		}
		if next.Host != target.Host {
			header = header.Clone()
			header.Del("Authorization")
			header.Del("Cookie")
		}
		target = *next
	}
	return nil, "", ErrTooManyRedirects
}

// hop asks one relay, which may redirect to next.
func (d *Dialer) hop(ctx context.Context, u *url.URL, header http.Header, cfg ws.Config) (_ *ws.Conn, subprotocol string, next *url.URL, err error) {
	bounded, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	a := &attempt{d: d, ctx: bounded, url: u}
	defer a.release()
	dialer := websocket.Dialer{NetDialContext: a.connect, NetDialTLSContext: a.connectTLS, Subprotocols: d.Subprotocols}
	// The library is kept from ctx: while it reads it would notice no
	// cancellation, and its deadline would race with our closing.
	_, answer, err := dialer.DialContext(context.WithoutCancel(ctx), u.String(), header)
	if err == nil {
		subprotocol, err = d.agreed(answer)
	}
	switch {
	case err == nil && a.keep():
		cfg.Client = true
		return ws.New(a.conn, nil, cfg), subprotocol, nil, nil
	case ctx.Err() != nil:
		return nil, "", nil, fmt.Errorf("connect to relay %s: %w", hostPort(u), ctx.Err())
	case bounded.Err() != nil:
		return nil, "", nil, fmt.Errorf("connect to relay %s: no answer within %v: %w", hostPort(u), hopTimeout, context.DeadlineExceeded)
	case errors.Is(err, websocket.ErrBadHandshake) && answer != nil:
		next, err = redirect(u, answer)
		return nil, "", next, err
	}
	return nil, "", nil, a.explain(err)
}

var errNotAgreed = errors.New("it chose what was not offered")

// agreed checks what the relay chose (RFC 6455, section 4.1, steps 5 and 6 for the
// answer).
func (d *Dialer) agreed(answer *http.Response) (subprotocol string, err error) {
	if len(answer.Header["Sec-Websocket-Extensions"]) > 0 {
		return "", fmt.Errorf("%w: an extension", errNotAgreed)
	}
	chosen := answer.Header["Sec-Websocket-Protocol"]
	switch {
	case len(chosen) == 0:
		return "", nil
	case len(chosen) > 1 || !slices.Contains(d.Subprotocols, chosen[0]):
		return "", fmt.Errorf("%w: a subprotocol", errNotAgreed)
	}
	return chosen[0], nil
}

// redirect is where an answer that is no upgrade sends us. The error is a
// *StatusError if it does not.
func redirect(from *url.URL, answer *http.Response) (*url.URL, error) {
	location := answer.Header.Get("Location")
	switch {
	case answer.StatusCode == http.StatusSwitchingProtocols:
		return nil, fmt.Errorf("connect to relay %s: it answered 101 Switching Protocols, but not to this request", hostPort(from))
	case answer.StatusCode < http.StatusMovedPermanently || answer.StatusCode > http.StatusPermanentRedirect || location == "":
		return nil, statusError(answer)
	}
	to, err := from.Parse(location)
	if err != nil {
		// The cause repeats the location, which may have a token in it.
		return nil, fmt.Errorf("connect to relay %s: it redirects to what is no URL", hostPort(from))
	}
	to.Fragment, to.RawFragment = "", "" // it says nothing to a server
	if err := settle(to); err != nil {
		return nil, fmt.Errorf("connect to relay %s: follow its redirect: %w", hostPort(from), err)
	}
	if from.Scheme == "wss" && to.Scheme == "ws" {
		return nil, fmt.Errorf("connect to relay %s: %w", hostPort(from), ErrDowngrade)
	}
	return to, nil
}

// attempt is the connection of one hop. Closing it ends whatever waits on it.
type attempt struct {
	d    *Dialer
	ctx  context.Context
	url  *url.URL
	conn pipe.Conn // what the frames will stand on
	stop func() bool
}

// keep reports whether the connection is ours now: ctx no longer closes it.
func (a *attempt) keep() bool {
	ours := a.stop()
	a.stop = nil
	return ours
}

// release closes a connection that was not kept.
func (a *attempt) release() {
	if a.stop != nil {
		a.stop()
		_ = a.conn.Close() // nobody waits for it
	}
}

func (a *attempt) connect(_ context.Context, network, address string) (net.Conn, error) {
	if err := a.reach(network, address); err != nil {
		return nil, err
	}
	return &headConn{Conn: a.conn, left: maxAnswer}, nil
}

func (a *attempt) connectTLS(_ context.Context, network, address string) (net.Conn, error) {
	if err := a.reach(network, address); err != nil {
		return nil, err
	}
	cfg := a.d.TLS.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = a.url.Hostname()
	}
	cfg.NextProtos = []string{"http/1.1"} // an upgrade is none of HTTP/2
	secure := tls.Client(a.conn, cfg)
	if err := secure.HandshakeContext(a.ctx); err != nil {
		return nil, &TLSError{Host: address, Err: err}
	}
	a.conn = secure
	return &headConn{Conn: a.conn, left: maxAnswer}, nil
}

func (a *attempt) reach(network, address string) error {
	dial := a.d.NetDial
	if dial == nil {
		dial = dialTCP
	}
	conn, err := dial(a.ctx, network, address)
	if err != nil {
		return err
	}
	a.conn = conn
	a.stop = context.AfterFunc(a.ctx, func() { _ = conn.Close() })
	return nil
}

func dialTCP(ctx context.Context, network, address string) (pipe.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// explain gives an error its place. Of what the relay answered nothing is
// repeated: it may have the request in it.
func (a *attempt) explain(err error) error {
	var secure *TLSError
	var network net.Error
	switch {
	case errors.As(err, &secure):
		return secure
	case a.conn == nil, errors.Is(err, errNotAgreed), errors.Is(err, errLongAnswer):
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("it closed the connection instead of answering: %w", err)
	case !errors.As(err, &network):
		err = errors.New("its answer is not that of a web server")
	}
	return fmt.Errorf("connect to relay %s: %w", hostPort(a.url), err)
}

var errLongAnswer = fmt.Errorf("its answer is longer than %d bytes", maxAnswer)

// headConn is what the library reads the answer from: a byte at a time, so that
// it takes nothing of what comes behind it, and no more than a head may have.
type headConn struct {
	net.Conn
	left int
}

func (h *headConn) Read(p []byte) (int, error) {
	if h.left == 0 {
		return 0, errLongAnswer
	}
	n, err := h.Conn.Read(p[:min(1, len(p))])
	h.left -= n
	return n, err
}
