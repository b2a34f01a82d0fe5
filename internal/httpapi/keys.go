package httpapi

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
)

func (h *routes) registerKeys() {
	tag := tagged("keys")
	handle(h, operation(http.MethodGet, "/keys", "list-keys", "List keys, newest first", tag), h.listKeys)
	handleBody(h, operation(http.MethodPost, "/keys", "create-key", "Add a key", creates, tag), h.createKey)
	handle(h, operation(http.MethodGet, "/keys/{id}", "get-key", "Read a key, without its secrets", tag), h.getKey)
	handlePatch(h, operation(http.MethodPatch, "/keys/{id}", "update-key", "Change a key", tag), h.updateKey)
	handle(h, operation(http.MethodDelete, "/keys/{id}", "delete-key", "Delete a key", tag), h.deleteKey)
	handleSync(h, operation(http.MethodPost, "/keys/sync", "sync-keys", "Create and update many keys", tag), h.app.SyncKeys)
}

func (h *routes) listKeys(ctx context.Context, in *ListInNamespace) (*listAnswer[api.Key], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	rows, n, err := h.app.Keys(ctx, callerFrom(ctx).Actor, in.Namespace, app.Page(p))
	return list(p, rows, n, err)
}

func (h *routes) createKey(ctx context.Context, in *InNamespace, body *api.KeyInput) (*answer[api.Key], error) {
	return encode(h.app.CreateKey(ctx, callerFrom(ctx).Actor, in.Namespace, *body))
}

func (h *routes) getKey(ctx context.Context, in *ofRow) (*answer[api.Key], error) {
	return encode(h.app.Key(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) updateKey(ctx context.Context, in *ofRow, id string, body *api.KeyInput) (*answer[api.Key], error) {
	return encode(h.app.UpdateKey(ctx, callerFrom(ctx).Actor, app.Path{ID: in.ID, BodyID: id}, *body))
}

func (h *routes) deleteKey(ctx context.Context, in *ofRow) (*said, error) {
	return say("Key deleted successfully"), h.app.DeleteKey(ctx, callerFrom(ctx).Actor, in.ID)
}
