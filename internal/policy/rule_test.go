package policy

import (
	"strings"
	"testing"
)

func TestParseRuleReadsTheGrammar(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"*", "*"},
		{"*:443", "*:443"},
		{"*:1-65535", "*:1-65535"},
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.0/8:22", "10.0.0.0/8:22"},
		{"10.0.0.0/8:22-23", "10.0.0.0/8:22-23"},
		{"10.0.0.0/8:22-22", "10.0.0.0/8:22"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"192.0.2.7", "192.0.2.7"},
		{"192.0.2.7/32", "192.0.2.7"},
		{"192.0.2.7:0080", "192.0.2.7:80"},
		{"::/0", "::/0"},
		{"::1", "::1"},
		{"[::1]", "::1"},
		{"[::1]:22", "[::1]:22"},
		{"[::1/128]:22", "[::1]:22"},
		{"2001:DB8::/32", "2001:db8::/32"},
		{"[2001:db8::/32]:1-2", "[2001:db8::/32]:1-2"},
		{"::1:80", "::1:80"}, // IPv6 without a port
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"[::ffff:10.0.0.0/104]:22", "10.0.0.0/8:22"},
		{"example.com", "example.com"},
		{"EXAMPLE.com.", "example.com"},
		{"example.com:443", "example.com:443"},
		{"example.com.:443", "example.com:443"},
		{"localhost", "localhost"},
		{"_srv.my-host", "_srv.my-host"},
		{"10.0.0.1.example", "10.0.0.1.example"},
		{"*.example.com", "*.example.com"},
		{"*.Example.COM.:8000-8999", "*.example.com:8000-8999"},
		{"*.com", "*.com"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
	}
	for _, tt := range tests {
		r, err := ParseRule(tt.in)
		if err != nil || r.String() != tt.want {
			t.Errorf("%q is %q, %v; want %q", tt.in, r, err, tt.want)
			continue
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%q is written %q, which is another rule, %v", tt.in, r, err)
		}
	}
}

func TestParseRuleRefusesWhatNeverMatches(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", ":", ":80", " ", "a b", " example.com", "example.com ", "a\x00b", "bücher.example", "１２７.0.0.1",
		"*:", "*:0", "*:0-80", "*:65536", "*:80-", "*:-80", "*:90-80", "*:+80", "*:80-90-100", "*:http", "*:80:90",
		"**", "*.", "*.*", "*..a", "*example.com", "a.*", "a.*.b", ".example.com", "a..b", "a..", ".", "..",
		"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0/8", "10.0.0.0/-1", "/8", "example.com/8",
		"2001:db8::1/32", "::ffff:10.0.0.1/104", "::ffff:0:0/90", "fe80::/10:22", "[fe80::]/10:22",
		"fe80::1%eth0", "[fe80::1%eth0]:22", "fe80::%eth0/10",
		"[10.0.0.1]:22", "[example.com]:22", "[]:22", "[::1", "[::1]22", "[::1]:", "::1]:22", "[[::1]]:22", "[::1]:22x",
		"127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "010.0.0.1", "127.0.0.1.", "1.2.3.4.5",
		"256.0.0.1", "10.0.0.256", "*.1", "*.0.0.1", "4294967296", "0x", "a.0x7f",
		strings.Repeat("a", 254), "*." + strings.Repeat("a", 254),
	} {
		if r, err := ParseRule(in); err == nil {
			t.Errorf("%q is taken for %q", in, r)
		} else if r != (Rule{}) {
			t.Errorf("%q gives a rule with the error %v", in, err)
		}
	}
}

func TestListsSayWhichRuleIsWrong(t *testing.T) {
	t.Parallel()
	_, err := New([]string{"*", "10.0.0.1/8"}, nil)
	if err == nil || err.Error() != `allow rule "10.0.0.1/8": 10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8 or 10.0.0.1` {
		t.Errorf("error is %v", err)
	}
	if _, err := New(nil, []string{"127.1"}); err == nil || err.Error() != `deny rule "127.1": write the address as 127.0.0.1` {
		t.Errorf("error is %v", err)
	}
	if _, err := NewBind([]string{"*:x"}); err == nil || !strings.HasPrefix(err.Error(), `bind rule "*:x": `) {
		t.Errorf("error is %v", err)
	}
	if _, err := new(Policy).Narrow([]string{"?"}, nil); err == nil {
		t.Error("Narrow takes a rule that is none")
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add("10.0.0.0/8:22-23")
	f.Add("[2001:db8::/32]:443")
	f.Add("*.example.com")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			if r != (Rule{}) {
				t.Errorf("%q gives a rule with the error %v", s, err)
			}
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Errorf("%q is written %q, which is %q, %v", s, r, again, err)
		}
		if again.String() != r.String() {
			t.Errorf("%q is written %q and then %q", s, r, again)
		}
		if r.lo > r.hi || len(r.String()) > maxName+len("*.:65535-65535") {
			t.Errorf("%q is %q", s, r)
		}
	})
}
