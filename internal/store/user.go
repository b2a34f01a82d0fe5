package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
)

var users = newTable("users", "user", "id", "email", func(u *User) []column {
	return []column{
		{name: "id", value: &u.ID, keep: true},
		{name: "email", value: &u.Email},
		{name: "email_lower", value: derived(func() string { return strings.ToLower(u.Email) })},
		{name: "username", value: &u.Username},
		{name: "password_hash", value: hidden{&u.PasswordHash}},
		{name: "role", value: &u.Role},
		{name: "disabled", value: &u.Disabled},
		{name: "created_at", value: instant{&u.CreatedAt}, keep: true},
		{name: "updated_at", value: instant{&u.UpdatedAt}},
	}
})

// CreateUser adds a user. A taken e-mail is a ConflictError of UserEmail. To
// know whether this is the first one, ask CountUsers in the same transaction.
func (tx *Tx) CreateUser(ctx context.Context, u User) error {
	return users.insert(ctx, &tx.runner, &u)
}

// CountUsers counts all users, the disabled ones too.
func (r *Reader) CountUsers(ctx context.Context) (int, error) {
	return r.number(ctx, "count users", "SELECT COUNT(*) FROM users")
}

// Users lists all users, newest first.
func (r *Reader) Users(ctx context.Context, page Page) ([]User, error) {
	rest, args := newestFirst, []any(nil)
	if page.Limit > 0 {
		rest, args = rest+" LIMIT ? OFFSET ?", []any{page.Limit, page.Offset}
	}
	return users.rows(ctx, &r.runner, rest, args...)
}

// CountOperators counts the operators who are not disabled.
func (r *Reader) CountOperators(ctx context.Context) (int, error) {
	return r.number(ctx, "count operators", "SELECT COUNT(*) FROM users WHERE role = ? AND disabled = ?", Admin, false)
}

// SetStanding changes what a user is to the installation. His sessions and
// tokens stay; see DeleteOtherSessions and DeleteAPITokens.
func (tx *Tx) SetStanding(ctx context.Context, userID string, role UserRole, disabled bool, at time.Time) error {
	return users.set(ctx, &tx.runner, userID, "role = ?, disabled = ?, updated_at = ?", role, disabled, instant{&at})
}

// UserByID gives a user.
func (r *Reader) UserByID(ctx context.Context, id string) (User, error) {
	return users.byID(ctx, &r.runner, id)
}

// UserByEmail gives the user with this e-mail, whatever its case.
func (r *Reader) UserByEmail(ctx context.Context, email string) (User, error) {
	return users.one(ctx, &r.runner, "email_lower = ?", strings.ToLower(email))
}

// UserBySession gives the user whose session this is, a disabled one too, and
// ErrNotFound when the session is gone or has expired.
func (r *Reader) UserBySession(ctx context.Context, sessionID string, now time.Time) (User, error) {
	return users.one(ctx, &r.runner,
		"id = (SELECT user_id FROM sessions WHERE jti = ? AND expires_at > ?)", sessionID, instant{&now})
}

// SetPassword replaces a user's password hash. His sessions stay; see
// DeleteOtherSessions.
func (tx *Tx) SetPassword(ctx context.Context, userID string, hash redact.Secret, at time.Time) error {
	return users.set(ctx, &tx.runner, userID, "password_hash = ?, updated_at = ?", hidden{&hash}, instant{&at})
}

// Memberships gives the teams that a user is in, with his role in each; nil
// when he is in none.
func (r *Reader) Memberships(ctx context.Context, userID string) (map[string]access.Role, error) {
	var teams map[string]access.Role
	query := "SELECT team_id, role FROM team_members WHERE user_id = ?"
	err := r.query(ctx, "read memberships", query, []any{userID}, func(rows *sql.Rows) error {
		var id string
		var role access.Role
		if err := rows.Scan(&id, &role); err != nil {
			return err
		}
		if teams == nil {
			teams = make(map[string]access.Role)
		}
		teams[id] = role
		return nil
	})
	return teams, err
}
