package httpapi

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
)

// InNamespace is the input of what concerns many rows, or a new one.
type InNamespace struct {
	Namespace string `query:"namespace" doc:"a team's id; absent, empty, null and undefined mean personal"`
}

// ofRow is the input of what concerns one row.
type ofRow struct {
	ID string `path:"id" doc:"the row's id, or its localId"`
}

func (h *routes) registerServers() {
	tag := tagged("servers")
	handle(h, operation(http.MethodGet, "/servers", "list-servers", "List SSH servers, newest first", tag), h.listServers)
	handleBody(h, operation(http.MethodPost, "/servers", "create-server", "Add an SSH server", creates, tag), h.createServer)
	handle(h, operation(http.MethodGet, "/servers/{id}", "get-server", "Read an SSH server", tag), h.getServer)
	handlePatch(h, operation(http.MethodPatch, "/servers/{id}", "update-server", "Change an SSH server", tag), h.updateServer)
	handle(h, operation(http.MethodDelete, "/servers/{id}", "delete-server", "Delete an SSH server", tag), h.deleteServer)
	handleBody(h, operation(http.MethodPut, "/servers/{id}/host-key", "accept-server-host-key", "Accept the host key that was offered, or announce one before any connection", tag), h.acceptServerHostKey)
	handle(h, operation(http.MethodDelete, "/servers/{id}/host-key", "forget-server-host-key", "Forget the host key", tag), h.forgetServerHostKey)
	handleSync(h, operation(http.MethodPost, "/servers/sync", "sync-servers", "Create and update many SSH servers", tag), h.app.SyncServers)
}

// ListInNamespace is the input of what lists rows. It is exported, as all that is
// embedded in an input must be: huma passes by what is not.
type ListInNamespace struct {
	InNamespace
	InPage
}

func (h *routes) listServers(ctx context.Context, in *ListInNamespace) (*listAnswer[api.Server], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	rows, n, err := h.app.Servers(ctx, callerFrom(ctx).Actor, in.Namespace, app.Page(p))
	return list(p, rows, n, err)
}

func (h *routes) createServer(ctx context.Context, in *InNamespace, body *api.ServerInput) (*answer[api.Server], error) {
	return encode(h.app.CreateServer(ctx, callerFrom(ctx).Actor, in.Namespace, *body))
}

func (h *routes) getServer(ctx context.Context, in *ofRow) (*answer[api.Server], error) {
	return encode(h.app.Server(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) updateServer(ctx context.Context, in *ofRow, id string, body *api.ServerInput) (*answer[api.Server], error) {
	return encode(h.app.UpdateServer(ctx, callerFrom(ctx).Actor, app.Path{ID: in.ID, BodyID: id}, *body))
}

func (h *routes) deleteServer(ctx context.Context, in *ofRow) (*said, error) {
	return say("Server deleted successfully"), h.app.DeleteServer(ctx, callerFrom(ctx).Actor, in.ID)
}

func (h *routes) acceptServerHostKey(ctx context.Context, in *ofRow, body *api.HostKeyInput) (*answer[api.Server], error) {
	return encode(h.app.AcceptServerHostKey(ctx, callerFrom(ctx).Actor, in.ID, *body))
}

func (h *routes) forgetServerHostKey(ctx context.Context, in *ofRow) (*answer[api.Server], error) {
	return encode(h.app.ForgetServerHostKey(ctx, callerFrom(ctx).Actor, in.ID))
}
