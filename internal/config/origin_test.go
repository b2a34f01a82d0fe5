package config

import (
	"strings"
	"testing"
)

func TestOriginsAreTakenAsBrowsersSendThem(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"https://app.example.org", "http://localhost:5173", "http://127.0.0.1:8080", "https://[2001:db8::1]", "http://[::1]:3000", "https://xn--bcher-kva.example", "null",
	} {
		if got, err := parseOrigin(text); err != nil || got != text {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"https://app.example.org/":    "https://app.example.org",
		"https://app.example.org/a?b": "https://app.example.org",
		"https://App.Example.org":     "https://app.example.org",
		"HTTPS://app.example.org":     "https://app.example.org",
		"https://app.example.org:443": "https://app.example.org",
		"http://app.example.org:80":   "http://app.example.org",
		"http://app.example.org#x":    "http://app.example.org",
	} {
		if _, err := parseOrigin(text); err == nil || !strings.HasSuffix(err.Error(), "is not what a browser sends: write "+want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"*", "", "app.example.org", "localhost:5173", "//app.example.org", "https://", "https://*.example.org", "https://a.example:0", "https://a.example:x",
		"https://user@a.example", "ftp://a.example", "chrome-extension://abc", "file:///", "Null", "https://bücher.example", "https://a b", "https://::1", "https://a%2fb",
		"https://a.example https://b.example", "https://[fe80::1%25eth0]", "https://[2001:db8::1]x",
	} {
		if got, err := parseOrigin(text); err == nil || !strings.Contains(err.Error(), "is no web origin: write https://host, http://host:port or null") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
