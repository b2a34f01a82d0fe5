package store

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
)

// AuditEntry is one thing that somebody did, or tried. Entries are added and,
// when they are old enough, removed; nothing changes one.
type AuditEntry struct {
	ID       string
	At       time.Time
	Scope    access.Scope // where the object belongs
	ActorID  string       // empty when nobody was logged in
	Actor    string       // e-mail, as it was then
	TokenID  string       // the API token that was used
	Address  string       // the client's
	Action   string
	ObjectID string
	Object   string // the name, as it was then
	Detail   string // what it was made, or why; never a secret
	Result   string // ok, or the code of the error
	Request  string // the request's id
}

// AuditFilter selects entries. Zero fields select all.
type AuditFilter struct {
	Scope    access.Scope
	ActorID  string
	Action   string
	ObjectID string
	Result   string
	From     time.Time // at this time or later
	Before   time.Time
}

var audit = newTable("audit", "audit entry", "id", "", func(e *AuditEntry) []column {
	return []column{
		{name: "id", value: &e.ID},
		{name: "at", value: instant{&e.At}},
		{name: "scope", value: scopeText{&e.Scope}},
		{name: "actor_id", value: orNull[string]{&e.ActorID}},
		{name: "actor", value: orNull[string]{&e.Actor}},
		{name: "token_id", value: orNull[string]{&e.TokenID}},
		{name: "address", value: orNull[string]{&e.Address}},
		{name: "action", value: &e.Action},
		{name: "object_id", value: orNull[string]{&e.ObjectID}},
		{name: "object", value: orNull[string]{&e.Object}},
		{name: "detail", value: orNull[string]{&e.Detail}},
		{name: "result", value: &e.Result},
		{name: "request", value: orNull[string]{&e.Request}},
	}
})

// AppendAudit adds an entry.
func (tx *Tx) AppendAudit(ctx context.Context, e AuditEntry) error {
	return audit.insert(ctx, &tx.runner, &e)
}

// PurgeAudit removes entries from before a time, the oldest first and no more
// than limit, and tells how many.
func (tx *Tx) PurgeAudit(ctx context.Context, before time.Time, limit int) (int, error) {
	return tx.exec(ctx, "purge audit",
		"DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at, id LIMIT ?)", instant{&before}, limit)
}

// Audit lists entries, newest first.
func (r *Reader) Audit(ctx context.Context, f AuditFilter, page Page) ([]AuditEntry, error) {
	condition, args := f.condition()
	limit := page.Limit
	if limit <= 0 {
		limit = math.MaxInt32
	}
	return audit.rows(ctx, &r.runner, condition+" ORDER BY at DESC, id DESC LIMIT ? OFFSET ?", append(args, limit, page.Offset)...)
}

// CountAudit counts entries.
func (r *Reader) CountAudit(ctx context.Context, f AuditFilter) (int, error) {
	condition, args := f.condition()
	return r.number(ctx, "count audit", "SELECT COUNT(*) FROM audit "+condition, args...)
}

func (f *AuditFilter) condition() (string, []any) {
	var terms []string
	var args []any
	add := func(given bool, term string, value any) {
		if given {
			terms, args = append(terms, term), append(args, value)
		}
	}
	add(!f.Scope.IsZero(), "scope = ?", f.Scope.String())
	add(f.ActorID != "", "actor_id = ?", f.ActorID)
	add(f.Action != "", "action = ?", f.Action)
	add(f.ObjectID != "", "object_id = ?", f.ObjectID)
	add(f.Result != "", "result = ?", f.Result)
	add(!f.From.IsZero(), "at >= ?", instant{&f.From})
	add(!f.Before.IsZero(), "at < ?", instant{&f.Before})
	if terms == nil {
		return "", nil
	}
	return "WHERE " + strings.Join(terms, " AND "), args
}
