package policy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/site"
)

// rules makes a policy of lists with blanks between the rules.
func rules(t *testing.T, allow, deny string) *Policy {
	t.Helper()
	p, err := New(strings.Fields(allow), strings.Fields(deny))
	if err != nil {
		t.Fatal(err)
	}
	p.self.interfaces = testInterfaces
	return p
}

// wantDecision compares a decision with what is wanted: nothing, or a refusal
// that says why.
func wantDecision(t *testing.T, what string, err error, why string) {
	t.Helper()
	if why == "" {
		if err != nil {
			t.Errorf("%s: %v; want it allowed", what, err)
		}
		return
	}
	var dial *site.DialError
	switch {
	case err == nil:
		t.Errorf("%s is allowed; want %q", what, why)
	case !errors.As(err, &dial) || dial.Reason != site.Denied || site.ReasonOf(err) != site.Denied:
		t.Errorf("%s: %v is no refusal", what, err)
	case !strings.HasPrefix(dial.Err.Error(), why):
		t.Errorf("%s: %v; want %q", what, err, why)
	}
}

func TestCheckHere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		allow, deny string
		name, addr  string
		why         string
	}{
		// No rules: all but the built-in denies.
		{"", "", "", "192.0.2.7:80", ""},
		{"", "", "", "127.0.0.1:80", ""},
		{"", "", "", "[::1]:80", ""},
		{"", "", "", "0.0.0.0:80", ""},
		{"", "", "", "10.0.0.1:22", ""},
		{"", "", "a.example", "192.0.2.7:80", ""},

		// Deny rules.
		{"", "10.0.0.0/8", "", "10.1.2.3:80", `denied by rule "10.0.0.0/8"`},
		{"", "10.0.0.0/8", "", "11.0.0.0:80", ""},
		{"", "10.0.0.0/8:22", "", "10.1.2.3:22", `denied by rule "10.0.0.0/8:22"`},
		{"", "10.0.0.0/8:22", "", "10.1.2.3:23", ""},
		{"", "*:25-26", "", "10.1.2.3:24", ""},
		{"", "*:25-26", "", "10.1.2.3:25", `denied by rule "*:25-26"`},
		{"", "*:25-26", "", "10.1.2.3:26", `denied by rule "*:25-26"`},
		{"", "*:25-26", "", "10.1.2.3:27", ""},
		{"", "192.0.2.7", "", "[::ffff:192.0.2.7]:80", `denied by rule "192.0.2.7"`},
		{"", "192.0.2.7", "a.example", "192.0.2.7:80", `denied by rule "192.0.2.7"`},
		{"", "::ffff:192.0.2.7", "", "192.0.2.7:80", `denied by rule "192.0.2.7"`},
		{"", "2001:db8::1", "", "[2001:db8::1%eth0]:80", `denied by rule "2001:db8::1"`},
		{"", "0.0.0.0/0", "", "[2001:db8::1]:80", ""},
		{"", "::/0", "", "192.0.2.7:80", ""},
		{"", "::/0", "", "[::ffff:192.0.2.7]:80", ""},
		{"", "a.example", "a.example", "192.0.2.7:80", `denied by rule "a.example"`},
		{"", "a.example", "A.Example.", "192.0.2.7:80", `denied by rule "a.example"`},
		{"", "a.example", "b.a.example", "192.0.2.7:80", ""},
		{"", "a.example", "", "192.0.2.7:80", ""},
		{"", "*.example", "a.example", "192.0.2.7:80", `denied by rule "*.example"`},
		{"", "*.example", "B.A.example.", "192.0.2.7:80", `denied by rule "*.example"`},
		{"", "*.example", "example", "192.0.2.7:80", ""},
		{"", "*.example", "anexample", "192.0.2.7:80", ""},
		{"", "*.example", "", "192.0.2.7:80", ""},

		// Allow rules, by name or by address; deny comes first.
		{"10.0.0.0/8", "", "", "10.1.2.3:80", ""},
		{"10.0.0.0/8", "", "", "11.0.0.0:80", whyNotAllowed},
		{"10.0.0.0/8", "", "a.example", "10.1.2.3:80", ""},
		{"10.0.0.0/8:22", "", "", "10.1.2.3:23", whyNotAllowed},
		{"a.example", "", "a.example", "10.1.2.3:80", ""},
		{"a.example", "", "b.example", "10.1.2.3:80", whyNotAllowed},
		{"a.example", "", "", "10.1.2.3:80", whyNotAllowed},
		{"*.example:443 10.0.0.0/8:22", "", "a.example", "192.0.2.7:443", ""},
		{"*.example:443 10.0.0.0/8:22", "", "a.example", "10.0.0.1:22", ""},
		{"*.example:443 10.0.0.0/8:22", "", "a.example", "192.0.2.7:22", whyNotAllowed},
		{"10.0.0.0/8", "10.0.0.1", "", "10.0.0.1:80", `denied by rule "10.0.0.1"`},
		{"10.0.0.1", "10.0.0.0/8", "", "10.0.0.1:80", `denied by rule "10.0.0.0/8"`},
		{"a.example", "10.0.0.0/8", "a.example", "10.0.0.1:80", `denied by rule "10.0.0.0/8"`},

		// The unspecified addresses mean this host.
		{"", "127.0.0.0/8", "", "0.0.0.0:80", `denied by rule "127.0.0.0/8"`},
		{"", "127.0.0.0/8", "", "[::ffff:0.0.0.0]:80", `denied by rule "127.0.0.0/8"`},
		{"", "127.0.0.0/8", "", "[::]:80", `denied by rule "127.0.0.0/8"`},
		{"", "::1", "", "[::]:80", `denied by rule "::1"`},
		{"", "::1", "", "0.0.0.0:80", ""},
		{"", "0.0.0.0/8", "", "0.0.0.0:80", `denied by rule "0.0.0.0/8"`},
		{"", "::", "", "[::]:80", `denied by rule "::"`},
		{"127.0.0.1", "", "", "0.0.0.0:80", ""},
		{"127.0.0.1", "", "", "[::]:80", whyNotAllowed},
		{"127.0.0.1 ::1", "", "", "[::]:80", ""},
		{"::/0", "", "", "[::]:80", whyNotAllowed},
		{"10.0.0.0/8", "", "", "0.0.0.0:80", whyNotAllowed},
	}
	for _, tt := range tests {
		p := rules(t, tt.allow, tt.deny)
		err := p.CheckHere(tt.name, netip.MustParseAddrPort(tt.addr))
		wantDecision(t, "allow ["+tt.allow+"] deny ["+tt.deny+"] "+tt.name+" "+tt.addr, err, tt.why)
	}
}

