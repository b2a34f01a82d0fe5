package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestBindRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rules string
		host  string
		port  uint16
		want  bool
	}{
		{"", "0.0.0.0", 80, true},
		{"", "", 0, true},
		{"", "any thing", 0, true},
		{"*", "0.0.0.0", 80, true},
		{"*", "", 0, true},
		{"*", "a.example", 80, true},
		{"*:1024-65535", "0.0.0.0", 80, false},
		{"*:1024-65535", "0.0.0.0", 1024, true},

		{"127.0.0.1", "127.0.0.1", 80, true},
		{"127.0.0.1", "::ffff:127.0.0.1", 80, true},
		{"127.0.0.1", "127.1", 80, true},
		{"127.0.0.1", "127.0.0.2", 80, false},
		{"127.0.0.1", "::1", 80, false},
		{"127.0.0.1", "localhost", 80, true},
		{"127.0.0.1", "LocalHost.", 80, true},
		{"127.0.0.1:81", "localhost", 80, false},
		{"127.0.0.1", "a.localhost", 80, false},
		{"::1", "localhost", 80, false},
		{"localhost", "localhost", 80, true},
		{"localhost", "127.0.0.1", 80, false},
		{"127.0.0.0/8 a.example", "a.example", 80, true},
		{"127.0.0.0/8 a.example", "b.example", 80, false},
		{"fe80::/10", "fe80::1%eth0", 80, true},
		{"169.254.0.0/16", "169.254.1.1", 80, true},

		// The unspecified addresses are more than any one address.
		{"127.0.0.0/8", "0.0.0.0", 80, false},
		{"127.0.0.0/8", "0", 80, false},
		{"127.0.0.0/8", "", 80, false},
		{"0.0.0.0", "0.0.0.0", 80, true},
		{"0.0.0.0", "0", 80, true},
		{"0.0.0.0", "127.0.0.1", 80, false},
		{"0.0.0.0", "::", 80, false},
		{"0.0.0.0", "", 80, false},
		{"0.0.0.0/0", "0.0.0.0", 80, true},
		{"0.0.0.0/0", "*", 80, false},
		{"::", "::", 80, true},
		{"::", "0.0.0.0", 80, false},
		{"0.0.0.0 ::", "", 80, true},
		{"0.0.0.0 ::", "*", 80, true},

		// Port 0 may become any unprivileged port.
		{"127.0.0.1", "127.0.0.1", 0, true},
		{"127.0.0.1:1-65535", "127.0.0.1", 0, true},
		{"127.0.0.1:1024-65535", "127.0.0.1", 0, true},
		{"127.0.0.1:1025-65535", "127.0.0.1", 0, false},
		{"127.0.0.1:1024-65534", "127.0.0.1", 0, false},
		{"127.0.0.1:8080", "127.0.0.1", 0, false},
		{"127.0.0.1:8080 *", "127.0.0.1", 0, true},
		{"127.0.0.1:1024-65535", "127.0.0.2", 0, false},
		{"127.0.0.1:1024-65535", "localhost", 0, true},

		{"127.0.0.1", "not a host", 80, false},
		{"127.0.0.1", "1.2.3.4.5", 80, false},
	}
	for _, tt := range tests {
		b, err := NewBind(strings.Fields(tt.rules))
		if err != nil {
			t.Fatal(err)
		}
		err = b.Check(tt.host, tt.port)
		if (err == nil) != tt.want || err != nil && !errors.Is(err, ErrBindDenied) {
			t.Errorf("bind rules [%s]: %q port %d: %v; want it allowed: %v", tt.rules, tt.host, tt.port, err, tt.want)
		}
	}
}

func TestABindRefusalNamesTheAddress(t *testing.T) {
	t.Parallel()
	b, err := NewBind([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"::":   "listen [::]:80: denied: no bind rule allows it",
		"":     "listen :80: denied: no bind rule allows it",
		"a\nb": `listen "a\nb":80: denied: no bind rule allows it`,
	} {
		if err := b.Check(host, 80); err == nil || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
}
