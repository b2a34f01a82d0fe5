package policy

import (
	"errors"
	"slices"
)

// The settings that limits come from, as refusals name them.
const (
	SettingDestinations = "allowedDestinations"
	SettingBinds        = "allowedBinds"
)

// ErrLimited is what refusals are, for errors.Is, that a limit made and that the
// rules around it would not have made.
var ErrLimited = errors.New("denied by a setting of the operator's")

// Why a limit refuses.
const (
	whyLimit          = `denied: not among the setting "` + SettingDestinations + `"`
	whyLimitElsewhere = `denied: the setting "` + SettingDestinations + `" has addresses, and this name is resolved elsewhere: it needs an entry for the name`
	whyBindLimit      = `denied: not among the setting "` + SettingBinds + `"`
)

// SetLimit sets what targets must match besides, from now on: rules as ParseRule
// reads them, none for no limit. It lifts nothing that p refuses, and holds for
// the policies that were or will be narrowed from p, too. On an error the limit
// stays as it was.
//
// It replaces the one before at one moment. A connection that was allowed is not
// asked about again.
func (p *Policy) SetLimit(allow []string) error {
	rules, err := parseRules(SettingDestinations, allow)
	if err != nil {
		return err
	}
	if len(rules) == 0 {
		p.limit.Store(nil)
		return nil
	}
	p.limit.Store(&Policy{outer: p, allow: rules}) // not outermost: the built-in denies are p's
	return nil
}

// judgeLimit says why the limit refuses what p allows.
func (p *Policy) judgeLimit(t target, here bool) string {
	limit := p.limit.Load()
	if limit == nil {
		return ""
	}
	switch why := limit.judge(t, here); why {
	case whyNotAllowed:
		return whyLimit
	case whyElsewhere:
		return whyLimitElsewhere
	default:
		return why
	}
}

// SetLimit sets what listen addresses must match besides, from now on: rules as
// ParseRule reads them, none for no limit. It allows nothing that b refuses. On
// an error the limit stays as it was. What listens already goes on.
func (b *BindRules) SetLimit(allow []string) error {
	rules, err := parseRules(SettingBinds, allow)
	if err != nil {
		return err
	}
	if len(rules) == 0 {
		b.limit.Store(nil)
		return nil
	}
	b.limit.Store(&BindRules{allow: rules})
	return nil
}

// refusal is why something is refused. It is also what errors.Is may ask for.
type refusal struct {
	why string
	is  []error
}

func (r *refusal) Error() string        { return r.why }
func (r *refusal) Is(target error) bool { return slices.Contains(r.is, target) }

var errBindLimit = &refusal{whyBindLimit, []error{ErrBindDenied, ErrLimited}}

// because makes the error of a reason, with what is to be said besides.
func because(why, besides string) error {
	r := &refusal{why: why + besides}
	if why == whyLimit || why == whyLimitElsewhere {
		r.is = []error{ErrLimited}
	}
	return r
}
