package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// kind says what a rule compares.
type kind byte

const (
	kindAny     kind = iota // *
	kindAddress             // IP, CIDR
	kindName                // example.com
	kindBelow               // *.example.com
)

// maxName is the length of the longest host name (RFC 1035, section 2.3.4, as
// text and without the dot at the end).
const maxName = 253

// Rule names targets: by address, by name or all, on every port or some. Two
// rules are equal when == says so.
type Rule struct {
	kind   kind
	prefix netip.Prefix // kindAddress: unmapped, without bits beyond its length
	name   string       // kindName, kindBelow: folded; the latter begins with its dot
	lo, hi uint16       // the ports; 0 to 65535 when none are given
}

// ParseRule reads (CIDR | IP | name | *.name | *)[:port[-port]], with IPv6 in
// brackets when a port follows. Addresses are plain: no zone, no leading zeros,
// no bits beyond a CIDR's length. An IPv4 address may be written as IPv6
// (::ffff:10.0.0.1) and means the same. Names are of letters, digits, hyphens
// and underscores, in any case, with or without a dot at the end; *.name stands
// for what is below name at any depth, not for name itself. Ports are 1 to
// 65535.
func ParseRule(s string) (Rule, error) {
	r, err := parseRule(s)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", s, err)
	}
	return r, nil
}

func parseRule(s string) (Rule, error) {
	host, ports, hasPorts, err := cutPorts(s)
	if err != nil {
		return Rule{}, err
	}
	r, err := parseRuleHost(host)
	if err != nil {
		return Rule{}, err
	}
	if r.lo, r.hi = 0, maxPort; hasPorts {
		if r.lo, r.hi, err = parsePorts(ports); err != nil {
			return Rule{}, err
		}
	}
	return r, nil
}

// cutPorts splits a rule at the colon before its ports. More than one colon
// outside brackets is IPv6 without a port.
func cutPorts(s string) (host, ports string, found bool, err error) {
	rest, ok := strings.CutPrefix(s, "[")
	if !ok {
		if strings.Count(s, ":") > 1 {
			return s, "", false, nil
		}
		host, ports, found = strings.Cut(s, ":")
		return host, ports, found, nil
	}
	host, after, ok := strings.Cut(rest, "]")
	if !ok || !strings.Contains(host, ":") {
		return "", "", false, errors.New("brackets hold an IPv6 address or range, as in [2001:db8::/32]:443")
	}
	if after == "" {
		return host, "", false, nil
	}
	if ports, found = strings.CutPrefix(after, ":"); !found {
		return "", "", false, fmt.Errorf("%q behind the bracket is no port: write [2001:db8::/32]:443", after)
	}
	return host, ports, true, nil
}

const maxPort = 1<<16 - 1

func parsePorts(s string) (lo, hi uint16, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if lo, err = parsePort(first); err != nil {
		return 0, 0, err
	}
	if hi = lo; isRange {
		if hi, err = parsePort(last); err != nil {
			return 0, 0, err
		}
	}
	if lo > hi {
		return 0, 0, fmt.Errorf("the ports %s run backwards", s)
	}
	return lo, hi, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port: write a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// parseRuleHost reads a rule without its ports.
func parseRuleHost(host string) (Rule, error) {
	if host == "*" {
		return Rule{kind: kindAny}, nil
	}
	if strings.Contains(host, "/") {
		return parseRange(host)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return Rule{}, errors.New("a rule holds on every interface: leave the zone out")
		}
		ip = ip.Unmap()
		return Rule{kind: kindAddress, prefix: netip.PrefixFrom(ip, ip.BitLen())}, nil
	}
	folded := fold(host)
	bare, isBelow := strings.CutPrefix(folded, "*.")
	switch ip, numeric := parseNumeric(bare); {
	case ip.IsValid() && !isBelow:
		return Rule{}, fmt.Errorf("write the address as %s", ip)
	case numeric, !isName(bare), len(bare) > maxName:
		return Rule{}, fmt.Errorf("%q is no address, no range of addresses and no host name", host)
	case isBelow:
		return Rule{kind: kindBelow, name: folded[1:]}, nil
	}
	return Rule{kind: kindName, name: folded}, nil
}

// parseRange reads a CIDR.
func parseRange(s string) (Rule, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Rule{}, fmt.Errorf("%q is no range of addresses: write 10.0.0.0/8, 2001:db8::/32 or, with a port, [2001:db8::/32]:443", s)
	}
	if p != p.Masked() {
		return Rule{}, fmt.Errorf("%s has bits beyond its length: write %s or %s", p, p.Masked(), p.Addr())
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return Rule{}, fmt.Errorf("%s holds IPv4 and other addresses: write a range for each", p)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return Rule{kind: kindAddress, prefix: p}, nil
}

// String is the rule as ParseRule reads it, in its shortest form.
func (r Rule) String() string {
	host := r.name
	switch {
	case r.kind == kindAny:
		host = "*"
	case r.kind == kindBelow:
		host = "*" + r.name
	case r.kind == kindAddress && r.prefix.IsSingleIP():
		host = r.prefix.Addr().String()
	case r.kind == kindAddress:
		host = r.prefix.String()
	}
	if r.lo == 0 && r.hi == maxPort {
		return host
	}
	if r.kind == kindAddress && r.prefix.Addr().Is6() {
		host = "[" + host + "]"
	}
	if r.lo == r.hi {
		return fmt.Sprintf("%s:%d", host, r.lo)
	}
	return fmt.Sprintf("%s:%d-%d", host, r.lo, r.hi)
}

// matches reports whether the rule names t.
func (r Rule) matches(t target) bool { return r.hasPort(t.port) && r.hasHost(t) }

func (r Rule) hasPort(port uint16) bool { return r.lo <= port && port <= r.hi }

// hasHost reports whether the rule names t, whatever its port.
func (r Rule) hasHost(t target) bool {
	switch r.kind {
	case kindAny:
		return true
	case kindAddress:
		return r.prefix.Contains(t.addr)
	case kindName:
		return r.name == t.name
	default:
		return strings.HasSuffix(t.name, r.name)
	}
}

// byName reports whether the rule names t by its name.
func (r Rule) byName(t target) bool {
	return (r.kind == kindName || r.kind == kindBelow) && r.matches(t)
}

// match finds the first rule that names t.
func match(rules []Rule, t target) (Rule, bool) {
	for _, r := range rules {
		if r.matches(t) {
			return r, true
		}
	}
	return Rule{}, false
}

// parseRules reads a list of rules; which says in errors what the list is.
func parseRules(which string, list []string) ([]Rule, error) {
	rules := make([]Rule, len(list))
	for i, s := range list {
		var err error
		if rules[i], err = ParseRule(s); err != nil {
			return nil, fmt.Errorf("%s %w", which, err)
		}
	}
	return rules, nil
}
