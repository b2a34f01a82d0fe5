// Package policy says who may dial and listen where: rules of the operator's
// and of a token's, by resolved address, by name and by port, and addresses
// that are refused unless the operator names them. It decides; it resolves and
// dials nothing.
package policy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"

	"github.com/adit-tunnel/adit/internal/site"
)

// A Policy decides which targets may be dialled. A target is refused if a deny
// rule matches it, and else allowed if there are no allow rules or one of them
// matches.
//
// Some addresses are refused even so, until an allow rule names them, the
// address itself or a range no wider than what is listed here: 169.254.0.0/16,
// fe80::/10, fd00:ec2::254 and 100.100.100.200 (link-local, and the metadata
// services of clouds), 224.0.0.0/4, ff00::/8, 255.255.255.255 and the broadcast
// addresses of this host's networks. Adit's own listeners are refused until an
// allow rule names one address and one port. Names and * lift nothing.
//
// The zero Policy has the built-in denies alone. Policies may be used by
// several goroutines at once.
type Policy struct {
	outer       *Policy // asked first, and the one that has the built-in denies; nil if this one has
	allow, deny []Rule
	limit       atomic.Pointer[Policy] // asked last; nil: there is none
	self        self                   // only of the outermost
}

// New makes the policy of an operator's rules, as ParseRule reads them.
func New(allow, deny []string) (*Policy, error) {
	allowed, err := parseRules("allow", allow)
	if err != nil {
		return nil, err
	}
	denied, err := parseRules("deny", deny)
	if err != nil {
		return nil, err
	}
	return &Policy{allow: allowed, deny: denied}, nil
}

// Narrow makes a policy that allows what p allows and these rules too. They
// can lift nothing that p refuses, and need not lift again what p allows.
func (p *Policy) Narrow(allow, deny []string) (*Policy, error) {
	inner, err := New(allow, deny)
	if err != nil {
		return nil, err
	}
	inner.outer = p
	return inner, nil
}

// DenySelf adds ports at which adit itself listens. From then on CheckHere
// refuses them on every address of this host. It holds for the policies that p
// was narrowed from and to.
func (p *Policy) DenySelf(ports ...uint16) {
	for p.outer != nil {
		p = p.outer
	}
	p.self.addPorts(ports)
}

// CheckHere decides about a target that is dialled from this machine. addr is
// what will be dialled, and name what it was resolved from, empty if it was
// asked for by address. The error of a refusal is a *site.DialError with the
// reason site.Denied.
func (p *Policy) CheckHere(name string, addr netip.AddrPort) error {
	if !addr.Addr().IsValid() {
		return denied(name, addr.Port(), whyNoAddress, "")
	}
	t := target{name: fold(name), addr: plain(addr.Addr()), port: addr.Port()}
	why := p.judgeAll(t, true)
	switch {
	case why == "":
		return nil
	case name == "":
		return denied(addr.Addr().String(), addr.Port(), why, "")
	default:
		return denied(name, addr.Port(), why, " (it resolves to "+addr.Addr().String()+")")
	}
}

// CheckThere decides about a target that someone else resolves, such as an SSH
// server or a proxy: host is an IP address or a name, as it will be sent.
// Spellings of an address that resolvers understand ("127.1", "0x7f000001")
// are judged as that address; what is neither address nor name is refused.
//
// What a name will resolve to is not known here. So where the rules refuse
// addresses on this port, names are refused too, but for those that a rule
// allows by name. The built-in denies refuse addresses only. Errors are as
// those of CheckHere.
func (p *Policy) CheckThere(host string, port uint16) error {
	t, ok := parseHost(host, port)
	why := whyNoHost
	if ok {
		why = p.judgeAll(t, false)
	}
	if why == "" {
		return nil
	}
	return denied(host, port, why, "")
}

// denied is the error of a refusal.
func denied(host string, port uint16, why, besides string) error {
	return &site.DialError{Reason: site.Denied, Address: printable(host, port), Err: because(why, besides)}
}

// printable is host:port for messages. A host that is no plain text is quoted:
// it may come from anyone, and goes to logs.
func printable(host string, port uint16) string {
	if quoted := strconv.QuoteToASCII(host); len(quoted) != len(host)+2 {
		host = quoted
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// byRule is why a deny rule refuses.
func byRule(r Rule) string { return fmt.Sprintf("denied by rule %q", r.String()) }
