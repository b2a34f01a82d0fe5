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
