package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
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
	switch access.May(who, do, n.row(&found).Scope()) {
	case access.Allowed:
		return found, nil
	case access.Forbidden:
		var none R
		return none, &api.Error{Code: api.CodeForbidden, Message: "Your role in the team does not allow this"}
	default:
		var none R
		return none, n.notFound(id)
	}
}

// refer finds the row that a field of another row names: in scope first, then
// among the writer's own.
func (n noun[R]) refer(ctx context.Context, r *store.Reader, who access.Actor, scope access.Scope, ref string) (R, error) {
	reach := [][]access.Scope{{scope}}
	if own := access.Personal(who.UserID); own != scope {
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

// lookup keeps from the database what cannot be an id or localId of any row.
func (n noun[R]) lookup(ctx context.Context, r *store.Reader, ref string, reach ...[]access.Scope) (R, error) {
	if ref == "" || len(ref) > utf8.UTFMax*api.MaxName || !utf8.ValidString(ref) || strings.ContainsRune(ref, 0) {
		var none R
		return none, store.ErrNotFound
	}
	return n.find(r, ctx, ref, reach...)
}

func (n noun[R]) notFound(ref string) *api.Error {
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("%s with id %s not found", n.name, shorten(ref))}
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
