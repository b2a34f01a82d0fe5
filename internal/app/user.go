package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
)

// Caller is who asks, and the session he asks in.
type Caller struct {
	access.Actor
	User      api.User
	SessionID string
}

func toUser(u store.User) api.User {
	return api.User{ID: u.ID, Email: u.Email, Username: u.Username, Role: string(u.Role)}
}

// Register makes the first account, which becomes the operator, and logs it in.
func (a *App) Register(ctx context.Context, in api.Registration) (api.Registered, error) {
	if problem := a.PasswordProblem("password", in.Password); problem != "" {
		return api.Registered{}, api.Invalid(problem)
	}
	// Asked before the costly hash, and again in the transaction.
	if err := a.mayRegister(ctx, &a.Store.Reader, in); err != nil {
		return api.Registered{}, err
	}
	hash, err := a.Hasher.Hash(ctx, redact.New(string(in.Password)))
	if err != nil {
		return api.Registered{}, fmt.Errorf("hash password: %w", err)
	}
	id, err := newID()
	if err != nil {
		return api.Registered{}, err
	}
	at := now()
	user := store.User{
		ID: id, Email: in.Email, Username: in.Username, PasswordHash: hash, Role: store.Admin, CreatedAt: at, UpdatedAt: at,
	}
	token, session, err := a.newSession(user)
	if err != nil {
		return api.Registered{}, err
	}
	err = a.write(ctx, func(tx *store.Tx) error {
		if err := a.mayRegister(ctx, &tx.Reader, in); err != nil {
			return err
		}
		err := tx.CreateUser(ctx, user)
		if errors.Is(err, store.ErrConflict) {
			return emailTaken(err)
		}
		if err != nil {
			return err
		}
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

// mayRegister says whether this registration is welcome. Once there is an
// account only an invite code would open the door, and there are none yet.
func (a *App) mayRegister(ctx context.Context, r *store.Reader, in api.Registration) error {
	if _, ok := in.InviteCode.Get(); ok {
		return &api.Error{Code: api.CodeNotFound, Message: "Invite code not found"}
	}
	switch _, err := r.UserByEmail(ctx, in.Email); {
	case err == nil:
		return emailTaken(nil)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	n, err := r.CountUsers(ctx)
	if err != nil {
		return err
	}
	if n > 0 {
		return &api.Error{Code: api.CodeForbidden, Message: "Registration is closed", Hint: "this server has its account: log in with it, or ask its operator for one"}
	}
	code, _ := in.SetupCode.Get()
	if !a.SetupCode.IsZero() && !same(string(code), a.SetupCode.Reveal()) {
		return &api.Error{
			Code:    api.CodeForbidden,
			Message: "The first registration on this server needs its setup code",
			Hint:    "send it as setupCode; the server printed it when it started, and keeps it in its data directory",
		}
	}
	return nil
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
func (a *App) Login(ctx context.Context, in api.Credentials) (api.Session, error) {
	wrong := &api.Error{Code: api.CodeUnauthorized, Message: "Invalid credentials"}
	password := redact.New(string(in.Password))
	user, err := a.Store.UserByEmail(ctx, in.Email)
	if errors.Is(err, store.ErrNotFound) {
		if err := a.Hasher.VerifyNone(ctx, password); err != nil {
			return api.Session{}, fmt.Errorf("verify password: %w", err)
		}
		return api.Session{}, wrong
	}
	if err != nil {
		return api.Session{}, err
	}
	ok, err := a.Hasher.Verify(ctx, user.PasswordHash, password)
	if err != nil {
		return api.Session{}, fmt.Errorf("verify password of user %s: %w", user.ID, err)
	}
	if !ok || user.Disabled {
		return api.Session{}, wrong
	}
	token, session, err := a.newSession(user)
	if err != nil {
		return api.Session{}, err
	}
	err = a.write(ctx, func(tx *store.Tx) error {
		// Whoever adds a session takes out those that have ended.
		if _, err := tx.PurgeSessions(ctx, now()); err != nil {
			return err
		}
		return tx.CreateSession(ctx, session)
	})
	if err != nil {
		return api.Session{}, err
	}
	return api.Session{AccessToken: token, Token: token, User: toUser(user)}, nil
}

func (a *App) newSession(user store.User) (api.Secret, store.Session, error) {
	token, claims, err := a.Tokens.Issue(user.ID, user.Email)
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
	refused := &api.Error{Code: api.CodeUnauthorized, Message: "Unauthorized", Hint: "the token is not valid or not any more: log in again"}
	claims, err := a.Tokens.Verify(token)
	if err != nil {
		refused.Err = err
		return Caller{}, refused
	}
	user, err := a.Store.UserBySession(ctx, claims.SessionID, now())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Caller{}, refused
	case err != nil:
		return Caller{}, err
	case user.ID != claims.UserID, user.Disabled:
		return Caller{}, refused
	}
	teams, err := a.Store.Memberships(ctx, user.ID)
	if err != nil {
		return Caller{}, err
	}
	return Caller{
		Actor:     access.Actor{UserID: user.ID, Admin: user.Role == store.Admin, Teams: teams},
		User:      toUser(user),
		SessionID: claims.SessionID,
	}, nil
}

// Logout ends the caller's session: its token is worthless from then on.
func (a *App) Logout(ctx context.Context, who Caller) error {
	return a.write(ctx, func(tx *store.Tx) error { return tx.DeleteSession(ctx, who.SessionID) })
}

// ChangePassword replaces the caller's password and ends all his other sessions.
func (a *App) ChangePassword(ctx context.Context, who Caller, in api.PasswordChange) error {
	if problem := a.PasswordProblem("newPassword", in.NewPassword); problem != "" {
		return api.Invalid(problem)
	}
	user, err := a.Store.UserByID(ctx, who.UserID)
	if err != nil {
		return err
	}
	ok, err := a.Hasher.Verify(ctx, user.PasswordHash, redact.New(string(in.CurrentPassword)))
	if err != nil {
		return fmt.Errorf("verify password of user %s: %w", user.ID, err)
	}
	if !ok {
		return api.Invalid("currentPassword is wrong")
	}
	hash, err := a.Hasher.Hash(ctx, redact.New(string(in.NewPassword)))
	if err != nil {
		return fmt.Errorf("hash password: %w", err)
	}
	return a.write(ctx, func(tx *store.Tx) error {
		if err := tx.SetPassword(ctx, user.ID, hash, now()); err != nil {
			return err
		}
		return tx.DeleteOtherSessions(ctx, user.ID, who.SessionID)
	})
}
