// Package storetest opens stores for the tests of other packages, in the
// database that the tests are to run on: see internal/testx/postgres.
package storetest

import (
	"context"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

// Open opens the SQLite file at path, or the PostgreSQL database that stands for
// it, made when it is not there. The caller closes it.
func Open(t testing.TB, path string) *store.Store {
	t.Helper()
	var s *store.Store
	var err error
	if url := URL(t, path); url.IsZero() {
		s, err = store.Open(context.Background(), path)
	} else {
		s, err = store.OpenPostgres(context.Background(), url)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// URL gives the PostgreSQL database that stands for what is at path, as
// config.Config.Database has it: zero when the tests are on SQLite.
func URL(t testing.TB, path string) redact.Secret {
	t.Helper()
	return redact.New(postgres.Beside(t, path))
}
