package policy

import (
	"net/netip"
	"strconv"
	"strings"
)

// target is what rules are compared with.
type target struct {
	name string     // folded; empty if it was asked for by address
	addr netip.Addr // plain; invalid if only the name is known
	port uint16
}

// fold gives a name the form in which names are compared.
func fold(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// plain gives an address the form in which addresses are compared.
func plain(addr netip.Addr) netip.Addr { return addr.WithZone("").Unmap() }

// parseHost reads a host that someone else will resolve: as the address that
// they will take it for, else as a name. It is neither if ok is false: then
// nothing can be said about where it leads.
func parseHost(host string, port uint16) (t target, ok bool) {
	folded := fold(host)
	if strings.Contains(folded, ":") {
		ip, err := netip.ParseAddr(folded)
		ok = err == nil && (ip.Zone() == "" || isName(ip.Zone()))
		return target{addr: plain(ip), port: port}, ok
	}
	if ip, numeric := parseNumeric(folded); numeric {
		return target{addr: ip, port: port}, ip.IsValid()
	}
	return target{name: folded, port: port}, isName(folded)
}

// isName reports whether a folded name is made of labels, none of them empty,
// of letters, digits, hyphens and underscores. Nothing else is taken for a
// name: some resolvers stop at a blank or a NUL, or read another script's
// digits as digits, and so see an address where we saw none.
func isName(s string) bool {
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		case c == '.' && label > 0:
			label = 0
		default:
			return false
		}
	}
	return label > 0
}

// isLocalhost reports whether a folded name is one of those that resolve to
// loopback everywhere (RFC 6761, section 6.3).
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// parseNumeric reads what ends in a number, as no host name does. The system's
// resolvers take it for an IPv4 address in any form that inet_aton knows: one
// to four parts, the last of them filling what is left, each decimal, octal
// (010) or hexadecimal (0x8). If it is numeric but not of that form, the
// address is invalid.
func parseNumeric(s string) (ip netip.Addr, numeric bool) {
	if !isNumber(s[strings.LastIndexByte(s, '.')+1:]) {
		return netip.Addr{}, false
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, true
	}
	var sum uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, err := parsePart(part, bits)
		if err != nil {
			return netip.Addr{}, true
		}
		sum = sum<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

func parsePart(s string, bits int) (uint64, error) {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		return strconv.ParseUint(digits, 16, bits)
	}
	if len(s) > 1 && s[0] == '0' {
		return strconv.ParseUint(s, 8, bits)
	}
	return strconv.ParseUint(s, 10, bits)
}

// isNumber reports whether a folded label is digits, or 0x and hexadecimal
// digits, of which some resolvers accept none at all.
func isNumber(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	for i := range len(digits) {
		if c := digits[i]; (c < '0' || c > '9') && (!hex || c < 'a' || c > 'f') {
			return false
		}
	}
	return label != ""
}
