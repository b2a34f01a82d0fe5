package server

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/clientaddr"
	"github.com/adit-tunnel/adit/internal/httpapi/relayapi"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

// The actions of the relay's API, as the audit names them.
const (
	addRelayToken    = "add-relay-token"
	removeRelayToken = "remove-relay-token"
)

// audited are the relay's tokens where an audit is kept. Whoever has the API key
// has no name; the address is what there is to tell.
type audited struct {
	relayapi.Tokens
	app *app.App
}

// Add implements relayapi.Tokens.
func (t audited) Add(ctx context.Context, spec relay.TokenSpec) (relay.Added, error) {
	added, err := t.Tokens.Add(ctx, spec)
	token := added.Token
	if err != nil {
		token = spec.Token
	}
	about(ctx, spec.Kind, token)
	t.app.Record(ctx, relayError(err))
	return added, err
}

// Remove implements relayapi.Tokens.
func (t audited) Remove(ctx context.Context, token redact.Secret) error {
	kind := t.kind(token) // while it is there
	err := t.Tokens.Remove(ctx, token)
	about(ctx, kind, token)
	t.app.Record(ctx, relayError(err))
	return err
}

// about says of an act which token it is about, and no more of the token than
// the relay's status does.
func about(ctx context.Context, kind relay.Kind, token redact.Secret) {
	name := strings.TrimSpace(string(kind) + " token")
	if !token.IsZero() {
		name += " " + relayapi.Shortened(token)
	}
	audit.Of(ctx).About(access.Installation(), "", name)
}

// kind is what a token is; empty when there is none.
func (t audited) kind(token redact.Secret) relay.Kind {
	for _, known := range t.Status() {
		if known.Token == token {
			return known.Kind
		}
		if slices.Contains(known.Connectors, token) {
			return relay.Connector
		}
	}
	return ""
}

// relayError is an error of the relay's in the audit's terms.
func relayError(err error) error {
	refused, ok := errors.AsType[*relay.TokenError](err)
	if !ok {
		return err
	}
	code := api.CodeInvalid
	switch refused.Problem {
	case relay.Conflict:
		code = api.CodeConflict
	case relay.NotFound:
		code = api.CodeNotFound
	}
	return &api.Error{Code: code, Message: refused.Text}
}

// acts makes requests to the relay's API acts, which its tokens record.
func acts(next http.Handler, trust []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := map[string]string{http.MethodPost: addRelayToken, http.MethodDelete: removeRelayToken}[r.Method]
		address, _ := clientaddr.Of(r, trust)
		next.ServeHTTP(w, r.WithContext(audit.With(r.Context(), &audit.Act{Action: action, Address: address})))
	})
}
