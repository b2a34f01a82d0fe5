package clientaddr

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

var trust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestAClientsAddressIsWhatTheLastTrustedProxySaw(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		remote    string
		forwarded []string
		want      string
		told      bool
	}{
		{"192.0.2.1:99", nil, "192.0.2.1", false},
		{"192.0.2.1:99", []string{"198.51.100.1"}, "192.0.2.1", false}, // nobody whom we trust
		{"127.0.0.1:99", nil, "127.0.0.1", false},
		{"127.0.0.1:99", []string{"198.51.100.1"}, "198.51.100.1", true},
		{"127.0.0.1:99", []string{"198.51.100.1, 198.51.100.2"}, "198.51.100.2", true}, // the first one says who it likes to be
		{"127.0.0.1:99", []string{"127.0.0.1, 10.0.0.1, 198.51.100.2"}, "198.51.100.2", true},
		{"127.0.0.1:99", []string{"198.51.100.1", "198.51.100.2, 10.1.2.3"}, "198.51.100.2", true},
		{"127.0.0.1:99", []string{"198.51.100.1,", ", ,10.1.2.3 ,,", ""}, "198.51.100.1", true},
		{"127.0.0.1:99", []string{"10.1.2.3, 10.1.2.4"}, "127.0.0.1", false},
		{"127.0.0.1:99", []string{""}, "127.0.0.1", false},
		{"127.0.0.1:99", []string{"198.51.100.1, nonsense"}, "127.0.0.1", false},
		{"127.0.0.1:99", []string{"198.51.100.1, unknown, 10.1.2.3"}, "127.0.0.1", false},
		{"127.0.0.1:99", []string{"nonsense, 198.51.100.1"}, "198.51.100.1", true}, // what stands before does not matter
		{"127.0.0.1:99", []string{"a secret\nline"}, "127.0.0.1", false},
		{"127.0.0.1:99", []string{"198.51.100.1:4711"}, "198.51.100.1", true},
		{"127.0.0.1:99", []string{"[2001:db8::1]:4711"}, "2001:db8::1", true},
		{"127.0.0.1:99", []string{"[2001:db8::1]"}, "2001:db8::1", true},
		{"127.0.0.1:99", []string{"[2001:db8::1"}, "127.0.0.1", false},
		{"127.0.0.1:99", []string{"198.51.100.256"}, "127.0.0.1", false},
		{"[::ffff:127.0.0.1]:99", []string{"2001:db8::1"}, "2001:db8::1", true},
		{"[fd00::1]:99", []string{"::ffff:198.51.100.1"}, "198.51.100.1", true},
		{"[fd00::1]:99", []string{"::ffff:198.51.100.1, ::ffff:10.0.0.1"}, "198.51.100.1", true},
		{"[fd00::1%eth0]:99", []string{"2001:db8::1"}, "2001:db8::1", true},
		{"[fe80::1%eth0]:99", nil, "fe80::1", false},
		{"127.0.0.1:99", []string{"fe80::1%a"}, "fe80::1", true}, // no client is many by its zones
		{"@", []string{"198.51.100.1"}, "invalid IP", false},
		{"", nil, "invalid IP", false},
	} {
		req := &http.Request{RemoteAddr: r.remote, Header: http.Header{"X-Forwarded-For": r.forwarded}}
		if got, told := Of(req, trust); got.String() != r.want || told != r.told {
			t.Errorf("%s with %q: %s, %t, want %s, %t", r.remote, r.forwarded, got, told, r.want, r.told)
		}
		if _, told := Of(req, nil); told {
			t.Errorf("%s with %q, and nobody trusted: believed", r.remote, r.forwarded)
		}
	}
}

func FuzzOf(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.1")
	f.Add("[2001:db8::1]:80,,fd00::1%eth0")
	f.Add(strings.Repeat("127.0.0.1,", 100) + "x")
	f.Fuzz(func(t *testing.T, line string) {
		req := &http.Request{RemoteAddr: "127.0.0.1:1", Header: http.Header{"X-Forwarded-For": {line}}}
		addr, told := Of(req, trust)
		switch {
		case !addr.IsValid() || addr.Is4In6() || addr.Zone() != "":
			t.Fatalf("%q: %s", line, addr)
		case told == trusted(addr, trust):
			t.Fatalf("%q: %s, told %t", line, addr, told)
		}
	})
}
