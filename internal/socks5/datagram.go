package socks5

import (
	"errors"
	"io"
	"net/netip"
)

// The reasons for which ParseDatagram refuses a datagram, beside
// ErrAddressType and ErrName.
var (
	ErrShort    = errors.New("the datagram is too short for its header")
	ErrFragment = errors.New("the datagram is a fragment")
)

// datagramPrefix is the length of RSV and FRAG, ahead of the address.
const datagramPrefix = 2 + 1

// maxDatagramHeader is the length of the longest header that
// AppendDatagramHeader writes, one with an IPv6 address.
const maxDatagramHeader = datagramPrefix + 1 + 16 + 2

// Datagram is what a client sends to the UDP port of its association (RFC
// 1928, section 7).
type Datagram struct {
	// Host is the target as in Request: an IP address as text, without
	// brackets, or a host name exactly as it was sent.
	Host string
	// Port is as it was sent; 0 too.
	Port uint16
	// Payload is the part of the datagram behind the header. It may be empty.
	Payload []byte
}

// ParseDatagram reads a datagram of a client's. The payload is part of b. The
// error is ErrShort or ErrFragment, or wraps ErrAddressType or ErrName.
// Reassembly of fragments is optional in the standard, and not done; RSV is
// not looked at.
func ParseDatagram(b []byte) (Datagram, error) {
	if len(b) < datagramPrefix {
		return Datagram{}, ErrShort
	}
	if b[2] != 0 {
		return Datagram{}, ErrFragment
	}
	target, n, err := readAddress(b[datagramPrefix:])
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Datagram{}, ErrShort
	case err != nil:
		return Datagram{}, err
	}
	return Datagram{Host: target.host(), Port: target.port, Payload: b[datagramPrefix+n:]}, nil
}

// AppendDatagramHeader appends the header of a datagram that came from a target
// and goes to the client. Addresses are written as in a reply: mapped IPv4 as
// IPv4, without a zone, and the zero AddrPort as 0.0.0.0:0.
func AppendDatagramHeader(dst []byte, from netip.AddrPort) []byte {
	return appendAddress(append(dst, 0, 0, 0), addressOf(from))
}
