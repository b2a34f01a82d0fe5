package httpapi

import (
	"context"
	"io"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
)

func TestAUseCaseIsToldTheAddressThatATrustedProxyTells(t *testing.T) {
	t.Parallel()
	var seen netip.Addr
	h := bare(io.Discard, func(ctx context.Context, _ *none) (*said, error) {
		seen = requestFrom(ctx).address
		return say("done"), nil
	})
	ask := func(remote string) netip.Addr {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/do", nil)
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", "203.0.113.9, 198.51.100.1")
		h.ServeHTTP(httptest.NewRecorder(), r)
		return seen
	}
	if got := ask("10.1.2.3:4567"); got != netip.MustParseAddr("10.1.2.3") {
		t.Errorf("nobody is trusted: %s", got)
	}
	h.(*frame).proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for remote, want := range map[string]string{
		"10.1.2.3:4567": "198.51.100.1", "[::ffff:10.1.2.3]:4567": "198.51.100.1", "192.0.2.7:4567": "192.0.2.7", "[::ffff:192.0.2.7]:4567": "192.0.2.7",
	} {
		if got := ask(remote); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s instead of %s", remote, got, want)
		}
	}
	if got := ask("@"); got.IsValid() {
		t.Errorf("a Unix socket: %s", got)
	}
}

func TestWhoTriesTooOftenIsToldWhenToTryAgain(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]string{time.Second: "1", 90*time.Second + 1: "91", time.Nanosecond: "1", 0: "", -1: ""} {
		h := bare(io.Discard, func(context.Context, *none) (*said, error) {
			return nil, &api.Error{Code: api.CodeTooManyRequests, Message: "Too many tries", RetryAfter: after}
		})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/do", nil))
		if w.Code != 429 || w.Header().Get("Retry-After") != want || len(w.Header().Values("Retry-After")) > 1 {
			t.Errorf("%s: %d %v %s", after, w.Code, w.Header(), w.Body)
		}
	}
}
