package demo

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// served is a page that serves until the test ends.
func served(t *testing.T) *page {
	t.Helper()
	p, err := openPage(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	parts := parts{onEnd: func() {}}
	parts.start(t.Context(), "web page", p.serve)
	t.Cleanup(func() {
		if err := parts.stop(); err != nil {
			t.Error(err)
		}
		if len(p.fromSSH) > 0 {
			t.Errorf("connections that are gone are remembered: %v", p.fromSSH)
		}
	})
	return p
}

// get fetches a URL with connections that dial makes.
func get(t *testing.T, url string, dial func(ctx context.Context, network, address string) (net.Conn, error)) string {
	t.Helper()
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%s, %v, %v", resp.Status, resp.Header, err)
	}
	return string(text)
}

func TestThePageKnowsWhoCameThroughATunnel(t *testing.T) {
	t.Parallel()
	p := served(t)
	direct := "http://" + p.ln.Addr().String()
	toPage := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.ln.Addr().String())
	}
	for _, tt := range []struct {
		url, want string
		dial      func(context.Context, string, string) (net.Conn, error)
	}{
		{"http://web.internal/", throughTunnel, p.dialFromSSH},
		{"http://WEB.Internal:80/", throughTunnel, p.dialFromSSH},
		{direct, throughTunnel, p.dialFromSSH},
		{"http://127.0.0.1:1/", otherWayRound, toPage},
		{direct, "<h1>This page came through no tunnel.</h1>", nil},
	} {
		if text := get(t, tt.url, tt.dial); !strings.Contains(text, tt.want) {
			t.Errorf("%s: %s", tt.url, text)
		}
	}
}

func TestThePageShowsWhatWasAskedForAndWhen(t *testing.T) {
	t.Parallel()
	p := served(t)
	text := get(t, "http://web.internal/a/path?q=<script>", p.dialFromSSH)
	_, rest, _ := strings.Cut(text, "You asked for ")
	request, at, ok := strings.Cut(strings.TrimSpace(rest), " at ")
	if !ok || request != "GET /a/path?q=&lt;script&gt; of web.internal" {
		t.Errorf("the page is %s", text)
	}
	when, err := time.Parse("2006-01-02 15:04:05.000 MST.", at)
	if err != nil || time.Since(when).Abs() > time.Minute {
		t.Errorf("the time is %q: %v", at, err)
	}
}

func TestTheSSHServerReachesOtherTargetsAsThisMachineDoes(t *testing.T) {
	t.Parallel()
	p, other := served(t), served(t)
	c, err := p.dialFromSSH(t.Context(), "tcp", other.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if c.RemoteAddr().String() != other.ln.Addr().String() || len(p.fromSSH) > 0 {
		t.Errorf("connected to %s, and noted %v", c.RemoteAddr(), p.fromSSH)
	}
}
