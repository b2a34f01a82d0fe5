package linksocks

import (
	"fmt"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
)

func TestATokenIsHashedAsPeersHashIt(t *testing.T) {
	t.Parallel()
	hash := HashToken(redact.New(Anonymous))
	if got := hash.Reveal(); got != "2f183a4e64493af3f377f745eda502363cd3e7ef6e4d266d444758de0a85fcc8" || len(got) != TokenHashLen {
		t.Errorf("the hash of %q is %s", Anonymous, got)
	}
	if got := fmt.Sprint(hash); got != "[redacted]" {
		t.Errorf("a hash prints as %s", got)
	}
}

var reasons = []site.Reason{
	site.Other, site.Refused, site.HostUnreachable, site.NetworkUnreachable, site.NameNotFound, site.Denied, site.TimedOut,
}

func TestTheReasonOfAFailureIsReadWhateverTheDetailSays(t *testing.T) {
	t.Parallel()
	details := []string{"", "dial tcp 192.0.2.7:80: no luck", "a timeout", ": ", "failed:"}
	for _, r := range reasons {
		details = append(details, r.String(), FailureText(r, ""), FailureText(r, "x"))
	}
	details = append(details, "connect: connection refused", "network is unreachable", "no route to host")
	for _, r := range reasons {
		for _, detail := range details {
			text := FailureText(r, detail)
			if got := FailureReason(text); got != r {
				t.Errorf("%v with detail %q is %q, read as %v", r, detail, text, got)
			}
		}
	}
}

// Peers of other versions read these: the words may not change.
func TestTheWordsOfFailuresStand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		r            site.Reason
		detail, want string
	}{
		{site.Refused, "", "refused: connection refused"},
		{site.Refused, "by rule", "refused: by rule"},
		{site.HostUnreachable, "", "unreachable: host unreachable"},
		{site.HostUnreachable, "x", "unreachable: host unreachable: x"},
		{site.NetworkUnreachable, "x", "unreachable: network unreachable: x"},
		{site.NameNotFound, "x", "name: x"},
		{site.Denied, "x", "denied: x"},
		{site.TimedOut, "x", "timeout: x"},
		{site.Other, "x", "failed: x"},
		{site.Other, "", "failed: failed"},
		{site.Reason(99), "x", "failed: x"},
	}
	for _, tt := range tests {
		if got := FailureText(tt.r, tt.detail); got != tt.want {
			t.Errorf("%v with %q is %q, want %q", tt.r, tt.detail, got, tt.want)
		}
	}
}

func TestTheReasonOfAStockPeersFailureIsLookedForInItsText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want site.Reason
	}{
		{"dial tcp 127.0.0.1:1: connect: connection refused", site.Refused},
		{"dial tcp 192.0.2.7:80: connect: no route to host", site.HostUnreachable},
		{"dial tcp 192.0.2.7:80: connect: host is unreachable", site.HostUnreachable},
		{"dial tcp [2001:db8::1]:80: connect: network is unreachable", site.NetworkUnreachable},
		{"socks connect tcp: network unreachable", site.NetworkUnreachable},
		{"Network is unreachable", site.NetworkUnreachable},
		{"dial tcp 192.0.2.7:80: i/o timeout", site.TimedOut},
		{"dial tcp: lookup nowhere.example: no such host", site.Other},
		{"no available reverse clients", site.Other},
		{"refused: by a peer of ours", site.Refused},
		{"unreachable:", site.HostUnreachable},
		{"unreachable: network is unreachable", site.NetworkUnreachable},
		{"denied:connection refused", site.Denied},
		{"timeout", site.TimedOut},
		{"EOF", site.Other},
		{"", site.Other},
	}
	for _, tt := range tests {
		if got := FailureReason(tt.text); got != tt.want {
			t.Errorf("%q is read as %v, want %v", tt.text, got, tt.want)
		}
	}
}
