package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/auth"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
)

// Caller is who asks, and by what: a session's token or an API token.
type Caller struct {
	access.Actor
	User      api.User
	SessionID string // empty for an API token
	TokenID   string // the API token's; empty for a session
}

type callerKey struct{}

// WithCaller gives a context for the use cases that somebody asks for, with the
// audit's act of the same name.
func WithCaller(ctx context.Context, who Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

// CallerOf gives the caller of a context, nobody outside of any.
func CallerOf(ctx context.Context) Caller {
	who, _ := ctx.Value(callerKey{}).(Caller)
	return who
}

func toUser(u store.User) api.User {
	return api.User{ID: u.ID, Email: u.Email, Username: u.Username, Role: string(u.Role)}
}

// Register makes an account and logs it in. The first one becomes the operator.
// One with an invite code is a member of that team from the beginning.
func (a *App) Register(ctx context.Context, v Visit, in api.Registration) (api.Registered, error) {
	if problem := a.PasswordProblem("password", in.Password); problem != "" {
		return api.Registered{}, api.Invalid(problem)
	}
	// Asked before the costly hash, and again in the transaction.
	code, _ := in.InviteCode.Get()
	err := a.unguessed(ctx, a.codes, code, v.From, func() (known bool, err error) {
		_, err = a.mayRegister(ctx, &a.Store.Reader, v, in)
		return !isNotFound(err), err
	})
	if err != nil {
		return api.Registered{}, err
	}
	hash, err := a.Hasher.Hash(ctx, redact.New(string(in.Password)))
	if err != nil {
		return api.Registered{}, fmt.Errorf("hash password: %w", err)
	}
	at := store.Now()
	user := store.User{
		ID: store.NewID(), Email: in.Email, Username: in.Username, PasswordHash: hash, CreatedAt: at, UpdatedAt: at,
	}
	token, session, err := a.newSession(user)
	if err != nil {
		return api.Registered{}, err
	}
	err = a.change(ctx, func(tx *store.Tx) error {
		welcome, err := a.mayRegister(ctx, &tx.Reader, v, in)
		if err != nil {
			return err
		}
		user.Role = welcome.role
		err = tx.CreateUser(ctx, user)
		if errors.Is(err, store.ErrConflict) {
			return emailTaken(err)
		}
		if err != nil {
			return err
		}
		if welcome.team != nil {
			if _, err := a.join(ctx, tx, *welcome.team, user, access.User, nil); err != nil {
				return err
			}
		}
		act, scope := audit.Of(ctx), access.Installation()
		if welcome.team != nil {
			scope = access.Team(welcome.team.ID) // whose owner wants to know
		}
		act.By(user)
		act.About(scope, user.ID, user.Email)
		return tx.CreateSession(ctx, session)
	})
	if err != nil {
		return api.Registered{}, err
	}
	return api.Registered{
		ID: user.ID, Email: user.Email, Username: user.Username, CreatedAt: api.Time{Time: at},
		User: toUser(user), Token: token, AccessToken: token,
	}, nil
}

// welcome is what becomes of somebody who registers.
type welcome struct {
	role store.UserRole
	team *store.Team // that he is a member of at once; nil for none
}

// mayRegister says whether this registration is welcome.
func (a *App) mayRegister(ctx context.Context, r *store.Reader, v Visit, in api.Registration) (w welcome, err error) {
	set, err := settings(ctx, r)
	if err != nil {
		return w, err
	}
	n, err := r.CountUsers(ctx)
	if err != nil {
		return w, err
	}
	mode := a.registration(set)
	code, invited := in.InviteCode.Get()
	if invited && (n == 0 || mode != api.RegistrationClosed) {
		team, err := teamInvitedTo(ctx, r, code)
		if err != nil {
			return w, err
		}
		w.team = &team
	}
	switch _, err := r.UserByEmail(ctx, in.Email); {
	case err == nil:
		return w, emailTaken(nil)
	case !errors.Is(err, store.ErrNotFound):
		return w, err
	}
	if n == 0 {
		w.role = store.Admin
		return w, a.checkFirst(v, in)
	}
	w.role = store.Member
	if mode == api.RegistrationClosed || mode == api.RegistrationInvite && w.team == nil {
		return w, &api.Error{Code: api.CodeForbidden, Message: "Registration is closed", Hint: closedHints[mode]}
	}
	return w, nil
}

var closedHints = map[string]string{
	api.RegistrationClosed: "ask the operator of this server for an account",
	api.RegistrationInvite: "send the invite code of a team as inviteCode, or ask the operator of this server",
}

// Visit is how somebody comes who is not logged in.
type Visit struct {
	From netip.Addr // zero where that is not known
	Host string     // what he calls this server, with its port
}

// byName reports whether the server is called by a name that anybody can have
// point here.
func (v Visit) byName() bool {
	host, _, err := net.SplitHostPort(v.Host)
	if err != nil {
		host = v.Host
	}
	_, err = netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil && host != "localhost"
}

// checkFirst holds the first registration to the code that the server printed.
// One that printed none is open to this machine's users. Their browsers would let
// any page in that has its own name point to this machine, so names do not do.
func (a *App) checkFirst(v Visit, in api.Registration) error {
	code, _ := in.SetupCode.Get()
	switch {
	case a.SetupCode.IsZero() && v.byName():
		return &api.Error{
			Code:    api.CodeForbidden,
			Message: "The first account of this server is registered at its own address, and not by a name",
			Hint:    "use http://127.0.0.1 or http://localhost with its port, from the machine that it runs on",
		}
	case a.SetupCode.IsZero(), same(string(code), a.SetupCode.Reveal()):
		return nil
	}
	return &api.Error{
		Code:    api.CodeForbidden,
		Message: "The first registration on this server needs its setup code",
		Hint:    "send it as setupCode; the server printed it when it started, and keeps it in its data directory",
	}
}

// unguessed does what proves that somebody knows a secret, unless there was too
// much guessing. try tells whether he knew.
func (a *App) unguessed(ctx context.Context, of *auth.Guesses, account string, from netip.Addr, try func() (knew bool, err error)) error {
	guess, wait, err := of.Begin(ctx, account, from)
	if err != nil {
		return err
	}
	if guess == nil {
		return &api.Error{
			Code: api.CodeTooManyRequests, Message: "Too many wrong tries", Hint: "wait before the next one", RetryAfter: wait,
		}
	}
	defer guess.Done() // also when try panics
	knew, err := try()
	if !knew {
		guess.Fail()
	}
	return err
}

func isNotFound(err error) bool {
	told, ok := errors.AsType[*api.Error](err)
	return ok && told.Code == api.CodeNotFound
}

func emailTaken(cause error) error {
	return &api.Error{Code: api.CodeBadRequest, Message: "Email already exists", Err: cause}
}

// same compares two secrets in time that tells neither content nor length.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// PasswordProblem says what is wrong with a new password in the named field;
// empty when nothing is. An empty password is not its business.
func (a *App) PasswordProblem(field string, password api.Secret) string {
	if password == "" || utf8.RuneCountInString(string(password)) >= a.MinPassword {
		return ""
	}
	return fmt.Sprintf("%s must be longer than or equal to %d characters", field, a.MinPassword)
}

// Login opens a session. It takes as long for an unknown e-mail as for a wrong
// password.
func (a *App) Login(ctx context.Context, from netip.Addr, in api.Credentials) (api.Session, error) {
	var user store.User
	err := a.unguessed(ctx, a.logins, in.Email, from, func() (knew bool, err error) {
		user, knew, err = a.verify(ctx, in)
		if err == nil && !knew {
			return false, invalidCredentials()
		}
		return true, err // what broke was no guess
	})
	if err != nil {
		return api.Session{}, err
	}
	token, session, err := a.newSession(user)
	if err != nil {
		return api.Session{}, err
	}
	hash := user.PasswordHash
	if a.Hasher.Outdated(hash) { // only now is the password at hand
		if hash, err = a.Hasher.Hash(ctx, redact.New(string(in.Password))); err != nil {
			return api.Session{}, fmt.Errorf("hash password: %w", err)
		}
	}
	err = a.change(ctx, func(tx *store.Tx) error {
		// Whoever adds a session takes out those that have ended.
		if _, err := tx.PurgeSessions(ctx, store.Now()); err != nil {
			return err
		}
		// The password may have been changed, or the user disabled, since it was
		// looked at; what ended his sessions must end this one.
		current, err := tx.UserByID(ctx, user.ID)
		if err != nil {
			return err
		}
		if current.Disabled || current.PasswordHash.Reveal() != user.PasswordHash.Reveal() {
			return invalidCredentials()
		}
		if hash.Reveal() != current.PasswordHash.Reveal() {
			if err := tx.SetPassword(ctx, user.ID, hash, current.UpdatedAt); err != nil {
				return err
			}
		}
		return tx.CreateSession(ctx, session)
	})
	if err != nil {
		return api.Session{}, err
	}
	return api.Session{AccessToken: token, Token: token, User: toUser(user)}, nil
}

func invalidCredentials() error {
	return &api.Error{Code: api.CodeUnauthorized, Message: "Invalid credentials"}
}

// verify gives the user whose credentials these are.
func (a *App) verify(ctx context.Context, in api.Credentials) (user store.User, ok bool, err error) {
	password := redact.New(string(in.Password))
	user, err = a.Store.UserByEmail(ctx, in.Email)
	if errors.Is(err, store.ErrNotFound) {
		return user, false, a.Hasher.VerifyNone(ctx, password)
	}
	if err != nil {
		return user, false, err
	}
	act := audit.Of(ctx)
	act.About(access.Installation(), user.ID, user.Email)
	if ok, err = a.Hasher.Verify(ctx, user.PasswordHash, password); err != nil {
		return user, false, fmt.Errorf("verify password of user %s: %w", user.ID, err)
	}
	if ok && !user.Disabled {
		act.By(user)
	}
	return user, ok && !user.Disabled, nil
}

func (a *App) newSession(user store.User) (api.Secret, store.Session, error) {
	token, claims, err := a.tokens.Load().Issue(user.ID, user.Email)
	if err != nil {
		return "", store.Session{}, fmt.Errorf("issue token: %w", err)
	}
	return api.Secret(token.Reveal()), store.Session{
		ID: claims.SessionID, UserID: user.ID, CreatedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt,
	}, nil
}

// Authenticate tells who holds a token. A token that is not valid any more is
// CodeUnauthorized.
func (a *App) Authenticate(ctx context.Context, token redact.Secret) (Caller, error) {
	if isAPIToken(token) {
		return a.authenticateToken(ctx, token)
	}
	refused := &api.Error{Code: api.CodeUnauthorized, Message: "Unauthorized", Hint: "the token is not valid or not any more: log in again"}
	claims, err := a.tokens.Load().Verify(token)
	if err != nil {
		refused.Err = err
		return Caller{}, refused
	}
	user, err := a.Store.UserBySession(ctx, claims.SessionID, store.Now())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Caller{}, refused
	case err != nil:
		return Caller{}, err
	case user.ID != claims.UserID, user.Disabled:
		return Caller{}, refused
	}
	who, err := a.caller(ctx, user)
	who.SessionID = claims.SessionID
	return who, err
}

