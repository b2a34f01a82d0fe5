package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
)

// bodyTimeout is how long a body may take to arrive: 8 MiB at half a MiB/s.
const bodyTimeout = 16 * time.Second

// authenticate lets only those in who hold a valid token, except to public
// operations.
func (h *routes) authenticate(ctx huma.Context, next func(huma.Context)) {
	if need := ctx.Operation().Security; need != nil && len(need) == 0 {
		next(ctx)
		return
	}
	r, w := humago.Unwrap(ctx)
	challenge := "Bearer"
	err := error(&api.Error{
		Code: api.CodeUnauthorized, Message: "Unauthorized", Hint: "log in, and send the token as Authorization: Bearer <token>",
	})
	if token := bearerToken(r.Header.Get("Authorization")); !token.IsZero() {
		challenge = `Bearer error="invalid_token"` // RFC 6750, section 3
		req := requestFrom(r.Context())
		req.token = token
		req.caller, err = h.app.Authenticate(r.Context(), token)
	}
	if err == nil {
		next(ctx)
		return
	}
	var told *api.Error
	if errors.As(err, &told) && told.Code == api.CodeUnauthorized {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	writeError(w, r, h.logger, err)
}

// bearerToken reads the Authorization header. The scheme's case does not
// matter (RFC 9110, section 11.1).
func bearerToken(header string) redact.Secret {
	scheme, token, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return redact.Secret{}
	}
	return redact.New(strings.TrimSpace(token))
}

// readBody reads the body of any operation, so that the rules for bodies hold
// for all of them.
func (h *routes) readBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	body, err := readBody(r, ctx.Operation().MaxBodyBytes)
	if err != nil {
		if r.Header.Get("Expect") == "" {
			// A client that sends all before it reads would find a reset
			// instead of the answer, if bytes were left unread.
			_, _ = io.CopyN(io.Discard, r.Body, maxUnread)
		}
		writeError(w, r, h.logger, err)
		return
	}
	// The deadline of the frame would end the request's context while its
	// operation is still under way.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	req := requestFrom(r.Context())
	req.body = body
	if len(body) > 0 && !req.token.IsZero() && r.Method == http.MethodGet {
		// A body may have been long in coming, and who sends it may not be let in
		// any more. What changes something looks at that by itself.
		if req.caller, err = h.app.Authenticate(r.Context(), req.token); err != nil {
			writeError(w, r, h.logger, err)
			return
		}
	}
	next(ctx)
}

// maxUnread bounds what is taken in of a body that is refused.
const maxUnread = 32 << 20

func readBody(r *http.Request, limit int64) ([]byte, error) {
	tooLarge := &api.Error{Code: api.CodeTooLarge, Message: "The body is too large"}
	wrongType := &api.Error{
		Code: api.CodeUnsupportedMedia, Message: "The body must be JSON", Hint: "send it with Content-Type: application/json",
	}
	// Told before it is read where the length is known.
	if r.ContentLength > 0 && !isJSON(r.Header.Get("Content-Type")) {
		return nil, wrongType
	}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &api.Error{Code: api.CodeRequestTimeout, Message: "The body took too long to arrive"}
	case err != nil:
		return nil, &api.Error{Code: api.CodeBadRequest, Message: "The body ended too early", Err: err}
	case len(body) > 0 && !isJSON(r.Header.Get("Content-Type")):
		return nil, wrongType
	case int64(len(body)) > limit:
		return nil, tooLarge
	}
	return body, nil
}

// isJSON reports whether a Content-Type is JSON in UTF-8. A form or a plain
// text, which any web page may post without asking, is not.
func isJSON(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	charset, given := params["charset"]
	return err == nil && media == jsonType && (!given || strings.EqualFold(charset, "utf-8"))
}
