package app

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// Act is one thing that somebody does, as the audit tells of it. Whoever calls a
// use case that changes something puts one into the context (WithAct) and tells
// the end (Record). What was changed and the entry about it are saved together.
type Act struct {
	Action  string // the operation's id
	Caller  Caller // zero when nobody is logged in
	Address netip.Addr
	Request string

	mu     sync.Mutex // guards below
	actor  store.User // who it turned out to be, where nobody was logged in
	scope  access.Scope
	id     string // of the object
	object string // its name
	detail string // what it is made, or why
	guess  bool   // it tried a password: its failure is told whatever it is called
	saved  bool   // there is an entry that says that it went well
}

type actKey struct{}

// WithAct gives a context for one use case that somebody asks for.
func WithAct(ctx context.Context, act *Act) context.Context {
	return context.WithValue(ctx, actKey{}, act)
}

// ActOf gives the act of a context; one that nobody reads outside of any.
func ActOf(ctx context.Context) *Act {
	if act, ok := ctx.Value(actKey{}).(*Act); ok {
		return act
	}
	return new(Act)
}

// in says where the act takes place.
func (act *Act) in(scope access.Scope) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.scope = scope
}

// About says what the act is about.
func (act *Act) About(scope access.Scope, id, name string) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.scope, act.id, act.object = scope, id, name
}

// says tells more about what is done: a value, the names of fields, a reason.
// It must hold no secret.
func (act *Act) says(detail string) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.detail = detail
}

// by says who acts, where that was not known from the beginning.
func (act *Act) by(user store.User) {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.actor = user
}

// guesses says that the act tries somebody's password.
func (act *Act) guesses() {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.guess = true
}

// trifle reports whether an end of the act is not worth an entry: it came to
// nothing before anything was about to be done, or it is a refusal that anybody
// can have without end and without an account.
func (act *Act) trifle(end api.Code) bool {
	act.mu.Lock()
	defer act.mu.Unlock()
	if end == api.CodeForbidden {
		return act.Caller.UserID == "" && act.actor.ID == ""
	}
	return unrecorded[end] && (!act.guess || end == api.CodeTooManyRequests)
}

// entry gives the audit entry of the act. ok is false when there is none to add.
func (act *Act) entry(result string) (e store.AuditEntry, ok bool, err error) {
	act.mu.Lock()
	defer act.mu.Unlock()
	if act.Action == "" || act.saved && result == api.ResultOK {
		return e, false, nil
	}
	e, err = act.entryLocked(result)
	return e, true, err
}

// entryLocked is an entry about the act, whether it is to be added or not.
func (act *Act) entryLocked(result string) (store.AuditEntry, error) {
	id, err := newID()
	e := store.AuditEntry{
		ID: id, At: now(), Scope: act.scope, ActorID: act.Caller.UserID, Actor: act.Caller.User.Email, TokenID: act.Caller.TokenID,
		Action: act.Action, ObjectID: act.id, Object: act.object, Detail: brief(act.detail), Result: result, Request: act.Request,
	}
	if e.ActorID == "" {
		e.ActorID, e.Actor = act.actor.ID, act.actor.Email
	}
	if e.Scope.IsZero() {
		e.Scope = access.Installation()
	}
	if act.Address.IsValid() {
		e.Address = act.Address.String()
	}
	return e, err
}

// checked does what is asked for if who asks may still do it. That is looked at
// before, since fn may be what changes it, and told after, when it is known what
// the act is about.
func (act *Act) checked(ctx context.Context, tx *store.Tx, fn func(*store.Tx) error) error {
	if act.Caller.UserID == "" {
		return fn(tx)
	}
	is, err := again(ctx, &tx.Reader, act.Caller)
	if err != nil {
		return err
	}
	err = fn(tx)
	act.mu.Lock()
	scope := act.scope
	act.mu.Unlock()
	if refused := less(act.Caller.Actor, is, scope); refused != nil {
		return refused
	}
	return err
}

func (act *Act) wasSaved() {
	act.mu.Lock()
	defer act.mu.Unlock()
	act.saved = true
}

// change is a transaction that does what somebody asked for, with the audit's
// entry in it.
func (a *App) change(ctx context.Context, fn func(*store.Tx) error) error {
	act := ActOf(ctx)
	err := a.write(ctx, func(tx *store.Tx) error {
		if err := act.checked(ctx, tx, fn); err != nil {
			return err
		}
		e, ok, err := act.entry(api.ResultOK)
		if err != nil || !ok {
			return err
		}
		return tx.AppendAudit(ctx, e)
	})
	if err == nil {
		act.wasSaved()
	}
	return err
}

// unrecorded are the ends of requests that came to nothing before anything was
// about to be done.
var unrecorded = map[api.Code]bool{
	api.CodeInvalid: true, api.CodeBadRequest: true, api.CodeNotFound: true, api.CodeTooManyRequests: true,
	api.CodeTooLarge: true, api.CodeUnsupportedMedia: true,
}

// Record tells the end of the act of a context: what failed, and what went well
// without a change, such as the start of what runs. That an entry could not be
// saved is logged and does not undo what was done.
func (a *App) Record(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return // the client has gone: what was done is told already
	}
	result := api.ResultOK
	if err != nil {
		told, ok := errors.AsType[*api.Error](err)
		switch {
		case !ok:
			result = string(api.CodeInternal)
		case ActOf(ctx).trifle(told.Code):
			return
		default:
			result = string(told.Code)
		}
	}
	e, ok, err := ActOf(ctx).entry(result)
	if err == nil && ok && result != api.ResultOK {
		ok = a.tellable(e)
	}
	if err == nil && ok {
		ctx := context.WithoutCancel(ctx)
		err = a.write(ctx, func(tx *store.Tx) error { return tx.AppendAudit(ctx, e) })
	}
	if err != nil {
		a.Logger.ErrorContext(ctx, "not recorded in the audit", "action", e.Action, "result", result, "error", err)
	}
}