// caller is a user who asks, with the teams that he is in.
func (a *App) caller(ctx context.Context, user store.User) (Caller, error) {
	teams, err := a.Store.Memberships(ctx, user.ID)
	return Caller{
		Actor: access.Actor{UserID: user.ID, Admin: user.Role == store.Admin, Teams: teams},
		User:  toUser(user),
	}, err
}

// Logout ends the caller's session, or revokes the API token that he used: what
// he has is worthless from then on.
func (a *App) Logout(ctx context.Context, who Caller) error {
	return a.change(ctx, func(tx *store.Tx) error {
		audit.Of(ctx).About(access.Personal(who.UserID), who.UserID, who.User.Email)
		if who.TokenID == "" {
			return tx.DeleteSession(ctx, who.SessionID)
		}
		err := tx.DeleteAPIToken(ctx, who.UserID, who.TokenID)
		if errors.Is(err, store.ErrNotFound) {
			err = nil // it was revoked a moment ago
		}
		return err
	})
}

// ChangePassword replaces the caller's password and ends all his other sessions.
func (a *App) ChangePassword(ctx context.Context, who Caller, from netip.Addr, in api.PasswordChange) error {
	if err := mayAccount(ctx, who.Actor); err != nil {
		return err
	}
	if problem := a.PasswordProblem("newPassword", in.NewPassword); problem != "" {
		return api.Invalid(problem)
	}
	user, err := a.Store.UserByID(ctx, who.UserID)
	if err != nil {
		return err
	}
	act := audit.Of(ctx)
	act.About(access.Personal(user.ID), user.ID, user.Email)
	err = a.unguessed(ctx, a.logins, user.Email, from, func() (bool, error) {
		act.Guesses()
		ok, err := a.Hasher.Verify(ctx, user.PasswordHash, redact.New(string(in.CurrentPassword)))
		switch {
		case err != nil:
			return true, fmt.Errorf("verify password of user %s: %w", user.ID, err)
		case !ok:
			return false, api.Invalid("currentPassword is wrong")
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	hash, err := a.Hasher.Hash(ctx, redact.New(string(in.NewPassword)))
	if err != nil {
		return fmt.Errorf("hash password: %w", err)
	}
	return a.change(ctx, func(tx *store.Tx) error {
		// Of two changes from one old password only the first is from the
		// password that there is.
		current, err := tx.UserByID(ctx, user.ID)
		if err != nil {
			return err
		}
		if current.PasswordHash.Reveal() != user.PasswordHash.Reveal() {
			return api.Invalid("currentPassword is wrong")
		}
		if err := tx.SetPassword(ctx, user.ID, hash, store.Now()); err != nil {
			return err
		}
		if err := tx.DeleteAPITokens(ctx, user.ID); err != nil {
			return err
		}
		return tx.DeleteOtherSessions(ctx, user.ID, who.SessionID)
	})
}
