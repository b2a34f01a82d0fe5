package config

import (
	"net/netip"
	"testing"
	"time"
)

// taken runs a parser over texts that it is to take, with what it makes of
// them, and over texts that it is to refuse.
func taken[T comparable](t *testing.T, parse func(string) (T, error), good map[string]T, bad ...string) {
	t.Helper()
	for text, want := range good {
		if got, err := parse(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range bad {
		if got, err := parse(text); err == nil {
			t.Errorf("%q is taken, as %v", text, got)
		}
	}
}

func TestBooleansAreTrueFalseYesNo1And0(t *testing.T) {
	t.Parallel()
	taken(t, parseBool, map[string]bool{
		"true": true, "True": true, "1": true, "yes": true, "YES": true, "false": false, "FALSE": false, "0": false, "no": false,
	}, "", "2", "on", "y", " true", "truer")
}

func TestPortRanges(t *testing.T) {
	t.Parallel()
	taken(t, parsePortRange, map[string]PortRange{
		"1": {1, 1}, "65535": {65535, 65535}, "1-65535": {1, 65535}, "80-80": {80, 80},
	}, "", "0", "0-1", "2-1", "65536", "1-65536", "-1", "1-", "-", "1-2-3", "a", "+1", "1 - 2")
	for r, want := range map[PortRange]string{{1, 1}: "1", {1, 2}: "1-2"} {
		if r.String() != want {
			t.Errorf("%s, want %s", r, want)
		}
	}
	r := PortRange{10, 20}
	if r.Contains(9) || !r.Contains(10) || !r.Contains(20) || r.Contains(21) {
		t.Error("the bounds of a range are not part of it, or what is beyond them is")
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	taken(t, parsePort, map[string]int{"0": 0, "65535": 65535}, "", "-1", "65536", "http", "1.0")
}

func TestHosts(t *testing.T) {
	t.Parallel()
	taken(t, parseHost, map[string]string{
		"127.0.0.1": "127.0.0.1", "::": "::", "[::1]": "::1", "fe80::1%eth0": "fe80::1%eth0", "localhost": "localhost", "a.example": "a.example",
	}, "", "127.0.0.1:80", "[::1]:80", "[::1", "::1]", "[]", "[localhost]", "a b", "10.0.0.0/8", "ws://a", ":::")
}

func TestRangesOfAddresses(t *testing.T) {
	t.Parallel()
	taken(t, parsePrefix, map[string]netip.Prefix{
		"10.0.0.0/8": netip.MustParsePrefix("10.0.0.0/8"), "10.1.2.3/8": netip.MustParsePrefix("10.0.0.0/8"),
		"10.0.0.1": netip.MustParsePrefix("10.0.0.1/32"), "::1": netip.MustParsePrefix("::1/128"), "fd00::/8": netip.MustParsePrefix("fd00::/8"),
		"::ffff:10.0.0.1": netip.MustParsePrefix("10.0.0.1/32"), "::ffff:10.0.0.1/104": netip.MustParsePrefix("10.0.0.0/8"),
	}, "", "10.0.0.0/33", "10.0.0", "fe80::1%eth0", "::ffff:10.0.0.0/95", "proxy")
}

func TestSpansAreMoreThanNothing(t *testing.T) {
	t.Parallel()
	taken(t, parseSpan, map[string]time.Duration{"1ns": 1, "2m": 2 * time.Minute}, "", "0s", "-1s", "1")
}
