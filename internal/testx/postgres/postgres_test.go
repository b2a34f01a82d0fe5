package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// execute runs statements on a database and gives the number that the last one
// selects.
func execute(t *testing.T, url string, statements ...string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for i, statement := range statements {
		if i == len(statements)-1 {
			err = conn.QueryRow(t.Context(), statement).Scan(&n)
		} else {
			_, err = conn.Exec(t.Context(), statement)
		}
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return n
}

func TestEveryDatabaseIsFreshAndItsOwnersAlone(t *testing.T) {
	t.Parallel()
	for range 3 {
		url := postgres.Database(t)
		if n := execute(t, url, "CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1)", "SELECT COUNT(*) FROM a"); n != 1 {
			t.Errorf("%d rows", n)
		}
		if n := execute(t, url, "SELECT COUNT(*) FROM pg_roles WHERE rolname = current_user AND NOT rolsuper"); n != 1 {
			t.Error("the role is a superuser")
		}
	}
}

func TestAServerKeepsItsDatabasesOverAStop(t *testing.T) {
	t.Parallel()
	s := postgres.Start(t)
	url := s.Database(t)
	execute(t, url, "CREATE TABLE a (x INTEGER)", "SELECT 1")
	s.Stop(t)
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("a stopped server answers")
	}
	s.Resume(t)
	if n := execute(t, url, "SELECT COUNT(*) FROM a"); n != 0 {
		t.Errorf("%d rows", n)
	}
}
