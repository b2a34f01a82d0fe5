package httpapi

import (
	"net/http"
	"slices"
)

// Cross-origin requests, as the Fetch standard has them (fetch.spec.whatwg.org,
// section 3.2). No credentials: a browser sends no cookie here, tokens come from
// the page itself.
const (
	corsHeaders = "Authorization, Content-Type"                                // that a page may send
	corsExposed = "X-Total-Count, X-Request-Id, Retry-After, WWW-Authenticate" // that a page may read
	corsMaxAge  = "600"                                                        // seconds that a preflight holds; Chromium caps it at 7200
)

// crossOrigin tells browsers that r's page may read the answer, if it may.
// Otherwise it says nothing, and the request is served as any other.
func (f *frame) crossOrigin(h http.Header, r *http.Request) bool {
	if len(f.origins) == 0 {
		return false
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Values("Origin")
	if len(origin) != 1 || !slices.Contains(f.origins, origin[0]) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin[0])
	h.Set("Access-Control-Expose-Headers", corsExposed)
	return true
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight answers what a browser asks before it sends a request. allow has
// the methods of the route.
func preflight(w http.ResponseWriter, allow string) {
	h := w.Header()
	h.Del("Access-Control-Expose-Headers") // it is about the request to come
	h.Set("Access-Control-Allow-Methods", allow)
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
}
