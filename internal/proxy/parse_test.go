package proxy

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

func TestParseReadsAProxysURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"socks5://p.example":               "socks5://p.example:1080",
		"socks5h://p.example:9050/":        "socks5h://p.example:9050",
		"http://p.example":                 "http://p.example:80",
		"HTTPS://p.example":                "https://p.example:443",
		"http://[2001:db8::1]:3128":        "http://[2001:db8::1]:3128",
		"socks5://ann:s%2F3%40@192.0.2.7":  "socks5://192.0.2.7:1080",
		"http://:key@p.example":            "http://p.example:80",
		"socks5://ann@p_1.example.:65535/": "socks5://p_1.example.:65535",
	} {
		p, err := Parse(text)
		if err != nil || p.String() != want {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	p := parse(t, "socks5://a%3An:s%2F3%40@192.0.2.7")
	if p.username != "a:n" || p.password.Reveal() != "s/3@" || !p.login {
		t.Errorf("credentials are %q, %q", p.username, p.password.Reveal())
	}
}

func TestParseRefusesWithoutRepeatingThePassword(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("s3cret", 50)
	for text, want := range map[string]string{
		"":                                    "begins with none of",
		"ann:s3cret@p.example:1080":           "begins with none of",
		"socks4://ann:s3cret@p.example":       "begins with none of",
		"http:p.example":                      "begins with none of",
		"p.example:3128":                      "begins with none of",
		"socks5://ann:s3cret@":                "no host",
		"socks5://:s3cret@p.example":          "password without a user",
		"socks5://ann:" + long + "@p.example": "more than 255 bytes",
		"http://a%3Ann:s3cret@p.example":      "colon in the user",
		"http://ann:s3cret@p.example:0":       "1 to 65535",
		"http://ann:s3cret@p.example:99999":   "1 to 65535",
		"http://ann:s3cret@p.example:":        "colon without a port",
		"http://ann:s3cret@p.example:s3cret":  "cannot be read",
		"http://ann:s3cret/x@p.example":       "cannot be read",
		"http://ann:1234/s3cret@p.example":    "percent-encode",
		"http://ann:1234?s3cret@p.example":    "percent-encode",
		"http://ann:1234#s3cret@p.example":    "percent-encode",
		"http://ann:s3cret%zz@p.example":      "cannot be read",
		"http://ann:s3cret@p.ex%20ample":      "",
		"http://ann:s3cret@p.ex%41!mple":      "",
		"http://ann:s3cret@[p.example]":       "",
	} {
		p, err := Parse(text)
		if err == nil {
			t.Errorf("%s is taken as %v", text, p)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAProxyPrintsWithoutItsCredentials(t *testing.T) {
	t.Parallel()
	p := parse(t, "http://ann:s3cret@p.example")
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("via", "proxy", p)
	for _, text := range []string{fmt.Sprint(p), fmt.Sprintf("%v %+v %#v %s %q", p, p, p, p, p), logged.String()} {
		if strings.Contains(text, "s3cret") || strings.Contains(text, "ann") {
			t.Error(text)
		}
	}
}

func TestTheEnvironmentNamesTheProxy(t *testing.T) {
	for _, c := range []struct{ env, target, want string }{
		{"", "wss://r.example", ""},
		{"HTTPS_PROXY=http://p:1", "wss://r.example", "http://p:1"},
		{"HTTPS_PROXY=http://p:1", "ws://r.example", ""},
		{"HTTP_PROXY=p:1", "ws://r.example", "http://p:1"},
		{"http_proxy=socks5://p", "ws://r.example", "socks5://p:1080"},
		{"HTTP_PROXY=http://p:1 ALL_PROXY=http://p:2", "ws://r.example", "http://p:1"},
		{"HTTP_PROXY=http://p:1 all_proxy=http://p:2", "wss://r.example", "http://p:2"},
		{"HTTP_PROXY=http://p:1", "ws://localhost:8765", ""},
		{"HTTP_PROXY=http://p:1", "ws://127.0.0.2:8765", ""},
		{"HTTP_PROXY=http://p:1", "ws://[::1]:8765", ""},
		{"HTTP_PROXY=http://p:1 NO_PROXY=*", "ws://r.example", ""},
		{"HTTP_PROXY=http://p:1 NO_PROXY=a,r.example", "ws://R.example.", ""},
		{"HTTP_PROXY=http://p:1 NO_PROXY=example,", "ws://r.example", ""},
		{"HTTP_PROXY=http://p:1 NO_PROXY=ample,", "ws://r.example", "http://p:1"},
		{"HTTP_PROXY=http://p:1 NO_PROXY=.example", "ws://r.example", ""},
		{"HTTP_PROXY=http://p:1 NO_PROXY=*.r.example", "ws://r.example", "http://p:1"},
		{"HTTP_PROXY=http://p:1 NO_PROXY=r.example:80", "ws://r.example", ""},
		{"HTTP_PROXY=http://p:1 NO_PROXY=r.example:81", "ws://r.example", "http://p:1"},
		{"HTTP_PROXY=http://p:1 no_proxy=10.0.0.0/8", "ws://10.1.2.3", ""},
		{"HTTP_PROXY=http://p:1 no_proxy=10.0.0.0/8", "ws://11.1.2.3", "http://p:1"},
		{"HTTP_PROXY=http://p:1 no_proxy=2001:db8::1", "ws://[2001:db8::1]:8765", ""},
		{"HTTP_PROXY=http://p:1 no_proxy=[2001:db8::1]:8766", "ws://[2001:db8::1]:8765", "http://p:1"},
	} {
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
			t.Setenv(name, "")
			t.Setenv(strings.ToLower(name), "")
		}
		for pair := range strings.FieldsSeq(c.env) {
			name, value, _ := strings.Cut(pair, "=")
			t.Setenv(name, value)
		}
		target, err := url.Parse(c.target)
		if err != nil {
			t.Fatal(err)
		}
		p, err := FromEnvironment(target)
		got := ""
		if p != nil {
			got = p.String()
		}
		if err != nil || got != c.want {
			t.Errorf("%s for %s: %q, %v, want %q", c.env, c.target, got, err, c.want)
		}
	}
	t.Setenv("HTTP_PROXY", "ftp://ann:s3cret@p.example")
	_, err := FromEnvironment(&url.URL{Scheme: "ws", Host: "r.example"})
	if err == nil || !strings.HasPrefix(err.Error(), "HTTP_PROXY: ") || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}
