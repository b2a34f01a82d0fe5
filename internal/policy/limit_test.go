package policy

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func limitTo(t *testing.T, p interface{ SetLimit([]string) error }, list string) {
	t.Helper()
	if err := p.SetLimit(strings.Fields(list)); err != nil {
		t.Fatal(err)
	}
}

func TestALimitNarrowsWhatTheRulesAllow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		allow, deny, limit string
		name, addr         string
		why                string
		limited            bool
	}{
		{"", "", "10.0.0.0/8", "", "10.1.2.3:80", "", false},
		{"", "", "10.0.0.0/8", "", "11.1.2.3:80", `denied: not among the setting "allowedDestinations"`, true},
		{"", "", "10.0.0.0/8:80-90", "", "10.1.2.3:91", whyLimit, true},
		{"", "", "a.example", "a.example", "10.1.2.3:80", "", false},
		{"", "", "a.example", "b.example", "10.1.2.3:80", whyLimit + " (it resolves to 10.1.2.3)", true},
		{"", "", "127.0.0.1", "", "0.0.0.0:80", "", false},
		{"", "", "10.0.0.0/8", "", "0.0.0.0:80", whyLimit, true},

		// What the rules refuse stays refused, and they say so themselves.
		{"10.0.0.0/8", "", "*", "", "11.1.2.3:80", whyNotAllowed, false},
		{"10.0.0.0/8", "", "11.0.0.0/8", "", "11.1.2.3:80", whyNotAllowed, false},
		{"10.0.0.0/8", "", "11.0.0.0/8", "", "10.1.2.3:80", whyLimit, true},
		{"", "10.0.0.0/8", "10.0.0.0/8", "", "10.1.2.3:80", `denied by rule "10.0.0.0/8"`, false},
		{"", "", "169.254.169.254", "", "169.254.169.254:80", whyLinkLocal, false},
		{"", "", "127.0.0.1:3000", "", "127.0.0.1:3000", whySelf, false},
		{"169.254.169.254", "", "*", "", "169.254.169.254:80", "", false},
		{"169.254.169.254", "", "169.254.0.0/16", "", "169.254.169.254:80", "", false},
	} {
		p := rules(t, tt.allow, tt.deny)
		p.DenySelf(3000)
		limitTo(t, p, tt.limit)
		err := p.CheckHere(tt.name, netip.MustParseAddrPort(tt.addr))
		what := tt.allow + " without " + tt.deny + ", limited to " + tt.limit + ": " + tt.name + " " + tt.addr
		wantDecision(t, what, err, tt.why)
		if errors.Is(err, ErrLimited) != tt.limited {
			t.Errorf("%s: %v is by the limit: %v", what, err, !tt.limited)
		}
	}
}

func TestALimitNarrowsNamesThatAreResolvedElsewhere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ limit, host, why string }{
		{"*", "a.example", ""},
		{"*.example", "a.example", ""},
		{"*.example:443", "a.example", whyLimit},
		{"b.example", "a.example", whyLimit},
		{"10.0.0.0/8", "10.1.2.3", ""},
		{"10.0.0.0/8", "11.1.2.3", whyLimit},
		{"10.0.0.0/8", "a.example", whyLimitElsewhere},
		{"10.0.0.0/8 a.example", "a.example", ""},
	} {
		p := rules(t, "", "")
		limitTo(t, p, tt.limit)
		err := p.CheckThere(tt.host, 80)
		wantDecision(t, "limited to "+tt.limit+": "+tt.host, err, tt.why)
		if (tt.why != "") != errors.Is(err, ErrLimited) {
			t.Errorf("%v is not by the limit", err)
		}
	}
}

