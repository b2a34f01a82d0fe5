package server

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestAMissingSealingKeyForAPostgresDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	dir, url := t.TempDir(), redact.New(postgres.Database(t))
	path := filepath.Join(dir, keyFile)
	open := func() (*data, error) { return openData(t.Context(), dir, url) }
	d, err := open() // nothing but the schema is there afterwards
	must(t, err)
	d.close()
	must(t, os.Remove(path))
	d, err = open()
	must(t, err)
	must(t, d.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.CreateSigningKey(t.Context(), store.SigningKey{ID: "k", Sealed: []byte("sealed"), CreatedAt: time.Now()})
	}))
	d.close()
	key, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Remove(path))

	_, err = open()
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeSecretUnreadable || said.Hint == "" ||
		!strings.HasPrefix(said.Message, "the sealing key "+path+" is missing") {
		t.Fatalf("err = %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a fresh key was made: %v", err)
	}
	must(t, os.WriteFile(path, key, 0o600))
	d, err = open()
	must(t, err)
	defer d.close()
	if _, err := os.Stat(filepath.Join(dir, storeFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is an SQLite file too: %v", err)
	}
}

func TestADatabaseThatAnotherServesIsRefusedWithAHint(t *testing.T) {
	t.Parallel()
	url := redact.New(postgres.Database(t))
	d, err := openData(t.Context(), t.TempDir(), url)
	must(t, err)
	defer d.close()
	_, err = openData(t.Context(), t.TempDir(), url)
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeConflict || !strings.Contains(said.Message, "is used by another adit") ||
		!strings.Contains(said.Hint, "--database") || strings.Contains(said.Error(), postgres.Password) {
		t.Errorf("err = %v", err)
	}
}
