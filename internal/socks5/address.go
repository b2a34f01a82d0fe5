package socks5

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
)

// The address types (ATYP in RFC 1928, section 5).
const (
	typeIPv4 byte = 1
	typeName byte = 3
	typeIPv6 byte = 4
)

// address is ATYP, ADDR and PORT, as they stand in requests, replies and the
// headers of datagrams (RFC 1928, sections 4, 6 and 7). Two addresses are equal
// when == says so.
type address struct {
	ip   netip.Addr // invalid if it is a name
	name string     // empty if it is an IP address
	port uint16
}

// addressOf is what a client is told of one of our sockets, or of a target. A
// mapped IPv4 address, which a socket for both families has, is told as IPv4,
// zones, which mean nothing elsewhere, are left out, and none is 0.0.0.0.
func addressOf(a netip.AddrPort) address {
	ip := a.Addr().WithZone("").Unmap()
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	return address{ip: ip, port: a.Port()}
}

func (a address) host() string {
	if a.ip.IsValid() {
		return a.ip.String()
	}
	return a.name
}

func knownAddressType(atyp byte) bool {
	return atyp == typeIPv4 || atyp == typeName || atyp == typeIPv6
}

// addressLen is the length of an address of a known type whose second byte,
// where that of a name has its length, is second.
func addressLen(atyp, second byte) int {
	switch atyp {
	case typeIPv4:
		return 1 + 4 + 2
	case typeIPv6:
		return 1 + 16 + 2
	}
	return 1 + 1 + int(second) + 2
}

// readAddress reads the address that b begins with and gives its length. The
// text of an IP address, sent as a name, is read as that address. The error is
// io.ErrUnexpectedEOF when b is too short, or wraps ErrAddressType or ErrName.
func readAddress(b []byte) (address, int, error) {
	if len(b) < 2 {
		return address{}, 0, io.ErrUnexpectedEOF
	}
	if !knownAddressType(b[0]) {
		return address{}, 0, fmt.Errorf("%w %d", ErrAddressType, b[0])
	}
	n := addressLen(b[0], b[1])
	if len(b) < n {
		return address{}, 0, io.ErrUnexpectedEOF
	}
	a := address{port: binary.BigEndian.Uint16(b[n-2:])}
	host := b[1 : n-2]
	switch b[0] {
	case typeIPv4:
		a.ip = netip.AddrFrom4([4]byte(host))
	case typeIPv6:
		a.ip = netip.AddrFrom16([16]byte(host))
	default:
		var err error
		if a.ip, a.name, err = readName(host[1:]); err != nil {
			return address{}, 0, err
		}
	}
	return a, n, nil
}

// readName takes the text of an IP address, or a name. Only what a host name
// is made of passes: names end up in logs, in rules that compare them and in
// resolvers, ours and those of other machines, some of which read a blank, a
// NUL or another script's digits as something that a rule did not see.
func readName(b []byte) (netip.Addr, string, error) {
	if len(b) == 0 {
		return netip.Addr{}, "", fmt.Errorf("%w: it is empty", ErrName)
	}
	text := string(b)
	if ip, err := netip.ParseAddr(text); err == nil && (ip.Zone() == "" || isName(ip.Zone())) {
		return ip, "", nil
	}
	if !isName(text) {
		return netip.Addr{}, "", fmt.Errorf("%w: %q", ErrName, text)
	}
	return netip.Addr{}, text, nil
}

// isName reports whether s is made of labels, none of them empty, of letters,
// digits, hyphens and underscores, with or without a dot at the end.
func isName(s string) bool {
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		case c == '.' && label > 0:
			label = 0
		default:
			return false
		}
	}
	return s != ""
}

// appendAddress writes what readAddress reads. An address with a zone, for
// which there is no binary form, is written as text.
func appendAddress(b []byte, a address) []byte {
	name := a.name
	switch {
	case a.ip.Zone() != "":
		name = a.ip.String()
		fallthrough
	case !a.ip.IsValid():
		b = append(b, typeName, byte(len(name)))
		b = append(b, name...)
	case a.ip.Is4():
		ip := a.ip.As4()
		b = append(append(b, typeIPv4), ip[:]...)
	default:
		ip := a.ip.As16()
		b = append(append(b, typeIPv6), ip[:]...)
	}
	return binary.BigEndian.AppendUint16(b, a.port)
}
