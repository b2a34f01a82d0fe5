package store

import (
	"context"
	"time"
)

// APIToken is a token for programs, which acts for its user within bounds.
type APIToken struct {
	ID         string
	UserID     string
	Name       string
	Level      string // read, operate, manage
	Namespace  string // the only team that it is for; empty for all that the user may do
	Hash       []byte // SHA-256 of the token; the token itself is not kept
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time // to within some minutes
}

var apiTokens = newTable("api_tokens", "API token", "id", "hash", func(t *APIToken) []column {
	return []column{
		{name: "id", value: &t.ID, keep: true},
		{name: "user_id", value: &t.UserID, keep: true},
		{name: "name", value: &t.Name},
		{name: "level", value: &t.Level},
		{name: "namespace", value: orNull[string]{&t.Namespace}},
		{name: "hash", value: blob{&t.Hash}, keep: true},
		{name: "created_at", value: instant{&t.CreatedAt}, keep: true},
		{name: "expires_at", value: instant{&t.ExpiresAt}},
		{name: "last_used_at", value: instant{&t.LastUsedAt}},
	}
})

// APITokenByHash gives the token with this hash that has not expired.
func (r *Reader) APITokenByHash(ctx context.Context, hash []byte, now time.Time) (APIToken, error) {
	return apiTokens.one(ctx, &r.runner, "hash = ? AND expires_at > ?", blob{&hash}, instant{&now})
}

// APIToken gives a token by its id, if it has not expired.
func (r *Reader) APIToken(ctx context.Context, id string, now time.Time) (APIToken, error) {
	return apiTokens.one(ctx, &r.runner, "id = ? AND expires_at > ?", id, instant{&now})
}

// APITokens lists the tokens of a user that have not expired, newest first.
func (r *Reader) APITokens(ctx context.Context, userID string, now time.Time) ([]APIToken, error) {
	return apiTokens.where(ctx, &r.runner, "user_id = ? AND expires_at > ?", userID, instant{&now})
}

// CreateAPIToken adds a token, and removes those of the user that have expired.
func (tx *Tx) CreateAPIToken(ctx context.Context, t APIToken) error {
	_, err := tx.exec(ctx, "purge API tokens", "DELETE FROM api_tokens WHERE user_id = ? AND expires_at <= ?", t.UserID, instant{&t.CreatedAt})
	if err != nil {
		return err
	}
	return apiTokens.insert(ctx, &tx.runner, &t)
}

// DeleteAPIToken removes a token of a user's.
func (tx *Tx) DeleteAPIToken(ctx context.Context, userID, id string) error {
	n, err := tx.exec(ctx, "delete API token", "DELETE FROM api_tokens WHERE user_id = ? AND id = ?", userID, id)
	return apiTokens.met(n, err)
}

// DeleteAPITokens removes all tokens of a user.
func (tx *Tx) DeleteAPITokens(ctx context.Context, userID string) error {
	_, err := tx.exec(ctx, "delete API tokens", "DELETE FROM api_tokens WHERE user_id = ?", userID)
	return err
}

// MarkAPITokenUsed records that a token was used. One that is gone is no error.
func (tx *Tx) MarkAPITokenUsed(ctx context.Context, id string, at time.Time) error {
	_, err := tx.exec(ctx, "mark API token", "UPDATE api_tokens SET last_used_at = ? WHERE id = ?", instant{&at}, id)
	return err
}
