package policy

import "net/netip"

// Why a target is refused, if not by a deny rule.
const (
	whyNotAllowed = "denied: no allow rule matches"
	whyElsewhere  = "denied: there are rules for addresses, and this name is resolved elsewhere: it needs an allow rule for the name"
	whyLinkLocal  = "denied: link-local and metadata addresses need an allow rule that names them"
	whyMulticast  = "denied: multicast and broadcast addresses need an allow rule that names them"
	whySelf       = "denied: adit's own listeners need an allow rule that names their address and port"
	whyNoHost     = "denied: it is neither an IP address nor a host name"
	whyNoAddress  = "denied: there is no address"
)

// builtin are the addresses that only an allow rule at least as narrow lifts.
var builtin = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("169.254.0.0/16"), whyLinkLocal},
	{netip.MustParsePrefix("fe80::/10"), whyLinkLocal},
	{netip.MustParsePrefix("fd00:ec2::254/128"), whyLinkLocal},
	{netip.MustParsePrefix("100.100.100.200/32"), whyLinkLocal},
	{netip.MustParsePrefix("224.0.0.0/4"), whyMulticast},
	{netip.MustParsePrefix("ff00::/8"), whyMulticast},
	{netip.MustParsePrefix("255.255.255.255/32"), whyMulticast},
}

// Dialling the unspecified address reaches the host itself. For :: that may be
// by either family: package net, for one, dials 127.0.0.1 too.
var (
	loopback4 = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	loopback  = []netip.Addr{loopback4[0], netip.IPv6Loopback()}
)

// judgeAll asks p and the policies around it, outermost first, why t is
// refused. Empty means that it is allowed. here says that t is dialled from
// this machine.
func (p *Policy) judgeAll(t target, here bool) string {
	if p.outer != nil {
		if why := p.outer.judgeAll(t, here); why != "" {
			return why
		}
	}
	if why := p.judge(t, here); why != "" {
		return why
	}
	return p.judgeLimit(t, here)
}

// judge asks p alone.
func (p *Policy) judge(t target, here bool) string {
	if !t.addr.IsValid() {
		return p.judgeName(t)
	}
	if !t.addr.IsUnspecified() {
		return p.judgeAddress(t, here)
	}
	if r, ok := match(p.deny, t); ok {
		return byRule(r)
	}
	means := loopback
	if t.addr.Is4() {
		means = loopback4
	}
	for _, t.addr = range means {
		if why := p.judgeAddress(t, here); why != "" {
			return why
		}
	}
	return ""
}

// judgeAddress judges a target whose address is known.
func (p *Policy) judgeAddress(t target, here bool) string {
	if r, ok := match(p.deny, t); ok {
		return byRule(r)
	}
	if p.outer == nil {
		if why := p.judgeBuiltin(t, here); why != "" {
			return why
		}
	}
	if _, ok := match(p.allow, t); !ok && len(p.allow) > 0 {
		return whyNotAllowed
	}
	return ""
}

func (p *Policy) judgeBuiltin(t target, here bool) string {
	for _, b := range builtin {
		if b.prefix.Contains(t.addr) && !p.lifts(t, b.prefix.Bits()) {
			return b.why
		}
	}
	switch {
	case !here:
		return ""
	case p.self.broadcasts(t.addr) && !p.lifts(t, t.addr.BitLen()):
		return whyMulticast
	case p.self.listens(t) && !p.liftsSelf(t):
		return whySelf
	}
	return ""
}

// lifts reports whether an allow rule names t by address, or by a range of
// that many bits or more.
func (p *Policy) lifts(t target, bits int) bool {
	for _, r := range p.allow {
		if r.kind == kindAddress && r.prefix.Bits() >= bits && r.matches(t) {
			return true
		}
	}
	return false
}

// liftsSelf reports whether an allow rule names t by address and port. A rule
// for 127.0.0.1 lends what runs there, and hardly means to give adit away.
func (p *Policy) liftsSelf(t target) bool {
	for _, r := range p.allow {
		if r.kind == kindAddress && r.prefix.IsSingleIP() && r.lo == r.hi && r.matches(t) {
			return true
		}
	}
	return false
}

// judgeName judges a name that is resolved elsewhere.
func (p *Policy) judgeName(t target) string {
	if r, ok := match(p.deny, t); ok {
		return byRule(r)
	}
	if isLocalhost(t.name) {
		for _, ip := range loopback {
			if r, ok := match(p.deny, target{addr: ip, port: t.port}); ok {
				return byRule(r)
			}
		}
	}
	everything, addresses := len(p.allow) == 0, false
	for _, r := range p.allow {
		if r.byName(t) {
			return ""
		}
		everything = everything || r.matches(t) // which is *
		addresses = addresses || r.kind == kindAddress
	}
	for _, r := range p.deny {
		if r.kind == kindAddress && r.hasPort(t.port) {
			return whyElsewhere // not even * allows an address that is denied
		}
	}
	switch {
	case everything:
		return ""
	case addresses:
		return whyElsewhere
	}
	return whyNotAllowed
}
