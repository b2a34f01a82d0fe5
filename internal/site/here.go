package site

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// Here is this machine as a site.
type Here struct {
	// Check refuses a target. It is asked with the resolved address that is
	// about to be dialled, so that what was checked is what is dialled; name is
	// the host as it was asked for, empty when that was an address. nil allows all.
	Check func(name string, addr netip.AddrPort) error
}

// Dial connects from this machine. Of a name's several addresses those that
// Check allows are tried in the system's order, IPv6 and IPv4 side by side (RFC 8305).
func (h *Here) Dial(ctx context.Context, network, address string) (pipe.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &DialError{Reason: Other, Address: address, Err: err}
	}
	name := host
	if _, err := netip.ParseAddr(host); err == nil {
		name = ""
	}
	d := net.Dialer{ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		if h.Check == nil {
			return nil
		}
		addr, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return err
		}
		return h.Check(name, addr)
	}}
	c, err := d.DialContext(ctx, network, address)
	var refused *DialError
	switch {
	case errors.As(err, &refused):
		return nil, &DialError{Reason: refused.Reason, Address: address, Err: refused.Err}
	case err != nil:
		return nil, &DialError{Reason: ReasonOf(err), Address: address, Err: err}
	}
	return c.(*net.TCPConn), nil
}

// Listen listens on this machine: 0.0.0.0 is every IPv4 address, :: every IPv6
// address, and an empty host or * both. Its errors are those of package net.
func (h *Here) Listen(ctx context.Context, network, address string) (pipe.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host == "*" {
		address = net.JoinHostPort("", port)
	}
	// Without this, package net takes IPv6 along when it is told 0.0.0.0.
	if ip, err := netip.ParseAddr(host); err == nil && network == "tcp" {
		network = "tcp6"
		if ip.Unmap().Is4() {
			network = "tcp4"
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return tcpListener{ln.(*net.TCPListener)}, nil
}

// tcpListener gives what it accepts as streams that can be half-closed.
type tcpListener struct{ *net.TCPListener }

func (l tcpListener) Accept() (pipe.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}