func TestBuiltinDeniesAreLiftedOnlyByNamingTheAddress(t *testing.T) {
	t.Parallel()
	tests := []struct{ allow, addr, why string }{
		{"", "169.254.169.254", whyLinkLocal},
		{"", "169.254.0.0", whyLinkLocal},
		{"", "169.254.255.255", whyLinkLocal},
		{"", "169.253.255.255", ""},
		{"", "169.255.0.0", ""},
		{"", "::ffff:169.254.169.254", whyLinkLocal},
		{"", "fe80::1", whyLinkLocal},
		{"", "fe80::1%eth0", whyLinkLocal},
		{"", "febf:ffff::1", whyLinkLocal},
		{"", "fec0::1", ""},
		{"", "fd00:ec2::254", whyLinkLocal},
		{"", "fd00:ec2::253", ""},
		{"", "100.100.100.200", whyLinkLocal},
		{"", "100.100.100.201", ""},
		{"", "224.0.0.1", whyMulticast},
		{"", "239.255.255.250", whyMulticast},
		{"", "240.0.0.1", ""},
		{"", "ff02::1", whyMulticast},
		{"", "255.255.255.255", whyMulticast},

		{"*", "169.254.169.254", whyLinkLocal},
		{"0.0.0.0/0", "169.254.169.254", whyLinkLocal},
		{"169.254.0.0/15", "169.254.169.254", whyLinkLocal},
		{"169.254.0.0/16", "169.254.169.254", ""},
		{"169.254.169.0/24", "169.254.169.254", ""},
		{"169.254.169.0/24", "169.254.168.1", whyLinkLocal},
		{"169.254.169.254", "169.254.169.254", ""},
		{"::ffff:169.254.169.254", "169.254.169.254", ""},
		{"169.254.169.254", "::ffff:169.254.169.254", ""},
		{"169.254.169.254:80", "169.254.169.254", ""},
		{"169.254.169.254:81", "169.254.169.254", whyLinkLocal},
		{"169.254.169.254", "169.254.169.253", whyLinkLocal},
		{"169.254.169.254", "192.0.2.7", whyNotAllowed},
		{"169.254.169.254 *", "192.0.2.7", ""},
		{"169.254.169.254 *", "169.254.169.254", ""},
		{"169.254.169.254 *", "169.254.169.253", whyLinkLocal},
		{"fe80::/10", "fe80::1%eth0", ""},
		{"fe80::/9", "fe80::1", whyLinkLocal},
		{"100.100.100.200", "100.100.100.200", ""},
		{"100.100.100.200/31", "100.100.100.200", whyLinkLocal},
		{"fd00:ec2::/32", "fd00:ec2::254", whyLinkLocal},
		{"fd00:ec2::254", "fd00:ec2::254", ""},
		{"224.0.0.0/4", "239.1.2.3", ""},
		{"224.0.0.0/3", "239.1.2.3", whyMulticast},
		{"ff02::/16", "ff02::1", ""},
		{"255.255.255.255", "255.255.255.255", ""},
		{"a.example", "169.254.169.254", whyLinkLocal},
	}
	for _, tt := range tests {
		addr := netip.MustParseAddr(tt.addr)
		what := "allow [" + tt.allow + "] " + tt.addr
		p := rules(t, tt.allow, "")
		wantDecision(t, what+" here", p.CheckHere("", netip.AddrPortFrom(addr, 80)), tt.why)
		wantDecision(t, what+" there", p.CheckThere(tt.addr, 80), tt.why)
		if tt.why != whyNotAllowed {
			// What a name resolves to is refused too, though the name is allowed.
			named := p.CheckHere("a.example", netip.AddrPortFrom(addr, 80))
			wantDecision(t, what+" by name", named, tt.why)
		}
	}
	p := rules(t, "169.254.169.254", "169.254.0.0/16")
	wantDecision(t, "lifted and denied", p.CheckThere("169.254.169.254", 80), "denied by rule")
}

