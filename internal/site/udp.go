package site

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// A UDPSocket is a UDP socket of this machine that many peers share: what one
// of them does to it is no error for the others. One goroutine receives at a
// time; many may send.
type UDPSocket struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	first [1]byte               // what peek looks at
	peek  func(fd uintptr) bool // a method value made once, or every wait would allocate
}

// ListenUDP opens a UDP socket at a local address; with port 0 the system
// chooses one. At the zero AddrPort it is on every address of this machine, of
// both families where there are both. Errors are those of package net.
func ListenUDP(ctx context.Context, local netip.AddrPort) (*UDPSocket, error) {
	network, address := "udp", ":0"
	if local.IsValid() {
		local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
		network, address = "udp6", local.String()
		if local.Addr().Is4() {
			network = "udp4"
		}
	}
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &UDPSocket{conn: c.(*net.UDPConn)}
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		_ = c.Close()
		return nil, err
	}
	bound := s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s.local = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	s.peek = s.tryPeek
	return s, nil
}

// Addr is where the socket is bound.
func (s *UDPSocket) Addr() netip.AddrPort { return s.local }

// SendTo sends one datagram, of 65507 bytes at most over IPv4 and 65527 over
// IPv6. Errors other than net.ErrClosed are of this datagram alone.
func (s *UDPSocket) SendTo(p []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(p, to)
	return err
}

// Receive waits for the next datagram, writes it to p and says where it came
// from. What p has no room for is lost. The error is final, net.ErrClosed after
// Close.
func (s *UDPSocket) Receive(p []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(p)
		if err == nil {
			return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
		}
		if !ofOnePeer(err) {
			return 0, netip.AddrPort{}, err
		}
	}
}

// Close closes the socket and ends Await and Receive.
func (s *UDPSocket) Close() error { return s.conn.Close() }

// ofOnePeer reports errors that an ICMP message about some earlier datagram may
// leave on a socket.
func ofOnePeer(err error) bool {
	for _, icmp := range []error{
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EMSGSIZE, syscall.ENOPROTOOPT, syscall.EPROTO,
	} {
		if errors.Is(err, icmp) {
			return true
		}
	}
	return false
}
