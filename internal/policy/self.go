package policy

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// selfAge is how long the addresses of this host are believed. They are asked
// of the kernel, which costs too much to do for each datagram.
const selfAge = 5 * time.Second

// self knows this host's addresses, and the ports at which adit itself listens.
type self struct {
	interfaces func() ([]net.Addr, error) // nil means net.InterfaceAddrs

	mu      sync.Mutex // guards below
	ports   []uint16
	askedAt time.Time // when the addresses were asked for last
	known   bool      // an answer came, then or before
	addrs   []netip.Prefix
}

// addPorts adds ports at which adit listens.
func (s *self) addPorts(ports []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = append(s.ports, ports...)
}

// listens reports whether adit's own listeners are at t. If the host's
// addresses cannot be learned, any address may be one of them.
func (s *self) listens(t target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.ports, t.port) {
		return false
	}
	if t.addr.IsLoopback() {
		return true
	}
	s.refreshLocked()
	if !s.known {
		return true
	}
	return slices.ContainsFunc(s.addrs, func(p netip.Prefix) bool { return p.Addr() == t.addr })
}

// broadcasts reports whether addr reaches all of a network that this host is
// in (RFC 919, section 7).
func (s *self) broadcasts(addr netip.Addr) bool {
	// The host part has two bits at the least, and all of them are ones.
	if !addr.Is4() || addr.As4()[3]&3 != 3 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refreshLocked()
	return slices.ContainsFunc(s.addrs, func(p netip.Prefix) bool {
		return p.Addr().Is4() && p.Bits() <= 30 && !p.Addr().IsLoopback() && lastOf(p) == addr
	})
}

// refreshLocked asks for the host's addresses when the last answer is old.
// When there is no answer the last one stands.
func (s *self) refreshLocked() {
	now := time.Now()
	if !s.askedAt.IsZero() && now.Sub(s.askedAt) < selfAge {
		return
	}
	s.askedAt = now
	ask := s.interfaces
	if ask == nil {
		ask = net.InterfaceAddrs
	}
	list, err := ask()
	if err != nil {
		return
	}
	s.known, s.addrs = true, s.addrs[:0]
	for _, a := range list {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(ipnet.IP)
		bits, _ := ipnet.Mask.Size()
		if ip = plain(ip); ok {
			s.addrs = append(s.addrs, netip.PrefixFrom(ip, min(bits, ip.BitLen())))
		}
	}
}

// lastOf is the last address of an IPv4 range.
func lastOf(p netip.Prefix) netip.Addr {
	ip := p.Addr().As4()
	for i := range ip {
		ip[i] |= byte(0xff >> min(8, max(0, p.Bits()-8*i)))
	}
	return netip.AddrFrom4(ip)
}
