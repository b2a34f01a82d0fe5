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
	"sync/atomic"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/auth"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/sshsite"
	"github.com/adit-tunnel/adit/internal/store"
)

// Options are what an App is made of. All but the last four are needed.
type Options struct {
	Store   *store.Store
	Keyring *secret.Keyring
	Hasher  *auth.Hasher
	Tokens  *auth.Tokens
	Tunnels *forward.Supervisor

	MinPassword    int               // code points of a new password; 0 for DefaultMinPassword
	Registration   string            // api.RegistrationInvite, …Open or …Closed; empty for …Invite
	Targets        *policy.Policy    // what settings narrow; nil for nothing
	Binds          *policy.BindRules // the same, of what forwards listen on
	StrictHostKeys bool              // refuse unknown host keys where a row does not say
	HostCAs        *sshsite.HostCAs  // whose host certificates need no pin; nil for none
	KeyDir         string            // below which a forward's keyPath is read, an absolute path; empty for nowhere
	SetupCode      redact.Secret     // what the first registration must give; none when zero
	Logger         *slog.Logger      // nil for slog.Default
}

// DefaultMinPassword is how many code points a new password needs.
const DefaultMinPassword = 8

// App is the use cases. It is safe for concurrent use.
type App struct {
	Options
	tokens  atomic.Pointer[auth.Tokens]
	logins  *auth.Guesses // of passwords
	codes   *auth.Guesses // of invite codes
	audit   *audit.Log
	setting sync.Mutex      // held while settings change
	running context.Context // ends with Close
	stop    context.CancelFunc
	work    sync.WaitGroup // background work on tunnels
	openKey keyParser      // sshsite.ParseKey, but in tests
}

// New makes an App; close it when done.
func New(o Options) *App {
	if o.MinPassword == 0 {
		o.MinPassword = DefaultMinPassword
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Registration == "" {
		o.Registration = api.RegistrationInvite
	}
	a := &App{Options: o, logins: auth.NewGuesses(), codes: auth.NewGuesses(), audit: audit.NewLog(o.Store, o.Logger), openKey: sshsite.ParseKey}
	a.tokens.Store(o.Tokens)
	a.running, a.stop = context.WithCancel(context.Background())
	return a
}

// Close ends the work that calls left behind and waits for it. Call it after
// the last call and before the supervisor and the store end.
func (a *App) Close() {
	a.stop()
	a.work.Wait()
	a.audit.Close()
}

// SetTokens has another set of keys sign and verify the tokens of sessions.
func (a *App) SetTokens(t *auth.Tokens) { a.tokens.Store(t) }

// Record tells the audit of the end of the act of a context, see audit.Log.
func (a *App) Record(ctx context.Context, err error) { a.audit.Record(ctx, err) }

// change is a transaction that does what somebody asked for, with the audit's
// entry in it.
func (a *App) change(ctx context.Context, fn func(*store.Tx) error) error {
	return Explain(a.audit.Change(ctx, func(tx *store.Tx) error { return checked(ctx, tx, fn) }))
}

// write is one transaction.
func (a *App) write(ctx context.Context, fn func(*store.Tx) error) error {
	return Explain(a.Store.Write(ctx, fn))
}

// Explain translates what of the store's errors people can do something about.
// Any other error it gives as it is.
func Explain(err error) error {
	switch {
	case errors.Is(err, store.ErrFull):
		return &api.Error{
			Code:    api.CodeStorageFull,
			Message: "There is no space left on the server to save this",
			Hint:    "free some space where adit keeps its data; what is saved and what runs is not affected",
			Err:     err,
		}
	case errors.Is(err, store.ErrUnavailable):
		return &api.Error{
			Code:    api.CodeUnavailable,
			Message: "The server cannot reach its database",
			Hint:    "try again in a moment; what runs is not affected",
			Err:     err,
		}
	}
	return err
}

// newRow begins a row of a scope, created by somebody.
func newRow(who access.Actor, scope access.Scope) store.Row {
	at := store.Now()
	return store.Row{ID: store.NewID(), UserID: who.UserID, Namespace: scope.TeamID(), CreatedAt: at, UpdatedAt: at}
}

// scopeOf is the scope that ?namespace= names, if the actor may do this there.
// Clients written in JavaScript send null and undefined as texts.
func scopeOf(ctx context.Context, who access.Actor, namespace string, do access.Action) (access.Scope, error) {
	scope := access.Personal(who.UserID)
	switch namespace {
	case "", "null", "undefined":
	default:
		scope = access.Team(namespace)
	}
	// A stranger's try is not for the team's own audit.
	if access.May(who, access.Read, scope) == access.Allowed {
		audit.Of(ctx).In(scope)
	}
	if access.May(who, do, scope) != access.Allowed {
		return access.Scope{}, refused(who, do, scope, notYourNamespace)
	}
	return scope, nil
}

// Page is a part of a list. The zero value is the whole.
type Page struct {
	Offset int // rows left out before it
	Limit  int // rows at most; 0 for all
}

// of cuts the page out of the whole list.
func pageOf[T any](page Page, list []T) []T {
	list = list[min(page.Offset, len(list)):]
	if page.Limit > 0 {
		list = list[:min(page.Limit, len(list))]
	}
	return list
}

// total counts a list of which shown is a page; the count is asked for only
// where the page does not tell.
func total(page Page, shown int, count func() (int, error)) (int, error) {
	if page == (Page{}) {
		return shown, nil
	}
	return count()
}
