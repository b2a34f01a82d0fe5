// Package relayapi serves the relay's HTTP API, by which tokens are added,
// listed and removed while the relay runs. Its paths, bodies and texts are those
// that linksocks's callers know; unlike there, a refusal has a status that says
// so. It knows no links: what a token does is package relay's.
package relayapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

// Tokens is what the API needs of the relay. Its methods are called from many
// goroutines at a time.
type Tokens interface {
	// Add makes a token, or refuses with a *relay.TokenError.
	Add(ctx context.Context, spec relay.TokenSpec) (relay.Added, error)
	// Remove ends a token, or refuses with a *relay.TokenError.
	Remove(ctx context.Context, token redact.Secret) error
	// Status lists the tokens in the order of their creation.
	Status() []relay.TokenStatus
}

// Options is what the API is built of.
type Options struct {
	Tokens  Tokens
	Key     redact.Secret // what callers must give in X-API-Key; never zero
	Version string        // as the status tells it
	Metrics http.Handler  // behind the same key; nil for none
	Logger  *slog.Logger  // nil to log nothing
}

// The paths. What stands behind tokenPath and a slash is a token.
const (
	statusPath  = "/api/status"
	metricsPath = "/api/metrics"
	tokenPath   = "/api/token"
)

// bodyTimeout is how long a body may take to arrive.
const bodyTimeout = 10 * time.Second

type handler struct {
	Options
	key [sha256.Size]byte // of Options.Key
}

// New builds the handler of everything under /api/; what it does not know is
// 404. It panics without a key: nobody should be able to serve the API openly
// by forgetting one.
//
// The handler wants paths as they came. Behind an http.ServeMux, which cleans
// them, tokens such as "a//b" could not be named in a path.
func New(o Options) http.Handler {
	if o.Key.IsZero() {
		panic("relayapi: no key")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &handler{Options: o, key: sha256.Sum256([]byte(o.Key.Reveal()))}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.ContentLength != 0 {
		// Also of a body that nobody reads: the server takes some of it in
		// before the next request. Not every ResponseWriter has deadlines.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	methods := h.route(r.URL.Path)
	if methods == nil {
		http.NotFound(w, r)
		return
	}
	// The key comes before all else that depends on the request.
	if !h.authorized(r) {
		refuse(w, http.StatusUnauthorized, "invalid API key")
		return
	}
	for _, m := range methods {
		if m.name == r.Method {
			m.serve(w, r)
			return
		}
	}
	w.Header().Set("Allow", allow(methods))
	w.WriteHeader(http.StatusMethodNotAllowed)
}

// method is one that a path has.
type method struct {
	name  string
	serve http.HandlerFunc
}

// route gives the methods of a decoded path, none when it is unknown.
func (h *handler) route(path string) []method {
	switch {
	case path == statusPath:
		return []method{{http.MethodGet, h.status}, {http.MethodHead, h.status}}
	case path == metricsPath && h.Metrics != nil:
		return []method{{http.MethodGet, h.Metrics.ServeHTTP}, {http.MethodHead, h.Metrics.ServeHTTP}}
	case path == tokenPath, strings.HasPrefix(path, tokenPath+"/"):
		return []method{{http.MethodPost, h.add}, {http.MethodDelete, h.remove}}
	}
	return nil
}

func allow(methods []method) string {
	var names []string
	for _, m := range methods {
		names = append(names, m.name)
	}
	return strings.Join(names, ", ")
}

// authorized compares hashes, so that the time it takes tells neither where
// keys differ nor how long the right one is.
func (h *handler) authorized(r *http.Request) bool {
	given := sha256.Sum256([]byte(r.Header.Get("X-API-Key")))
	return subtle.ConstantTimeCompare(given[:], h.key[:]) == 1
}
