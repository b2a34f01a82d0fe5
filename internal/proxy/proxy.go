// Package proxy connects to targets through a proxy that somebody else runs:
// SOCKS5 (RFC 1928, 1929) or the CONNECT of HTTP (RFC 9110, section 9.3.6), the
// latter over TLS too. It is the client's side; the server's is package socks5.
// It carries TCP only: datagrams are refused rather than sent beside the proxy.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
)

// handshakeTimeout bounds a Dial: reaching the proxy, TLS with it, and its answer.
const handshakeTimeout = 10 * time.Second

// Proxy is how to connect through one proxy. Parse makes it. Its exported
// fields are set before the first Dial.
type Proxy struct {
	// NetDial connects to the proxy itself. nil is directly, by TCP.
	NetDial func(ctx context.Context, network, address string) (pipe.Conn, error)
	// TLS is for https:// proxies; nil trusts the system's authorities. An empty
	// ServerName is the host of the proxy's URL.
	TLS *tls.Config

	scheme     string // socks5, socks5h, http, https
	host, port string
	login      bool // the URL has credentials
	username   string
	password   redact.Secret
}

// String is the proxy's URL without credentials.
func (p *Proxy) String() string { return p.scheme + "://" + p.address() }

// GoString keeps the password from %#v.
func (p *Proxy) GoString() string { return p.String() }

// LogValue implements slog.LogValuer.
func (p *Proxy) LogValue() slog.Value { return slog.StringValue(p.String()) }

func (p *Proxy) address() string { return net.JoinHostPort(p.host, p.port) }

func (p *Proxy) socks() bool { return p.scheme == "socks5" || p.scheme == "socks5h" }

// Dial connects to address ("host:port", IPv6 in brackets) through the proxy,
// in at most 10 seconds. network is tcp, tcp4 or tcp6, which are the same: names
// are sent as they are, and the proxy resolves them.
//
// The stream is the connection to the proxy itself, or the *tls.Conn on it. It
// has no deadlines, and not a byte of the target's is missing.
//
// Errors are of type *site.DialError. Their reason is what the proxy said of
// the target; NetworkUnreachable when the proxy cannot be reached, for then no
// target can; TimedOut when it does not answer; Other when it refuses our
// credentials or cannot be understood.
func (p *Proxy) Dial(ctx context.Context, network, address string) (pipe.Conn, error) {
	t, err := parseTarget(network, address)
	if err != nil {
		return nil, &site.DialError{Reason: site.Other, Address: strconv.QuoteToASCII(address), Err: err}
	}
	bounded, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c, err := p.dial(bounded, t)
	if err == nil {
		return c, nil
	}
	if bounded.Err() != nil && ctx.Err() == nil {
		err = &failure{reasonOf(err), fmt.Errorf("%w after %v", err, handshakeTimeout)}
	}
	return nil, &site.DialError{Reason: reasonOf(err), Address: address, Err: fmt.Errorf("proxy %v: %w", p, err)}
}

// dial connects to the proxy and asks it for the target, until ctx ends.
func (p *Proxy) dial(ctx context.Context, t target) (pipe.Conn, error) {
	raw, err := p.reach(ctx)
	if err != nil {
		return nil, &failure{site.NetworkUnreachable, fmt.Errorf("connect to it: %w", err)}
	}
	// Closing ends every wait, on connections without deadlines too, and leaves
	// none behind.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	c, err := p.handshake(ctx, raw, t)
	if !stop() {
		err = fmt.Errorf("wait for its answer: %w", ctx.Err())
	}
	if err != nil {
		_ = raw.Close() // the handshake's failure is what counts
		return nil, err
	}
	return c, nil
}

func (p *Proxy) reach(ctx context.Context) (pipe.Conn, error) {
	if p.NetDial != nil {
		return p.NetDial(ctx, "tcp", p.address())
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.address())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (p *Proxy) handshake(ctx context.Context, raw pipe.Conn, t target) (pipe.Conn, error) {
	c := raw
	if p.scheme == "https" {
		secure := tls.Client(raw, p.tlsConfig())
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &failure{site.NetworkUnreachable, fmt.Errorf("TLS with it: %w", err)}
		}
		c = secure
	}
	ask := p.askHTTP
	if p.socks() {
		ask = p.askSOCKS
	}
	if err := ask(c, t); err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Proxy) tlsConfig() *tls.Config {
	cfg := p.TLS.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = p.host
	}
	cfg.NextProtos = []string{"http/1.1"} // our CONNECT is not that of HTTP/2
	return cfg
}

// failure is why the proxy gave no connection, and what that means to who asked.
type failure struct {
	reason site.Reason
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(reason site.Reason, format string, args ...any) error {
	return &failure{reason, fmt.Errorf(format, args...)}
}

func reasonOf(err error) site.Reason {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f.reason
	case errors.Is(err, context.DeadlineExceeded):
		return site.TimedOut
	}
	return site.Other
}

// unanswered is the error of a proxy whose answer cannot be read.
func unanswered(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it closed the connection instead of answering: %w", err)
	}
	return fmt.Errorf("read its answer: %w", err)
}

// target is what the proxy is asked for.
type target struct {
	host string     // as it was asked for
	ip   netip.Addr // invalid if the host is a name
	port uint16
}

func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// parseTarget takes only what a host can be. A line break in a name would be a
// second request to an HTTP proxy, and names come from peers.
func parseTarget(network, address string) (target, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return target{}, fmt.Errorf("a proxy carries TCP, not %s", network)
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return target{}, errors.New("not host:port")
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return target{}, errors.New("the port is not in 1 to 65535")
	}
	t := target{host: host, port: uint16(port)}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return target{}, errors.New("a zone of this machine means nothing to a proxy")
		}
		t.ip = ip
		return t, nil
	}
	if host == "" || len(host) > 255 || strings.IndexFunc(host, notInNames) >= 0 {
		return target{}, errors.New("not a host name")
	}
	return t, nil
}

func notInNames(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}
