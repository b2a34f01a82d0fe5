// Package app is what adit does for people: one method for each use case of
// the control API, with its rules and transactions. It asks package access who
// may do what, keeps rows in package store, seals what is secret with package
// secret, and has forwards run by package forward. Its errors that people may
// read are *api.Error; any other error is a fault of ours or of the machine.
// It knows no HTTP.
package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/auth"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
)

// Options are what an App is made of. All but the last four are needed.
type Options struct {
	Store   *store.Store
	Keyring *secret.Keyring
	Hasher  *auth.Hasher
	Tokens  *auth.Tokens
	Tunnels *forward.Supervisor

	MinPassword    int           // code points of a new password; 0 for DefaultMinPassword
	StrictHostKeys bool          // refuse unknown host keys where a row does not say
	SetupCode      redact.Secret // what the first registration must give; none when zero
	Logger         *slog.Logger  // nil for slog.Default
}

// DefaultMinPassword is how many code points a new password needs.
const DefaultMinPassword = 8

// App is the use cases. It is safe for concurrent use.
type App struct {
	Options
	running context.Context // ends with Close
	stop    context.CancelFunc
	work    sync.WaitGroup // background work on tunnels
}

// New makes an App; close it when done.
func New(o Options) *App {
	if o.MinPassword == 0 {
		o.MinPassword = DefaultMinPassword
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &App{Options: o}
	a.running, a.stop = context.WithCancel(context.Background())
	return a
}

// Close ends the work that calls left behind and waits for it. Call it after
// the last call and before the supervisor and the store end.
func (a *App) Close() {
	a.stop()
	a.work.Wait()
}

// write is one transaction.
func (a *App) write(ctx context.Context, fn func(*store.Tx) error) error {
	return storeError(a.Store.Write(ctx, fn))
}

// storeError translates what of the store's errors people can do something about.
func storeError(err error) error {
	if errors.Is(err, store.ErrFull) {
		return &api.Error{
			Code:    api.CodeStorageFull,
			Message: "There is no space left on the server to save this",
			Hint:    "free some space where adit keeps its data; what is saved and what runs is not affected",
			Err:     err,
		}
	}
	return err
}

// now is the present as the store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// newID makes the id of a row: a UUIDv7 (RFC 9562, section 5.7), so that ids
// sort by their age.
func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// newRow begins a row of a scope, created by somebody.
func newRow(who access.Actor, scope access.Scope) (store.Row, error) {
	id, err := newID()
	at := now()
	return store.Row{ID: id, UserID: who.UserID, Namespace: scope.TeamID(), CreatedAt: at, UpdatedAt: at}, err
}

// scopeOf is the scope that ?namespace= names, if the actor may do this there.
// Clients written in JavaScript send null and undefined as texts.
func scopeOf(who access.Actor, namespace string, do access.Action) (access.Scope, error) {
	scope := access.Personal(who.UserID)
	switch namespace {
	case "", "null", "undefined":
	default:
		scope = access.Team(namespace)
	}
	if access.May(who, do, scope) != access.Allowed {
		return access.Scope{}, &api.Error{Code: api.CodeForbidden, Message: "You may not do this in that namespace"}
	}
	return scope, nil
}
