package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/adit-tunnel/adit/internal/auth"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
)

// signingKeyAge is how old the key that signs tokens gets before a new one takes
// its place. What the old one signed stays valid for as long as it lives.
const signingKeyAge = 30 * 24 * time.Hour

// tokens loads the keys that sign the users' tokens, renewed where it is time.
// One that cannot be opened is left alone: its tokens are not valid for now.
func (d *data) tokens(ctx context.Context, log *slog.Logger, now time.Time) (*auth.Tokens, error) {
	rows, err := d.store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("load signing keys: %w", err)
	}
	if rows, err = d.retire(ctx, rows, now); err != nil {
		return nil, fmt.Errorf("remove old signing keys: %w", err)
	}
	var keys []auth.SigningKey
	var newest time.Time
	for _, row := range rows {
		plain, err := d.keys.Open(row.Sealed, signingRow(row.ID))
		if err != nil {
			log.Error("a signing key cannot be opened; who logged in under it must log in again", "error", err)
			continue
		}
		if keys == nil {
			newest = row.CreatedAt
		}
		keys = append(keys, auth.SigningKey{ID: row.ID, Secret: plain})
	}
	if keys == nil || now.Sub(newest) >= signingKeyAge {
		key, err := d.newSigningKey(ctx, now)
		if err != nil {
			return nil, fmt.Errorf("make a signing key: %w", err)
		}
		keys = append([]auth.SigningKey{key}, keys...)
	}
	return auth.NewTokens(keys[0], keys[1:]...)
}

// retire removes the keys of which no token can be valid any more: those that
// another has taken the place of for longer than a token lives. rows and what is
// left of them are newest first.
func (d *data) retire(ctx context.Context, rows []store.SigningKey, now time.Time) ([]store.SigningKey, error) {
	for i := 1; i < len(rows); i++ {
		if now.Sub(rows[i-1].CreatedAt) <= auth.TokenLifetime {
			continue
		}
		err := d.store.Write(ctx, func(tx *store.Tx) error {
			for _, old := range rows[i:] {
				if err := tx.DeleteSigningKey(ctx, old.ID); err != nil {
					return err
				}
			}
			return nil
		})
		return rows[:i], err
	}
	return rows, nil
}

func signingRow(id string) string { return secret.Row("signing_keys", id, "secret") }

func (d *data) newSigningKey(ctx context.Context, now time.Time) (auth.SigningKey, error) {
	key := auth.NewSigningKey()
	sealed, err := d.keys.Seal(key.Secret, signingRow(key.ID))
	if err != nil {
		return key, err
	}
	return key, d.store.Write(ctx, func(tx *store.Tx) error {
		return tx.CreateSigningKey(ctx, store.SigningKey{ID: key.ID, Sealed: sealed, CreatedAt: now})
	})
}
