package httpapi

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
)

// ofToken is the input of what concerns one API token.
type ofToken struct {
	ID string `path:"id" doc:"the API token's id"`
}

func (h *routes) registerTokens() {
	tag := tagged("tokens")
	handle(h, operation(http.MethodGet, "/auth/tokens", "list-tokens", "List one's API tokens, newest first", tag), h.listTokens)
	handleBody(h, operation(http.MethodPost, "/auth/tokens", "create-token", "Make an API token; it is shown this once", creates, tag), h.createToken)
	handle(h, operation(http.MethodDelete, "/auth/tokens/{id}", "delete-token", "Revoke an API token, at once", tag), h.deleteToken)
}

func (h *routes) listTokens(ctx context.Context, in *InPage) (*listAnswer[api.Token], error) {
	return listShort(in, func() ([]api.Token, error) { return h.app.APITokens(ctx, callerFrom(ctx)) })
}

func (h *routes) createToken(ctx context.Context, _ *none, body *api.TokenInput) (*answer[api.NewToken], error) {
	return encode(h.app.CreateAPIToken(ctx, callerFrom(ctx), *body))
}

func (h *routes) deleteToken(ctx context.Context, in *ofToken) (*said, error) {
	return say("Token revoked successfully"), h.app.DeleteAPIToken(ctx, callerFrom(ctx), in.ID)
}
