package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpenMakesAPrivateDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "odd name ?#%41&=.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	put(t, s, person("u", "a@b"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, want 0600", suffix, info.Mode().Perm())
		}
	}
}

func TestOpenFindsWhatWasThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adit.db")
	for round := range 3 {
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.CountUsers(t.Context()); err != nil || n != round {
			t.Fatalf("round %d: %d users, %v", round, n, err)
		}
		put(t, s, person(fmt.Sprint(round), fmt.Sprint(round)))
		closeStore(t, s)
	}
}

func TestOpenTellsThePathOfWhatItCannotOpen(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing", "adit.db")
	if _, err := Open(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a missing directory: %v", err)
	}
	text := filepath.Join(t.TempDir(), "adit.db")
	if err := os.WriteFile(text, []byte("this is no database, whatever its name says\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), text)
	if err == nil || !regexp.MustCompile(regexp.QuoteMeta(text)).MatchString(err.Error()) {
		t.Errorf("a text file: %v", err)
	}
}

func TestOpenRefusesANewerDatabaseByNameAndLeavesItAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adit.db")
	raw := openRaw(t, path)
	execRaw(t, raw, "CREATE TABLE schema_version (version INTEGER NOT NULL)", "INSERT INTO schema_version VALUES (99)")

	_, err := Open(t.Context(), path)
	var newer *NewerError
	if !errors.As(err, &newer) {
		t.Fatalf("err = %v, want a NewerError", err)
	}
	steps, err := migrations(&sqliteDialect)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("database %s has schema 99, this adit knows %d: use a newer adit", path, len(steps))
	if newer.Error() != want {
		t.Errorf("says %q, want %q", newer, want)
	}
	var tables int
	if err := raw.QueryRow("SELECT COUNT(*) FROM sqlite_master").Scan(&tables); err != nil || tables != 1 {
		t.Errorf("%d tables afterwards, %v", tables, err)
	}
}

func TestMigrationsAreNumberedWithoutGaps(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(migrationFiles, "migrations/*")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for i, name := range names {
		if !regexp.MustCompile(fmt.Sprintf(`^migrations/%04d_[a-z_]+\.sql$`, i+1)).MatchString(name) {
			t.Errorf("file %d is %s", i+1, name)
		}
	}
}

func TestMigrateTakesOnlyTheStepsThatAreMissing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adit.db")
	raw := openRaw(t, path)
	steps := []string{"CREATE TABLE a (x TEXT); CREATE TABLE b (x TEXT)", "INSERT INTO a VALUES ('second')", "INSERT INTO a VALUES ('third')"}
	for _, upTo := range []int{1, 1, 3, 3} {
		if err := migrate(t.Context(), raw, path, steps[:upTo]); err != nil {
			t.Fatal(err)
		}
	}
	var rows, version int
	if err := raw.QueryRow("SELECT (SELECT COUNT(*) FROM a), version FROM schema_version").Scan(&rows, &version); err != nil {
		t.Fatal(err)
	}
	if rows != 2 || version != 3 {
		t.Errorf("%d rows at schema %d, want 2 at 3", rows, version)
	}
}

func TestMigrateLeavesTheDatabaseAsItWasWhenAStepBreaks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adit.db")
	raw := openRaw(t, path)
	err := migrate(t.Context(), raw, path, []string{"CREATE TABLE a (x TEXT)", "CREATE TABLE b (x TEXT); NONSENSE"})
	if err == nil {
		t.Fatal("no error")
	}
	var tables int
	if err := raw.QueryRow("SELECT COUNT(*) FROM sqlite_master").Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables afterwards, %v", tables, err)
	}
}

// openTemp opens a fresh store, on the database that the tests are to use, that
// is closed when the test ends.
func openTemp(t testing.TB) *Store {
	t.Helper()
	if postgres.Wanted() {
		return openPostgresAt(t, postgres.Database(t))
	}
	s, err := Open(context.Background(), filepath.Join(t.TempDir(), "adit.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// openRaw opens the file without a schema.
func openRaw(t *testing.T, path string) *sql.DB {
	t.Helper()
	raw, err := openPool(path, writerPragmas, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}

func execRaw(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// postgresRaw is one connection to a PostgreSQL database, without a schema.
func postgresRaw(t *testing.T, url string) *sql.DB {
	t.Helper()
	raw, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	raw.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}
