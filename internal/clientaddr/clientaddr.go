// Package clientaddr tells where a request came from when proxies stand in
// between. It knows X-Forwarded-For alone, and believes it only of proxies that
// the operator trusts.
package clientaddr

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Of is the address of who sent r. Where the connection is a trusted proxy's,
// it is what the last proxy that is not one of trust was seen as: X-Forwarded-For
// is read from its end, since each proxy appends whom it saw and everything
// before that is only what the client says. Where that cannot be told, because
// the header is missing, broken or names nobody but proxies, it is the
// connection's own address, and told is false.
//
// IPv4 in IPv6 is given as IPv4 and zones are left out, so that one client is
// one address. The prefixes of trust must be of the same form. The address is
// zero when r.RemoteAddr has none, as on a Unix socket.
func Of(r *http.Request, trust []netip.Prefix) (addr netip.Addr, told bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	peer := plain(at.Addr())
	if !trusted(peer, trust) {
		return peer, false
	}
	for _, line := range slices.Backward(r.Header.Values("X-Forwarded-For")) {
		for _, hop := range slices.Backward(strings.Split(line, ",")) {
			hop = strings.TrimSpace(hop)
			if hop == "" {
				continue // RFC 9110, section 5.6.1.2: an empty element counts for nothing
			}
			addr, ok := parse(hop)
			if !ok {
				return peer, false
			}
			if !trusted(addr, trust) {
				return addr, true
			}
		}
	}
	return peer, false
}

// parse takes an address, and one with a port, which some proxies write.
func parse(hop string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(hop, "["); ok && strings.HasSuffix(inner, "]") {
		hop = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(hop)
	if err != nil {
		at, err := netip.ParseAddrPort(hop)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = at.Addr()
	}
	return plain(addr), true
}

func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func trusted(addr netip.Addr, trust []netip.Prefix) bool {
	return slices.ContainsFunc(trust, func(p netip.Prefix) bool { return p.Contains(addr) })
}