func TestCheckThere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		allow, deny string
		host        string
		why         string
	}{
		{"", "", "192.0.2.7", ""},
		{"", "", "127.0.0.1", ""},
		{"", "", "a.example", ""},
		{"", "", "localhost", ""},
		{"", "", "2852039166", whyLinkLocal},
		{"", "", "0xa9.254.169.254", whyLinkLocal},
		{"", "", "169.254.169.254.", whyLinkLocal},
		{"", "", "fe80::1%eth0", whyLinkLocal},
		{"", "", "", whyNoHost},
		{"", "", "a b", whyNoHost},
		{"", "", "169.254.169.254 x", whyNoHost},
		{"", "", "１６９.254.169.254", whyNoHost},
		{"", "", "1.2.3.4.5", whyNoHost},

		// Rules for addresses apply to literals, however they are spelt.
		{"", "127.0.0.0/8", "127.0.0.1", "denied by rule"},
		{"", "127.0.0.0/8", "127.1", "denied by rule"},
		{"", "127.0.0.0/8", "0x7f.1", "denied by rule"},
		{"", "127.0.0.0/8", "2130706433", "denied by rule"},
		{"", "127.0.0.0/8", "0177.0.0.1", "denied by rule"},
		{"", "127.0.0.0/8", "::ffff:127.0.0.1", "denied by rule"},
		{"", "127.0.0.0/8", "0", "denied by rule"},
		{"", "127.0.0.0/8", "::", "denied by rule"},
		{"", "127.0.0.0/8", "192.0.2.7", ""},
		{"127.0.0.1", "", "127.1", ""},
		{"127.0.0.1", "", "127.2", whyNotAllowed},

		// If there are any that could refuse, names need a rule for names.
		{"", "10.0.0.0/8", "a.example", whyElsewhere},
		{"", "10.0.0.0/8:80", "a.example", whyElsewhere},
		{"", "10.0.0.0/8:81", "a.example", ""},
		{"*", "10.0.0.0/8", "a.example", whyElsewhere},
		{"*", "10.0.0.0/8", "192.0.2.7", ""},
		{"* a.example", "10.0.0.0/8", "a.example", ""},
		{"* *.example", "10.0.0.0/8", "b.a.example", ""},
		{"* *.example", "10.0.0.0/8", "example", whyElsewhere},
		{"* a.example:81", "10.0.0.0/8", "a.example", whyElsewhere},
		{"10.0.0.0/8", "", "a.example", whyElsewhere},
		{"10.0.0.0/8 a.example", "", "A.Example.", ""},
		{"10.0.0.0/8 a.example", "", "b.example", whyElsewhere},
		{"10.0.0.0/8 *", "", "a.example", ""},
		{"10.0.0.0/8 *:80", "", "a.example", ""},
		{"10.0.0.0/8 *:81", "", "a.example", whyElsewhere},
		{"169.254.169.254 *", "", "a.example", ""},

		// Rules for names apply to names.
		{"a.example", "", "a.example", ""},
		{"a.example", "", "b.example", whyNotAllowed},
		{"a.example", "", "192.0.2.7", whyNotAllowed},
		{"", "a.example", "a.example", "denied by rule"},
		{"", "a.example", "A.EXAMPLE.", "denied by rule"},
		{"", "a.example", "b.example", ""},
		{"a.example", "*.example", "a.example", "denied by rule"},
		{"", "*:80", "a.example", "denied by rule"},
		{"", "*:81", "a.example", ""},

		// localhost is loopback everywhere.
		{"localhost", "127.0.0.0/8", "localhost", "denied by rule"},
		{"*.localhost", "::1", "a.LOCALHOST.", "denied by rule"},
		{"localhost", "127.0.0.0/8:81", "localhost", ""},
		{"localhost", "10.0.0.0/8", "localhost.", ""},
		{"*.b", "127.0.0.0/8", "localhost.b", ""},
	}
	for _, tt := range tests {
		p := rules(t, tt.allow, tt.deny)
		what := "allow [" + tt.allow + "] deny [" + tt.deny + "] " + tt.host
		wantDecision(t, what, p.CheckThere(tt.host, 80), tt.why)
	}
}

