// Package audit tells who did what, with what, from where and with what end. An
// Act goes with the context of one use case, which says what it turned out to be
// about; a Log saves the entry in the transaction of what was done, or by itself
// when nothing was. Entries hold no secrets.
package audit

import (
	"context"
	"net/netip"
	"sync"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// Actor is who does something. The zero value is somebody who is not logged in.
type Actor struct {
	UserID  string
	Email   string
	TokenID string // the API token that he came with
}

// Act is one thing that somebody does. Whoever calls a use case that changes
// something puts one into the context (With) and tells the end (Log.Record).
type Act struct {
	Action  string // the operation's id
	Actor   Actor
	Address netip.Addr
	Request string

	mu     sync.Mutex // guards below
	by     Actor      // who it turned out to be, where nobody was logged in
	scope  access.Scope
	named  bool   // the request says where it takes place, and not only about what
	id     string // of the object
	object string // its name
	detail string // what it is made, or why
	guess  bool   // it tried a password: its failure is told whatever it is called
	saved  bool   // there is an entry that says that it went well
}

type actKey struct{}

// With gives a context for one use case that somebody asks for.
func With(ctx context.Context, act *Act) context.Context {
	return context.WithValue(ctx, actKey{}, act)
}

// Of gives the act of a context; one that nobody reads outside of any.
func Of(ctx context.Context) *Act {
	if act, ok := ctx.Value(actKey{}).(*Act); ok {
		return act
	}
	return new(Act)
}

// In says where the act takes place, as the request itself does.
func (act *Act) In(scope access.Scope) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.scope, act.named = scope, true
}

// Scope is where the act takes place, as far as it was said, and whether the
// request itself named that.
func (act *Act) Scope() (scope access.Scope, named bool) {
	act.mu.Lock()
	defer act.mu.Unlock()
	return act.scope, act.named
}

// About says what the act is about.
func (act *Act) About(scope access.Scope, id, name string) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.scope, act.id, act.object = scope, id, name
}

// Says tells more about what is done: a value, the names of fields, a reason.
// It must hold no secret.
func (act *Act) Says(detail string) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.detail = detail
}

// By says who acts, where that was not known from the beginning.
func (act *Act) By(user store.User) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.by = Actor{UserID: user.ID, Email: user.Email}
}

// Guesses says that the act tries somebody's password.
func (act *Act) Guesses() {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.guess = true
}

// Object is one of several things that an act is about.
type Object struct {
	Action   string // what is done to it; empty for the act's own
	Scope    access.Scope
	ID, Name string
	Detail   string
}

// Tell adds an entry about one object to a transaction of the act, beside the
// one about the act itself.
func (act *Act) Tell(ctx context.Context, tx *store.Tx, about Object) error {
	if act.Action == "" {
		return nil
	}
	act.mu.Lock()
	e := act.entryLocked(api.ResultOK)
	act.mu.Unlock()
	if about.Action != "" {
		e.Action = about.Action
	}
	e.Scope, e.ObjectID, e.Object, e.Detail = about.Scope, about.ID, about.Name, brief(about.Detail)
	return tx.AppendAudit(ctx, e)
}

// unrecorded are the ends of acts that came to nothing before anything was about
// to be done.
var unrecorded = map[api.Code]bool{
	api.CodeInvalid: true, api.CodeBadRequest: true, api.CodeNotFound: true, api.CodeTooManyRequests: true,
	api.CodeTooLarge: true, api.CodeUnsupportedMedia: true,
}

// trifle reports whether an end of the act is not worth an entry: it came to
// nothing before anything was about to be done, or it is a refusal that anybody
// can have without end and without an account.
func (act *Act) trifle(end api.Code) bool {
	act.mu.Lock()
	defer act.mu.Unlock()
	if end == api.CodeForbidden {
		return act.Actor.UserID == "" && act.by.UserID == ""
	}
	return unrecorded[end] && (!act.guess || end == api.CodeTooManyRequests)
}

// entry gives the audit entry of the act. ok is false when there is none to add.
func (act *Act) entry(result string) (e store.AuditEntry, ok bool) {
	act.mu.Lock()
	defer act.mu.Unlock()
	if act.Action == "" || act.saved && result == api.ResultOK {
		return e, false
	}
	return act.entryLocked(result), true
}

// entryLocked is an entry about the act, whether it is to be added or not.
func (act *Act) entryLocked(result string) store.AuditEntry {
	who := act.Actor
	if who.UserID == "" {
		who.UserID, who.Email = act.by.UserID, act.by.Email
	}
	e := store.AuditEntry{
		ID: store.NewID(), At: store.Now(), Scope: act.scope, ActorID: who.UserID, Actor: who.Email, TokenID: who.TokenID,
		Action: act.Action, ObjectID: act.id, Object: act.object, Detail: brief(act.detail), Result: result, Request: act.Request,
	}
	if e.Scope.IsZero() {
		e.Scope = access.Installation()
	}
	if act.Address.IsValid() {
		e.Address = act.Address.String()
	}
	return e
}

func (act *Act) wasSaved() {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.saved = true
}