func TestALimitHoldsForPoliciesNarrowedBeforeAndAfter(t *testing.T) {
	t.Parallel()
	p := rules(t, "", "")
	before, err := p.Narrow([]string{"10.0.0.0/8", "11.0.0.0/8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	limitTo(t, p, "10.0.0.0/8 12.0.0.0/8")
	after, err := p.Narrow(nil, []string{"10.9.9.9"})
	if err != nil {
		t.Fatal(err)
	}
	at := func(addr string) netip.AddrPort { return netip.MustParseAddrPort(addr + ":80") }
	wantDecision(t, "before", before.CheckHere("", at("10.1.2.3")), "")
	wantDecision(t, "before", before.CheckHere("", at("11.1.2.3")), whyLimit)
	wantDecision(t, "before", before.CheckHere("", at("12.1.2.3")), whyNotAllowed)
	wantDecision(t, "after", after.CheckHere("", at("11.1.2.3")), whyLimit)
	wantDecision(t, "after", after.CheckHere("", at("10.9.9.9")), `denied by rule "10.9.9.9"`)
	limitTo(t, p, "")
	wantDecision(t, "without a limit", before.CheckHere("", at("11.1.2.3")), "")
}

func TestALimitThatDoesNotParseChangesNothing(t *testing.T) {
	t.Parallel()
	p, binds := rules(t, "", ""), new(BindRules)
	limitTo(t, p, "10.0.0.0/8")
	limitTo(t, binds, "127.0.0.1")
	for _, err := range []error{p.SetLimit([]string{"11.0.0.0/8", "10.0.0.1/8"}), binds.SetLimit([]string{"0.0.0.0", "300.1.1.1"})} {
		if err == nil || !strings.HasPrefix(err.Error(), "allowed") {
			t.Errorf("%v does not name the setting", err)
		}
	}
	wantDecision(t, "the old limit", p.CheckHere("", netip.MustParseAddrPort("11.1.2.3:80")), whyLimit)
	if binds.Check("0.0.0.0", 80) == nil {
		t.Error("the old limit of listen addresses is gone")
	}
}

func TestALimitNarrowsBindRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules, limit string
		host         string
		port         uint16
		want         string
	}{
		{"", "127.0.0.1", "127.0.0.1", 80, ""},
		{"", "127.0.0.1", "localhost", 0, ""},
		{"", "127.0.0.1", "0.0.0.0", 80, `listen 0.0.0.0:80: denied: not among the setting "allowedBinds"`},
		{"", "127.0.0.1:8000-9000", "127.0.0.1", 7999, `listen 127.0.0.1:7999: denied: not among the setting "allowedBinds"`},
		{"", "127.0.0.1:8000-9000", "127.0.0.1", 0, `listen 127.0.0.1:0: denied: not among the setting "allowedBinds"`},
		{"127.0.0.1", "*", "127.0.0.1", 80, ""},
		{"127.0.0.1", "*", "127.0.0.2", 80, "listen 127.0.0.2:80: denied: no bind rule allows it"},
		{"127.0.0.1", "127.0.0.2", "127.0.0.2", 80, "listen 127.0.0.2:80: denied: no bind rule allows it"},
		{"127.0.0.1", "127.0.0.2", "127.0.0.1", 80, `listen 127.0.0.1:80: denied: not among the setting "allowedBinds"`},
		{"127.0.0.1", "", "127.0.0.1", 80, ""},
	} {
		b, err := NewBind(strings.Fields(tt.rules))
		if err != nil {
			t.Fatal(err)
		}
		limitTo(t, b, "203.0.113.1")
		limitTo(t, b, tt.limit)
		got := ""
		if err = b.Check(tt.host, tt.port); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s limited to %s: %q, want %q", tt.rules, tt.limit, got, tt.want)
		}
		if byLimit := strings.Contains(tt.want, "setting"); err != nil && (!errors.Is(err, ErrBindDenied) || errors.Is(err, ErrLimited) != byLimit) {
			t.Errorf("%v is not what it says", err)
		}
	}
}

// Each check sees one list or the other, and -race finds nothing.
func TestLimitsChangeWhileTheyAreAsked(t *testing.T) {
	t.Parallel()
	p, binds := rules(t, "", ""), new(BindRules)
	inner, err := p.Narrow(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	limitTo(t, p, "10.0.0.1")
	limitTo(t, binds, "10.0.0.1")
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 500 {
				if inner.CheckHere("", netip.MustParseAddrPort("10.0.0.3:80")) == nil || binds.Check("10.0.0.3", 80) == nil {
					t.Error("allowed what no list has")
				}
				if inner.CheckThere("10.0.0.1", 80) != nil || binds.Check("10.0.0.1", 80) != nil {
					t.Error("refused what every list has")
				}
			}
		})
	}
	for range 500 {
		limitTo(t, p, "10.0.0.1 10.0.0.2")
		limitTo(t, binds, "10.0.0.1 10.0.0.2")
		limitTo(t, p, "10.0.0.1")
		limitTo(t, binds, "10.0.0.1")
	}
	all.Wait()
}
