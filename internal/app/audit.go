package app

import (
	"context"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// AuditQuery selects entries of the audit. Empty fields select all.
type AuditQuery struct {
	Namespace string // a team's; empty for everything, which only operators may see
	ActorID   string
	Action    string
	ObjectID  string
	Result    string
	From      time.Time // at this time or later
	Before    time.Time
}

// Audit lists what was done, newest first, and tells how many entries there are.
func (a *App) Audit(ctx context.Context, who access.Actor, q AuditQuery, page Page) (shown []api.AuditEntry, n int, err error) {
	filter := store.AuditFilter{
		ActorID: q.ActorID, Action: q.Action, ObjectID: q.ObjectID, Result: q.Result, From: q.From, Before: q.Before,
	}
	scope := access.Installation()
	switch q.Namespace {
	case "", "null", "undefined":
	default:
		scope = access.Team(q.Namespace)
		filter.Scope = scope
	}
	if access.May(who, access.ReadAudit, scope) != access.Allowed && access.May(who, access.ReadAudit, access.Installation()) != access.Allowed {
		return nil, 0, refused(who, access.ReadAudit, scope, api.Error{
			Message: "You may not read this audit", Hint: "operators may, and the owner of a team with ?namespace= that team's id",
		})
	}
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		list, err := r.Audit(ctx, filter, store.Page(page))
		if err != nil {
			return err
		}
		shown = make([]api.AuditEntry, len(list))
		for i, e := range list {
			shown[i] = toAuditEntry(e)
		}
		n, err = r.CountAudit(ctx, filter)
		return err
	})
	return shown, n, err
}

func toAuditEntry(e store.AuditEntry) api.AuditEntry {
	return api.AuditEntry{
		ID: e.ID, At: api.Time{Time: e.At}, Action: e.Action, Result: e.Result, ActorID: text(e.ActorID), Actor: text(e.Actor),
		TokenID: text(e.TokenID), Address: text(e.Address), Namespace: text(e.Scope.TeamID()), ObjectID: text(e.ObjectID),
		Object: text(e.Object), Detail: text(e.Detail), RequestID: text(e.Request),
	}
}

// TrimAudit removes the entries that are older than the settings keep.
func (a *App) TrimAudit(ctx context.Context) error {
	set, err := settings(ctx, &a.Store.Reader)
	if err != nil {
		return err
	}
	days, ok := set.AuditDays.Get()
	if !ok {
		days = api.DefaultAuditDays
	}
	return Explain(a.audit.Trim(ctx, store.Now().AddDate(0, 0, -days)))
}
