package server

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/auth"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
)

// The files of a data directory.
const (
	lockFile  = "lock"
	keyFile   = "sealing.key"
	storeFile = "adit.db"
	setupFile = "setup-code"
)

// data is a data directory that this process alone uses.
type data struct {
	dir   string
	lock  *os.File
	keys  *secret.Keyring
	store *store.Store
}

// openData makes what is missing and opens the rest.
func openData(ctx context.Context, dir string) (d *data, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	d = &data{dir: dir}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.lock, err = lock(d.path(lockFile)); err != nil {
		return d, err
	}
	if d.keys, err = d.openKeys(); err != nil {
		return d, err
	}
	if d.store, err = store.Open(ctx, d.path(storeFile)); err != nil {
		return d, fmt.Errorf("open the database: %w", err)
	}
	return d, nil
}

func (d *data) path(name string) string { return filepath.Join(d.dir, name) }

// openKeys opens the sealing keys. They are only made together with the
// database: beside an older one a fresh key would open nothing, and what was
// then sealed with it would be lost when the right one came back.
func (d *data) openKeys() (*secret.Keyring, error) {
	keys, err := secret.OpenFile(d.path(keyFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if _, err := os.Stat(d.path(storeFile)); err == nil {
		return nil, &api.Error{Code: api.CodeSecretUnreadable,
			Message: fmt.Sprintf("the sealing key %s is missing, and the database beside it holds secrets that only it opens", d.path(keyFile)),
			Hint:    "put the key file back from your backup; to begin anew, move the database away"}
	}
	return secret.CreateFile(d.path(keyFile))
}

func (d *data) close() {
	if d.store != nil {
		d.store.Close()
	}
	if d.lock != nil {
		d.lock.Close() // and so unlocks
	}
}

// tokens loads the keys that sign the users' tokens and makes the first one.
// One that cannot be opened is left alone: its tokens are not valid for now.
func (d *data) tokens(ctx context.Context, log *slog.Logger) (*auth.Tokens, error) {
	rows, err := d.store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("load signing keys: %w", err)
	}
	var keys []auth.SigningKey
	for _, row := range rows {
		plain, err := d.keys.Open(row.Sealed, signingRow(row.ID))
		if err != nil {
			log.Error("a signing key cannot be opened; who logged in under it must log in again", "error", err)
			continue
		}
		keys = append(keys, auth.SigningKey{ID: row.ID, Secret: plain})
	}
	if len(keys) == 0 {
		key, err := d.newSigningKey(ctx)
		if err != nil {
			return nil, fmt.Errorf("make a signing key: %w", err)
		}
		keys = []auth.SigningKey{key}
	}
	return auth.NewTokens(keys[0], keys[1:]...)
}

func signingRow(id string) string { return secret.Row("signing_keys", id, "secret") }

func (d *data) newSigningKey(ctx context.Context) (auth.SigningKey, error) {
	key := auth.NewSigningKey()
	sealed, err := d.keys.Seal(key.Secret, signingRow(key.ID))
	if err != nil {
		return key, err
	}
	return key, d.store.Write(ctx, func(tx *store.Tx) error {
		return tx.CreateSigningKey(ctx, store.SigningKey{ID: key.ID, Sealed: sealed, CreatedAt: time.Now()})
	})
}

// setupCode returns what the first registration must give, and whether it was
// made just now. There is none once somebody has registered.
func (d *data) setupCode(ctx context.Context) (code redact.Secret, fresh bool, err error) {
	users, err := d.store.CountUsers(ctx)
	if err != nil || users > 0 {
		return redact.Secret{}, false, err
	}
	text, err := os.ReadFile(d.path(setupFile))
	if err == nil && strings.TrimSpace(string(text)) != "" {
		return redact.New(strings.TrimSpace(string(text))), false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return redact.Secret{}, false, err
	}
	var raw [15]byte
	_, _ = rand.Read(raw[:]) // never fails
	made := base32.StdEncoding.EncodeToString(raw[:])
	return redact.New(made), true, os.WriteFile(d.path(setupFile), []byte(made+"\n"), 0o600)
}
