package httpapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/httpapi"
)

const pageOrigin = "https://app.example.org"

// shared is a fixture whose API pages of other origins may call.
func shared(t *testing.T, origins ...string) *fixture {
	t.Helper()
	f := signedUp(t)
	f.handler = httpapi.New(f.app, httpapi.Options{Origins: origins})
	return f
}

// from is a request of a page.
func (f *fixture) from(origin, method, target, body string) *http.Request {
	r := f.request(method, target, body)
	r.Header.Set("Origin", origin)
	return r
}

// corsOf are the CORS headers of an answer.
func corsOf(h http.Header) (names []string) {
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestPagesOfListedOriginsMayReadAnswersAndErrors(t *testing.T) {
	t.Parallel()
	f := shared(t, pageOrigin, "null")
	for _, origin := range []string{pageOrigin, "null"} {
		for _, target := range []string{"/servers", "/servers/x", "/nothing", "/health", "/servers?x=%zz"} {
			h := f.send(f.from(origin, "GET", target, "")).header
			if h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Credentials") != "" || !slices.Contains(h.Values("Vary"), "Origin") ||
				h.Get("Access-Control-Expose-Headers") != "X-Total-Count, X-Request-Id, Retry-After, WWW-Authenticate" || len(corsOf(h)) != 2 {
				t.Errorf("%s from %s: %v", target, origin, h)
			}
		}
	}
}

func TestOtherOriginsAreServedWithoutLeaveToRead(t *testing.T) {
	t.Parallel()
	f := shared(t, pageOrigin)
	for _, origin := range []string{
		"https://evil.example", "null", "", pageOrigin + ".evil.example", pageOrigin + ":443", "http://app.example.org", strings.ToUpper(pageOrigin), pageOrigin + "/", pageOrigin + " " + pageOrigin, "*",
	} {
		got := f.send(f.from(origin, "GET", "/servers", ""))
		got.list()
		if corsOf(got.header) != nil || !slices.Contains(got.header.Values("Vary"), "Origin") {
			t.Errorf("%q: %v", origin, got.header)
		}
	}
	r := f.from(pageOrigin, "GET", "/servers", "")
	r.Header.Add("Origin", "https://evil.example")
	if got := f.send(r); corsOf(got.header) != nil {
		t.Errorf("two origins: %v", got.header)
	}
	if got := f.get("/servers"); corsOf(got.header) != nil {
		t.Errorf("no page: %v", got.header)
	}
	plain := signedUp(t)
	if got := plain.send(plain.from(pageOrigin, "GET", "/servers", "")); corsOf(got.header) != nil || got.header.Get("Vary") != "" {
		t.Errorf("without any origin listed: %v", got.header)
	}
}

func TestAPreflightTellsTheMethodsOfItsRoute(t *testing.T) {
	t.Parallel()
	f := shared(t, pageOrigin)
	ask := func(origin, target, method string) answer {
		r := f.from(origin, "OPTIONS", target, "")
		r.Header.Del("Authorization") // browsers ask without it
		r.Header.Del("Content-Type")
		if method != "" {
			r.Header.Set("Access-Control-Request-Method", method)
			r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
		}
		return f.send(r)
	}
	for target, methods := range map[string]string{
		"/servers": "GET, HEAD, POST", "/servers/x": "DELETE, GET, HEAD, PATCH", "/port-forwards/x/start": "POST", "/port-forwards/": "GET, HEAD, POST",
	} {
		got := ask(pageOrigin, target, "POST")
		h := got.header
		if got.status != 204 || got.raw != "" || h.Get("Access-Control-Allow-Methods") != methods || h.Get("Access-Control-Allow-Origin") != pageOrigin ||
			h.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type" || h.Get("Access-Control-Max-Age") != "600" ||
			h.Get("Content-Type") != "" || h.Get("Vary") != "Origin" || len(corsOf(h)) != 4 {
			t.Errorf("%s: %d %q %v", target, got.status, got.raw, h)
		}
	}
	ask(pageOrigin, "/nothing", "GET").fails(404, "not_found")
	// What is no preflight, or none that is granted, is a wrong method as ever.
	for _, got := range []answer{ask(pageOrigin, "/servers", ""), ask("https://evil.example", "/servers", "POST"), ask("null", "/servers", "POST")} {
		got.fails(405, "method_not_allowed")
		if got.header.Get("Allow") != "GET, HEAD, POST" || got.header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%v", got.header)
		}
	}
}
