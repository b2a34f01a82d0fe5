package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/store"
)

// noun is one kind of row that people own, and how its rows are found.
type noun[R any] struct {
	name      string // for people
	find      func(*store.Reader, context.Context, string, ...[]access.Scope) (R, error)
	byLocalID func(*store.Reader, context.Context, access.Scope, string) (R, error)
	row       func(*R) *store.Row
	label     func(*R) string
}

var (
	servers = noun[store.Server]{
		name: "Server", find: (*store.Reader).FindServer, byLocalID: (*store.Reader).ServerByLocalID,
		row:   func(s *store.Server) *store.Row { return &s.Row },
		label: func(s *store.Server) string { return s.Name },
	}
	keys = noun[store.Key]{
		name: "Key", find: (*store.Reader).FindKey, byLocalID: (*store.Reader).KeyByLocalID,
		row:   func(k *store.Key) *store.Row { return &k.Row },
		label: func(k *store.Key) string { return k.Name },
	}
	forwards = noun[store.Forward]{
		name: "Port forward", find: (*store.Reader).FindForward, byLocalID: (*store.Reader).ForwardByLocalID,
		row:   func(f *store.Forward) *store.Row { return &f.Row },
		label: func(f *store.Forward) string { return f.Name },
	}
)

// load finds the row that a path's id means and asks whether the actor may do
// this with it. It is the only way from a path to a row.
func (n noun[R]) load(ctx context.Context, r *store.Reader, who access.Actor, id string, do access.Action) (R, error) {
	found, err := n.lookup(ctx, r, id, who.Reach()...)
	if errors.Is(err, store.ErrNotFound) {
		return found, n.notFound(id)
	}
	if err != nil {
		return found, err
	}
	scope := n.row(&found).Scope()
	verdict := access.May(who, do, scope)
	if verdict != access.Hidden {
		audit.Of(ctx).About(scope, n.row(&found).ID, n.label(&found))
	}
	switch verdict {
	case access.Allowed:
		return found, nil
	case access.Forbidden:
		var none R
		return none, refused(who, do, scope, notYourRole)
	default:
		var none R
		return none, n.notFound(id)
	}
}

// refer finds the row that a field of another row names: in scope first, then
// among the writer's own, unless he came with a token that does not open those.
func (n noun[R]) refer(ctx context.Context, r *store.Reader, who access.Actor, scope access.Scope, ref string) (R, error) {
	reach := [][]access.Scope{{scope}}
	if own := access.Personal(who.UserID); own != scope && access.May(who, access.Read, own) == access.Allowed {
		reach = append(reach, []access.Scope{own})
	}
	found, err := n.lookup(ctx, r, ref, reach...)
	if errors.Is(err, store.ErrNotFound) {
		e := n.notFound(ref)
		e.Code = api.CodeBadRequest
		return found, e
	}
	return found, err
}

// resolve is refer for a field that named the row with id before, as was; both
// are empty when it named none. What is sent back as it was answered stays,
// also when it is another member's own row, which the writer could not name.
func (n noun[R]) resolve(ctx context.Context, r *store.Reader, who access.Actor, scope access.Scope, ref, was, id string) (string, error) {
	if ref == was && id != "" {
		return id, nil
	}
	row, err := n.refer(ctx, r, who, scope, ref)
	if err != nil {
		return "", err
	}
	return n.row(&row).ID, nil
}

// lookup keeps from the database what cannot be an id or localId of any row.
func (n noun[R]) lookup(ctx context.Context, r *store.Reader, ref string, reach ...[]access.Scope) (R, error) {
	if !canBeRef(ref) {
		var none R
		return none, store.ErrNotFound
	}
	return n.find(r, ctx, ref, reach...)
}

// canBeRef reports whether a text can be an id or localId of any row.
func canBeRef(ref string) bool {
	return ref != "" && len(ref) <= utf8.UTFMax*api.MaxName && utf8.ValidString(ref) && !strings.ContainsRune(ref, 0)
}

func (n noun[R]) notFound(ref string) *api.Error { return notFound(n.name, ref) }

func notFound(noun, ref string) *api.Error {
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("%s with id %s not found", noun, shorten(ref))}
}

// free refuses a localId that another living row of the scope has.
func (n noun[R]) free(ctx context.Context, r *store.Reader, row *store.Row) error {
	if row.LocalID == "" {
		return nil
	}
	other, err := n.byLocalID(r, ctx, row.Scope(), row.LocalID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case n.row(&other).ID == row.ID:
		return nil
	}
	return &api.Error{
		Code: api.CodeConflict,
		Message: fmt.Sprintf("localId %s is taken by %s %q (id %s)",
			shorten(row.LocalID), strings.ToLower(n.name), n.label(&other), n.row(&other).ID),
	}
}

// Path says which row a change is for: the id of its path, and the id in its
// body when it has one, which must mean the same row.
type Path struct {
	ID     string
	BodyID string // empty when there is none
}

func (p Path) check(rowID string) error {
	if p.BodyID == "" || p.BodyID == p.ID || p.BodyID == rowID {
		return nil
	}
	return api.Invalid("id must be the same as in the path")
}

const maxRefShown = 64 // code points of an id that a client made up

func shorten(ref string) string {
	ref = strings.ToValidUTF8(ref, "\uFFFD")
	if utf8.RuneCountInString(ref) <= maxRefShown {
		return ref
	}
	return string([]rune(ref)[:maxRefShown]) + "…"
}
