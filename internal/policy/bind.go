package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
)

// ErrBindDenied is wrapped by the errors of BindRules.
var ErrBindDenied = errors.New("denied: no bind rule allows it")

// BindRules decide where may be listened. Without any, everywhere. They may be
// used by several goroutines at once.
type BindRules struct {
	allow []Rule
	limit atomic.Pointer[BindRules] // asked last; nil: there is none
}

// NewBind makes the rules of a list, as ParseRule reads them.
func NewBind(allow []string) (*BindRules, error) {
	rules, err := parseRules("bind", allow)
	if err != nil {
		return nil, err
	}
	return &BindRules{allow: rules}, nil
}

// Check decides about listening at host and port, on this machine or another.
//
// host is an IP address or a name; empty and * mean both 0.0.0.0 and ::, which
// must both be allowed. The unspecified addresses are compared as they are:
// 0.0.0.0 is allowed by a rule for it, for a range that begins with it, or by
// *. localhost is allowed by its name or as 127.0.0.1, other names by name.
//
// Port 0, where the system picks one, is allowed by rules without ports, and
// by those that hold all that an unprivileged user can get, 1024 to 65535.
//
// The error of a refusal wraps ErrBindDenied, and ErrLimited when the limit
// refuses.
func (b *BindRules) Check(host string, port uint16) error {
	if len(b.allow) > 0 && !b.allows(host, port) {
		return fmt.Errorf("listen %s: %w", printable(host, port), ErrBindDenied)
	}
	if limit := b.limit.Load(); limit != nil && !limit.allows(host, port) {
		return fmt.Errorf("listen %s: %w", printable(host, port), errBindLimit)
	}
	return nil
}

func (b *BindRules) allows(host string, port uint16) bool {
	if host == "" || host == "*" {
		return b.matches(target{addr: netip.IPv4Unspecified(), port: port}) &&
			b.matches(target{addr: netip.IPv6Unspecified(), port: port})
	}
	t, ok := parseHost(host, port)
	if !ok {
		return false
	}
	return b.matches(t) || t.name == "localhost" && b.matches(target{addr: loopback4[0], port: port})
}

func (b *BindRules) matches(t target) bool {
	for _, r := range b.allow {
		if r.hasHost(t) && (r.hasPort(t.port) || t.port == 0 && r.lo <= 1024 && r.hi == maxPort) {
			return true
		}
	}
	return false
}
