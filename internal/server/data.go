package server

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/adit-tunnel/adit/api"
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

// openData makes what is missing and opens the rest. The database is SQLite's in
// the directory, unless it is a PostgreSQL one's URL.
func openData(ctx context.Context, dir string, database redact.Secret) (d *data, err error) {
	if d, err = lockData(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err = d.openStore(ctx, database); err != nil {
		return d, err
	}
	used, err := d.store.Used(ctx)
	if err != nil {
		return d, err
	}
	d.keys, err = d.openKeys(used != nil)
	return d, err
}

// lockData makes the directory where there is none, and opens nothing in it.
func lockData(dir string) (d *data, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	d = &data{dir: dir}
	d.lock, err = lock(d.path(lockFile))
	return d, err
}

func (d *data) path(name string) string { return filepath.Join(d.dir, name) }

// openStore opens the database alone.
func (d *data) openStore(ctx context.Context, url redact.Secret) (err error) {
	if url.IsZero() {
		if d.store, err = store.Open(ctx, d.path(storeFile)); err != nil {
			return fmt.Errorf("open the database: %w", err)
		}
		return nil
	}
	d.store, err = store.OpenPostgres(ctx, url)
	var used *store.UsedError
	if errors.As(err, &used) {
		return &api.Error{Code: api.CodeConflict, Err: err, Message: used.Error(),
			Hint: "stop it first, or name another database with --database"}
	}
	return err
}

// openKeys opens the sealing keys. They are only made together with the
// database: beside an older one a fresh key would open nothing, and what was
// then sealed with it would be lost when the right one came back.
func (d *data) openKeys(older bool) (*secret.Keyring, error) {
	keys, err := secret.OpenFile(d.path(keyFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if older {
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