func TestNarrowOnlyTakesAway(t *testing.T) {
	t.Parallel()
	outer := rules(t, "169.254.169.254 10.0.0.0/8 *.example", "10.0.0.1")
	narrow := func(allow, deny string) *Policy {
		p, err := outer.Narrow(strings.Fields(allow), strings.Fields(deny))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	tests := []struct{ allow, deny, host, why string }{
		{"", "", "10.0.0.2", ""},
		{"", "", "10.0.0.1", `denied by rule "10.0.0.1"`},
		{"10.0.0.1", "", "10.0.0.1", `denied by rule "10.0.0.1"`},
		{"192.0.2.7", "", "192.0.2.7", whyNotAllowed},
		{"10.0.0.2", "", "10.0.0.3", whyNotAllowed},
		{"", "10.0.0.3", "10.0.0.3", `denied by rule "10.0.0.3"`},
		{"", "", "169.254.169.254", ""}, // lifted once is lifted
		{"*", "", "169.254.169.254", ""},
		{"fe80::/10", "", "fe80::1", whyLinkLocal},
		{"", "", "a.example", ""},
		{"a.example", "", "a.example", ""},
		{"", "10.0.0.0/8", "a.example", whyElsewhere},
	}
	for _, tt := range tests {
		p := narrow(tt.allow, tt.deny)
		what := "allow [" + tt.allow + "] deny [" + tt.deny + "] " + tt.host
		wantDecision(t, what+" there", p.CheckThere(tt.host, 80), tt.why)
		if ip, err := netip.ParseAddr(tt.host); err == nil {
			wantDecision(t, what+" here", p.CheckHere("", netip.AddrPortFrom(ip, 80)), tt.why)
		}
	}
}

func TestARefusalNamesTheTarget(t *testing.T) {
	t.Parallel()
	p := rules(t, "", "10.0.0.0/8:22 2001:db8::/32")
	tests := []struct {
		err  error
		want string
	}{
		{p.CheckHere("", netip.MustParseAddrPort("10.0.0.1:22")), `dial 10.0.0.1:22: denied by rule "10.0.0.0/8:22"`},
		{p.CheckHere("db.lan", netip.MustParseAddrPort("10.0.0.1:22")), `dial db.lan:22: denied by rule "10.0.0.0/8:22" (it resolves to 10.0.0.1)`},
		{p.CheckHere("", netip.MustParseAddrPort("[2001:db8::1]:22")), `dial [2001:db8::1]:22: denied by rule "2001:db8::/32"`},
		{p.CheckHere("db.lan", netip.AddrPort{}), `dial db.lan:0: ` + whyNoAddress},
		{p.CheckThere("10.1", 22), `dial 10.1:22: denied by rule "10.0.0.0/8:22"`},
		{p.CheckThere("db.lan", 22), `dial db.lan:22: ` + whyElsewhere},
		{p.CheckThere("a\nb", 22), `dial "a\nb":22: ` + whyNoHost},
	}
	for _, tt := range tests {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("error is %v, want %s", tt.err, tt.want)
		}
	}
}

