package store

import (
	"context"
	"time"
)

var sessions = newTable("sessions", "session", "jti", "", func(s *Session) []column {
	return []column{
		{name: "jti", value: &s.ID},
		{name: "user_id", value: &s.UserID},
		{name: "created_at", value: instant{&s.CreatedAt}},
		{name: "expires_at", value: instant{&s.ExpiresAt}},
	}
})

// CreateSession records an issued token.
func (tx *Tx) CreateSession(ctx context.Context, s Session) error {
	return sessions.insert(ctx, &tx.runner, &s)
}

// DeleteSession ends one session: a logout. One that is gone is no error.
func (tx *Tx) DeleteSession(ctx context.Context, id string) error {
	_, err := tx.exec(ctx, "delete session", "DELETE FROM sessions WHERE jti = ?", id)
	return err
}

// DeleteOtherSessions ends all sessions of a user but one, as a password change
// does; with keep empty, all.
func (tx *Tx) DeleteOtherSessions(ctx context.Context, userID, keep string) error {
	_, err := tx.exec(ctx, "delete sessions", "DELETE FROM sessions WHERE user_id = ? AND jti <> ?", userID, keep)
	return err
}

// PurgeSessions removes the sessions that have expired, and tells how many.
func (tx *Tx) PurgeSessions(ctx context.Context, now time.Time) (int, error) {
	return tx.exec(ctx, "purge sessions", "DELETE FROM sessions WHERE expires_at <= ?", instant{&now})
}

var signingKeys = newTable("signing_keys", "signing key", "kid", "", func(k *SigningKey) []column {
	return []column{
		{name: "kid", value: &k.ID},
		{name: "sealed", value: blob{&k.Sealed}},
		{name: "created_at", value: instant{&k.CreatedAt}},
	}
})

// SigningKeys lists the keys that tokens are signed with, newest first.
func (r *Reader) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return signingKeys.rows(ctx, &r.runner, "ORDER BY created_at DESC, kid DESC")
}

// CreateSigningKey adds a signing key.
func (tx *Tx) CreateSigningKey(ctx context.Context, k SigningKey) error {
	return signingKeys.insert(ctx, &tx.runner, &k)
}

// DeleteSigningKey removes a signing key; tokens that it signed are worthless
// then.
func (tx *Tx) DeleteSigningKey(ctx context.Context, id string) error {
	return signingKeys.delete(ctx, &tx.runner, id)
}
