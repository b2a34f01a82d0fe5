package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/clientaddr"
	"github.com/adit-tunnel/adit/internal/redact"
)

// request is what is known of one request.
type request struct {
	id      string
	address netip.Addr    // the client's; zero when it has none, as on a Unix socket
	host    string        // that was asked for, with its port
	caller  app.Caller    // zero on public operations
	token   redact.Secret // that the caller came with
	body    []byte
}

type requestKey struct{}

// requestFrom gives the request of a context, an empty one outside of any.
func requestFrom(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

// callerFrom says who asks.
func callerFrom(ctx context.Context) app.Caller { return requestFrom(ctx).caller }

// frame is around every route: request ids, headers, panics, and the errors of
// what is no route.
type frame struct {
	mux     *http.ServeMux
	logger  *slog.Logger
	origins []string
	proxies []netip.Prefix
}

func (f *frame) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	req := &request{id: rand.Text()}
	req.address, _ = clientaddr.Of(r, f.proxies)
	req.host = r.Host
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
	w.Header().Set("X-Request-Id", req.id)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	answer := &responseWriter{ResponseWriter: w}
	// Also for a body that nobody reads: the server reads some of it before it
	// sends the answer. A w that cannot do it leaves it to the server.
	_ = http.NewResponseController(w).SetReadDeadline(began.Add(bodyTimeout))
	defer func() {
		f.logger.DebugContext(r.Context(), "request", "request", req.id, "method", r.Method, "path", r.URL.Path,
			"client", req.address, "status", answer.status, "took", time.Since(began))
	}()
	defer f.recovered(answer, r)
	crossOrigin := f.crossOrigin(w.Header(), r)
	if allow, err := f.route(r); err != nil {
		if crossOrigin && allow != "" && isPreflight(r) {
			preflight(answer, allow)
			return
		}
		if allow != "" {
			w.Header().Set("Allow", allow)
		}
		writeError(answer, r, f.logger, err)
		return
	}
	f.mux.ServeHTTP(answer, r)
}

// recovered answers for a handler that panicked.
func (f *frame) recovered(w *responseWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	f.logger.ErrorContext(r.Context(), "request panicked",
		"request", requestFrom(r.Context()).id, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // so that the client does not take half an answer for a whole
	}
	writeError(w, r, f.logger, &api.Error{Code: api.CodeInternal, Message: "internal error"})
}

// route refuses what is no route before the mux does, which would answer in
// another shape, or redirect. It takes a trailing slash off. allow is set for a
// wrong method.
func (f *frame) route(r *http.Request) (allow string, refusal error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", &api.Error{Code: api.CodeBadRequest, Message: "The query is malformed"}
	}
	for name, values := range query {
		if !isText(name) || slices.ContainsFunc(values, func(v string) bool { return !isText(v) }) {
			return "", &api.Error{Code: api.CodeBadRequest, Message: "The query must be UTF-8 without NUL characters"}
		}
	}
	if escaped := r.URL.EscapedPath(); len(escaped) > 1 && strings.HasSuffix(escaped, "/") {
		u := *r.URL
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
		r.URL = &u
	}
	escaped := r.URL.EscapedPath()
	unknown := &api.Error{
		Code: api.CodeNotFound, Message: fmt.Sprintf("Cannot %s %s", r.Method, shorten(escaped)), Hint: "GET /docs shows what there is",
	}
	if path.Clean(escaped) != escaped || !strings.HasPrefix(escaped, "/") || r.Method == http.MethodConnect || !isText(r.URL.Path) {
		return "", unknown
	}
	refuse, pattern := f.mux.Handler(r)
	if pattern != "" {
		return "", nil
	}
	seen := &probe{header: http.Header{}}
	refuse.ServeHTTP(seen, r)
	if seen.status != http.StatusMethodNotAllowed {
		return "", unknown
	}
	allow = seen.header.Get("Allow")
	return allow, &api.Error{Code: api.CodeMethodNotAllowed, Message: fmt.Sprintf("Cannot %s %s, only %s", r.Method, shorten(escaped), allow)}
}

// isText reports whether s is what a database takes for a text.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

const maxPathShown = 200

func shorten(path string) string {
	if len(path) <= maxPathShown {
		return path
	}
	return strings.ToValidUTF8(path[:maxPathShown], "") + "…"
}

// probe sees how the mux refuses a request.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// responseWriter knows whether anything was answered yet.
type responseWriter struct {
	http.ResponseWriter
	status int // 0 until something was
}

func (w *responseWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(b []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
