// Package postgres runs a real PostgreSQL server for tests, from the programs of
// Debian's package or those of PATH. The server is on a socket in a directory
// of its own, and ends with the test process, however that ends.
package postgres

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Variable names the environment variable that says which database the fixtures
// of tests use: sqlite, which is the default, or postgres.
const Variable = "ADIT_TEST_DATABASE"

// Password stands in every URL. The server does not ask for it: it is there to
// be looked for where no password may be.
const Password = "never-shown-anywhere"

// Wanted reports whether the fixtures of tests are to use PostgreSQL.
func Wanted() bool { return os.Getenv(Variable) == "postgres" }

// SkipIfWanted skips a test that is about SQLite's own file. The run of the
// tests on SQLite has it.
func SkipIfWanted(t testing.TB) {
	t.Helper()
	if Wanted() {
		t.Skip("it is about SQLite's file, and runs with the tests on SQLite")
	}
}

var shared = sync.OnceValues(start)

// Database gives the URL of a fresh, empty database on the server that the tests
// of a process share. It may be used by a role that is no superuser.
func Database(t testing.TB) string {
	t.Helper()
	s, err := sharedServer(t)
	if err != nil {
		t.Fatal(err)
	}
	return s.Database(t)
}

func sharedServer(t testing.TB) (*Server, error) {
	t.Helper()
	demand(t)
	return shared()
}

// demand skips the test when there is no PostgreSQL, and fails it where it was
// asked for, or in CI.
func demand(t testing.TB) {
	t.Helper()
	_, err := programs()
	switch {
	case err == nil:
	case Wanted() || os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

var stand = struct {
	mu   sync.Mutex // guards below
	urls map[string]string
}{urls: make(map[string]string)}

// Beside gives the URL of the database that stands for the SQLite file or the
// data directory at path: always the same for the same path, fresh the first
// time. It is empty when the tests are on SQLite.
func Beside(t testing.TB, path string) string {
	t.Helper()
	return beside(t, path, func() string { return Database(t) })
}

// CopyBeside is Beside for a path that has no database yet: it gets a copy of the
// one that stands for another path, which nobody may be using.
func CopyBeside(t testing.TB, path, from string) string {
	t.Helper()
	if !Wanted() {
		return ""
	}
	source := Beside(t, from)
	return beside(t, path, func() string {
		s, err := sharedServer(t)
		if err != nil {
			t.Fatal(err)
		}
		return s.create(t, nameOf(t, source))
	})
}

func beside(t testing.TB, path string, create func() string) string {
	t.Helper()
	if !Wanted() {
		return ""
	}
	stand.mu.Lock()
	defer stand.mu.Unlock()
	if stand.urls[path] == "" {
		stand.urls[path] = create()
	}
	return stand.urls[path]
}

// Database gives the URL of a fresh, empty database.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return s.create(t, "template1")
}

func (s *Server) create(t testing.TB, template string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	name := fmt.Sprint("t", s.made)
	if err := s.administer(fmt.Sprintf("CREATE DATABASE %s OWNER %s TEMPLATE %s", name, owner, template)); err != nil {
		t.Fatal(err)
	}
	return s.url(owner, name)
}

// administer runs a statement as the superuser.
func (s *Server) administer(statement string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.url(superuser, "postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

func (s *Server) url(user, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, Password), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

func nameOf(t testing.TB, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path[1:]
}
