package httpapi

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
)

func (h *routes) registerForwards() {
	tag := tagged("port forwards")
	handle(h, operation(http.MethodGet, "/port-forwards", "list-port-forwards", "List port forwards, newest first", tag), h.listForwards)
	handleBody(h, operation(http.MethodPost, "/port-forwards", "create-port-forward", "Add a port forward", creates, tag), h.createForward)
	handle(h, operation(http.MethodGet, "/port-forwards/{id}", "get-port-forward", "Read a port forward", tag), h.getForward)
	handlePatch(h, operation(http.MethodPatch, "/port-forwards/{id}", "update-port-forward", "Change a port forward; one that runs moves to the new values", tag), h.updateForward)
	handle(h, operation(http.MethodDelete, "/port-forwards/{id}", "delete-port-forward", "Delete a port forward", tag), h.deleteForward)
	handle(h, operation(http.MethodPost, "/port-forwards/{id}/start", "start-port-forward", "Start a port forward; answers when it runs", tag, refuses(http.StatusBadGateway, http.StatusGatewayTimeout)), h.startForward)
	handle(h, operation(http.MethodPost, "/port-forwards/{id}/stop", "stop-port-forward", "Stop a port forward", tag), h.stopForward)
	handle(h, operation(http.MethodGet, "/port-forwards/{id}/status", "get-port-forward-status", "What a port forward is doing now", tag), h.forwardStatus)
	handleBody(h, operation(http.MethodPut, "/port-forwards/{id}/host-key", "accept-port-forward-host-key", "Accept the host key that was offered, or announce one before any connection", tag), h.acceptForwardHostKey)
	handle(h, operation(http.MethodDelete, "/port-forwards/{id}/host-key", "forget-port-forward-host-key", "Forget the host key", tag), h.forgetForwardHostKey)
	handleSync(h, operation(http.MethodPost, "/port-forwards/sync", "sync-port-forwards", "Create and update many port forwards", tag), h.app.SyncForwards)
}

type forwardList struct {
	ListInNamespace
	Status string `query:"status" enum:"active,inactive" doc:"only those; empty is no filter"`
}

func (h *routes) listForwards(ctx context.Context, in *forwardList) (*listAnswer[api.Forward], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	switch in.Status {
	case "", api.StatusActive, api.StatusInactive:
		rows, n, err := h.app.Forwards(ctx, callerFrom(ctx).Actor, in.Namespace, in.Status, app.Page(p))
		return list(p, rows, n, err)
	}
	return nil, api.Invalid("status must be one of the following values: active, inactive")
}

func (h *routes) createForward(ctx context.Context, in *InNamespace, body *api.ForwardInput) (*answer[api.Forward], error) {
	return encode(h.app.CreateForward(ctx, callerFrom(ctx).Actor, in.Namespace, *body))
}

func (h *routes) getForward(ctx context.Context, in *ofRow) (*answer[api.Forward], error) {
	return encode(h.app.Forward(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) updateForward(ctx context.Context, in *ofRow, id string, body *api.ForwardInput) (*answer[api.Forward], error) {
	return encode(h.app.UpdateForward(ctx, callerFrom(ctx).Actor, app.Path{ID: in.ID, BodyID: id}, *body))
}

type forwardDelete struct {
	ID    string `path:"id" doc:"the row's id, or its localId"`
	Force string `query:"force" enum:"true,false" doc:"also with connections open"`
}

func (h *routes) deleteForward(ctx context.Context, in *forwardDelete) (*said, error) {
	switch in.Force {
	case "", "true", "false":
		return say("Port forward deleted successfully"), h.app.DeleteForward(ctx, callerFrom(ctx).Actor, in.ID, in.Force == "true")
	}
	return nil, api.Invalid("force must be one of the following values: true, false")
}

func (h *routes) startForward(ctx context.Context, in *ofRow) (*answer[api.Forward], error) {
	return encode(h.app.StartForward(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) stopForward(ctx context.Context, in *ofRow) (*answer[api.Forward], error) {
	return encode(h.app.StopForward(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) forwardStatus(ctx context.Context, in *ofRow) (*answer[api.ForwardStatus], error) {
	return encode(h.app.ForwardStatus(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) acceptForwardHostKey(ctx context.Context, in *ofRow, body *api.HostKeyInput) (*answer[api.Forward], error) {
	return encode(h.app.AcceptForwardHostKey(ctx, callerFrom(ctx).Actor, in.ID, *body))
}

func (h *routes) forgetForwardHostKey(ctx context.Context, in *ofRow) (*answer[api.Forward], error) {
	return encode(h.app.ForgetForwardHostKey(ctx, callerFrom(ctx).Actor, in.ID))
}