func TestTheZeroPolicyHasTheBuiltinDenies(t *testing.T) {
	t.Parallel()
	p := new(Policy)
	wantDecision(t, "metadata", p.CheckHere("", netip.MustParseAddrPort("169.254.169.254:80")), whyLinkLocal)
	wantDecision(t, "loopback", p.CheckHere("", netip.MustParseAddrPort("127.0.0.1:80")), "")
	p.DenySelf(80)
	wantDecision(t, "itself", p.CheckHere("", netip.MustParseAddrPort("127.0.0.1:80")), whySelf)
}

func TestADecisionThatAllowsTakesNoMemory(t *testing.T) {
	p := rules(t, "10.0.0.0/8 *.example", "10.0.0.1")
	addr := netip.MustParseAddrPort("10.0.0.7:80")
	allowed := true
	n := testing.AllocsPerRun(100, func() {
		allowed = allowed && p.CheckHere("a.example", addr) == nil && p.CheckThere("a.example", 80) == nil
	})
	if !allowed || n > 0 {
		t.Errorf("allowed: %v, with %v allocations", allowed, n)
	}
}

func BenchmarkCheckHere(b *testing.B) {
	p, err := New([]string{"10.0.0.0/8", "*.example"}, []string{"10.0.0.1", "*:25"})
	if err != nil {
		b.Fatal(err)
	}
	p.DenySelf(3000, 8765)
	addr := netip.MustParseAddrPort("10.0.0.7:80")
	b.ReportAllocs()
	for b.Loop() {
		if err := p.CheckHere("a.example", addr); err != nil {
			b.Fatal(err)
		}
	}
}
