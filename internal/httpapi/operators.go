package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
)

// ofUser is the input of what concerns one user.
type ofUser struct {
	ID string `path:"id" doc:"the user's id"`
}

// registerOperators registers what operators do, and the audit, which owners of
// teams may read, too.
func (h *routes) registerOperators() {
	users, settings := tagged("operators"), tagged("settings")
	handle(h, operation(http.MethodGet, "/users", "list-users", "List all users, newest first; for operators", users), h.listUsers)
	handlePatch(h, operation(http.MethodPatch, "/users/{id}", "update-user", "Disable a user, or change his role; for operators", users), h.updateUser)
	handle(h, operation(http.MethodGet, "/settings", "get-settings", "Read the settings; for operators", settings), h.getSettings)
	handleBody(h, operation(http.MethodPut, "/settings", "set-settings", "Replace all settings; for operators", settings), h.setSettings)
	handle(h, operation(http.MethodGet, "/audit", "list-audit", "What was done, newest first; for operators, and owners of a team", tagged("audit")), h.listAudit)
}

func (h *routes) listUsers(ctx context.Context, in *InPage) (*listAnswer[api.Account], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	rows, n, err := h.app.Users(ctx, callerFrom(ctx).Actor, app.Page(p))
	return list(p, rows, n, err)
}

func (h *routes) updateUser(ctx context.Context, in *ofUser, id string, body *api.AccountInput) (*answer[api.Account], error) {
	return encode(h.app.UpdateUser(ctx, callerFrom(ctx).Actor, app.Path{ID: in.ID, BodyID: id}, *body))
}

func (h *routes) getSettings(ctx context.Context, _ *none) (*answer[api.Settings], error) {
	return encode(h.app.Settings(ctx, callerFrom(ctx).Actor))
}

func (h *routes) setSettings(ctx context.Context, _ *none, body *api.Settings) (*answer[api.Settings], error) {
	return encode(h.app.SetSettings(ctx, callerFrom(ctx).Actor, *body))
}

// auditList is the input of the audit. Empty fields select all.
type auditList struct {
	Namespace string `query:"namespace" doc:"a team's id: only what was done in it; for its owner"`
	Actor     string `query:"actor" doc:"a user's id: only what he did"`
	Action    string `query:"action" doc:"the id of an operation: only that"`
	Object    string `query:"object" doc:"an object's id: only what was done to it"`
	Result    string `query:"result" doc:"ok, or the code of an error: only what ended so"`
	From      string `query:"from" format:"date-time" doc:"only what was done at this instant or later"`
	Before    string `query:"before" format:"date-time" doc:"only what was done before this instant"`
	InPage
}

// listAudit always answers a page, since the whole list has no bound.
func (h *routes) listAudit(ctx context.Context, in *auditList) (*listAnswer[api.AuditEntry], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	if p == (page{}) {
		p.Limit = api.DefaultAuditPage
	}
	q := app.AuditQuery{Namespace: in.Namespace, ActorID: in.Actor, Action: in.Action, ObjectID: in.Object, Result: in.Result}
	var problems []string
	for _, bound := range []struct {
		name, text string
		at         *time.Time
	}{{"from", in.From, &q.From}, {"before", in.Before, &q.Before}} {
		if bound.text == "" {
			continue
		}
		if *bound.at, err = time.Parse(time.RFC3339, bound.text); err != nil {
			problems = append(problems, bound.name+" must be an instant such as 2026-01-02T15:04:05.000Z")
		}
	}
	if problems != nil {
		return nil, api.Invalid(problems...)
	}
	rows, n, err := h.app.Audit(ctx, callerFrom(ctx).Actor, q, app.Page(p))
	return list(p, rows, n, err)
}
