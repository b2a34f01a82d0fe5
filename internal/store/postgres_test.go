package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

// openPostgresAt opens a store that is closed when the test ends.
func openPostgresAt(t testing.TB, url string) *Store {
	t.Helper()
	s, err := OpenPostgres(context.Background(), redact.New(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func TestASecondProcessIsRefusedByTheDatabasesName(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	s := openPostgresAt(t, url)
	put(t, s, person("u", "a@b"))
	_, err := OpenPostgres(t.Context(), redact.New(url))
	var used *UsedError
	if !errors.As(err, &used) || !strings.HasSuffix(err.Error(), " is used by another adit") || !strings.HasPrefix(err.Error(), "database ") {
		t.Fatalf("err = %v, want a UsedError", err)
	}
	withoutPassword(t, err)
	put(t, s, person("v", "c@d"))
	closeStore(t, s)
	wantUsers(t, openPostgresAt(t, url), 2)
}

func TestANewerPostgresDatabaseIsRefusedByNameAndLeftAlone(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	closeStore(t, openPostgresAt(t, url))
	raw := postgresRaw(t, url)
	execRaw(t, raw, "UPDATE schema_version SET version = 99", "DROP TABLE meta")

	_, err := OpenPostgres(t.Context(), redact.New(url))
	var newer *NewerError
	if !errors.As(err, &newer) || newer.Has != 99 || !strings.Contains(newer.Database, "/t") {
		t.Fatalf("err = %v, want a NewerError", err)
	}
	withoutPassword(t, err)
	var version, tables int
	if err := raw.QueryRow("SELECT version, (SELECT COUNT(*) FROM pg_tables WHERE tablename = 'meta') FROM schema_version").Scan(&version, &tables); err != nil {
		t.Fatal(err)
	}
	if version != 99 || tables != 0 {
		t.Errorf("it was touched: schema %d, %d tables called meta", version, tables)
	}
}

func TestOpenPostgresTellsWhatItCannotOpenAndNoPassword(t *testing.T) {
	t.Parallel()
	real := postgres.Database(t)
	for name, url := range map[string]string{
		"no such database": strings.Replace(real, "/t", "/none", 1),
		"no such role":     strings.Replace(real, "adit:", "nobody:", 1),
		"nobody listens":   "postgres://adit:" + postgres.Password + "@127.0.0.1:1/x",
		"not parsed":       "postgres://adit:" + postgres.Password + "/@@[::1:/x",
		"no port":          "postgres://adit:" + postgres.Password + "@h:port/x?password=" + postgres.Password,
		"no TLS there":     "postgres://adit:" + postgres.Password + "@127.0.0.1:1/x?sslmode=verify-full",
		"no CA file":       "postgres://adit:" + postgres.Password + "@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/nowhere",
		"another database": "mysql://adit:" + postgres.Password + "@h/x",
	} {
		s, err := OpenPostgres(t.Context(), redact.New(url))
		if err == nil {
			closeStore(t, s)
			t.Errorf("%s: opened", name)
			continue
		}
		withoutPassword(t, err)
	}
}

// What an operator sees of a restart is one that was quick: every connection of
// both pools is dead, and was used a moment ago.
func TestTheStoreOutlivesARestartOfPostgreSQL(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	s := openPostgresAt(t, server.Database(t))
	for round := range 3 {
		useEveryConnection(t, s)
		server.Stop(t)
		if round == 0 {
			_, err := s.CountUsers(t.Context())
			werr := s.Write(t.Context(), func(*Tx) error { return nil })
			rerr := s.Read(t.Context(), func(*Reader) error { return nil })
			for _, err := range []error{err, werr, rerr} {
				if !errors.Is(err, ErrUnavailable) {
					t.Errorf("of a stopped server: %v, want ErrUnavailable", err)
				}
			}
			withoutPassword(t, errors.Join(err, werr, rerr))
		}
		server.Resume(t)
		switch round { // whichever comes first meets dead connections
		case 1:
			wantUsers(t, s, round)
		case 2:
			if err := s.Read(t.Context(), func(r *Reader) error { _, err := r.CountUsers(t.Context()); return err }); err != nil {
				t.Error(err)
			}
		}
		id := fmt.Sprint(round)
		put(t, s, person(id, id))
		wantUsers(t, s, round+1)
	}
}

func TestConnectionsThatEndWhileInUseFailOnceAtMost(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	s := openPostgresAt(t, url)
	raw := postgresRaw(t, url)
	for round := range 3 {
		useEveryConnection(t, s)
		terminateOthers(t, raw)
		wantUsers(t, s, round)
		terminateOthers(t, raw)
		put(t, s, person(fmt.Sprint(round), fmt.Sprint(round)))
	}
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := tx.CreateUser(t.Context(), person("x", "x")); err != nil {
			return err
		}
		terminateOthers(t, raw)
		return tx.CreateUser(t.Context(), person("y", "y"))
	})
	if err == nil {
		t.Error("a transaction outlived its connection")
	}
	wantUsers(t, s, 3)
	put(t, s, person("z", "z"))
	wantUsers(t, s, 4)
}

func TestWhoLostTheDatabaseToAnotherWritesNoMore(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	loser := openPostgresAt(t, url)
	put(t, loser, person("u", "a@b"))
	terminateOthers(t, postgresRaw(t, url))
	winner := openPostgresAt(t, url)
	put(t, winner, person("v", "c@d"))

	var used *UsedError
	err := loser.Write(t.Context(), func(*Tx) error { t.Error("it writes"); return nil })
	if !errors.As(err, &used) {
		t.Errorf("err = %v, want a UsedError", err)
	}
	withoutPassword(t, err)
	wantUsers(t, loser, 2)

	closeStore(t, winner)
	put(t, loser, person("w", "e@f"))
	wantUsers(t, loser, 3)
}

func TestAPoolerThatGivesTheLockAwayIsTold(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	s := openPostgresAt(t, url)
	// What a pooler does that hands the session's lock to nobody in particular.
	execRaw(t, s.writer, fmt.Sprintf("SELECT pg_advisory_unlock(%d)", int64(lockKey)))
	raw := postgresRaw(t, url)
	execRaw(t, raw, fmt.Sprintf("SELECT pg_advisory_lock(%d)", int64(lockKey)))
	err := s.Write(t.Context(), func(*Tx) error { t.Error("it writes"); return nil })
	if err == nil || !strings.Contains(err.Error(), "pooler") {
		t.Errorf("err = %v", err)
	}
}

// Ids and names are compared alike in both databases, in whatever language a
// PostgreSQL database sorts.
func TestEveryTextOfTheSchemaIsComparedByItsBytes(t *testing.T) {
	t.Parallel()
	s := openPostgresAt(t, postgres.Database(t))
	rows, err := s.readers.Query(`SELECT table_name || '.' || column_name, COALESCE(collation_name, 'the database''s')
		FROM information_schema.columns WHERE table_schema = 'public' AND data_type IN ('text', 'character varying', 'character')`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	n := 0
	for ; rows.Next(); n++ {
		var column, collation string
		if err := rows.Scan(&column, &collation); err != nil {
			t.Fatal(err)
		}
		if collation != "C" {
			t.Errorf("%s has the collation %s", column, collation)
		}
	}
	if err := rows.Err(); err != nil || n < 50 {
		t.Errorf("%d columns, %v", n, err)
	}
}

func TestMarksAreNumberedOutsideOfTexts(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"SELECT 1":                          "SELECT 1",
		"a = ? AND b IN (?, ?)":             "a = $1 AND b IN ($2, $3)",
		"a = '?' OR b = 'it''s ?' OR c = ?": "a = '?' OR b = 'it''s ?' OR c = $1",
		"名 = ?":                             "名 = $1",
		strings.Repeat("?,", 11):            "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,",
	} {
		for range 2 {
			if got := numbered(query); got != want {
				t.Errorf("%s: %s, want %s", query, got, want)
			}
		}
	}
}

// useEveryConnection has all connections of both pools made and used.
func useEveryConnection(t *testing.T, s *Store) {
	t.Helper()
	var arrived, done sync.WaitGroup
	arrived.Add(readerConns)
	for range readerConns {
		done.Go(func() {
			err := s.Read(t.Context(), func(r *Reader) error {
				arrived.Done()
				arrived.Wait()
				_, err := r.CountUsers(t.Context())
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	write(t, s, func(tx *Tx) error { _, err := tx.CountUsers(t.Context()); return err })
	if n := s.readers.Stats().Idle; n != readerConns {
		t.Fatalf("%d idle connections", n)
	}
}

// terminateOthers ends all other sessions of the database, and waits for their end.
func terminateOthers(t *testing.T, raw *sql.DB) {
	t.Helper()
	execRaw(t, raw, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
}

func withoutPassword(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		if strings.Contains(text, postgres.Password[:8]) {
			t.Errorf("the password is shown: %s", text)
		}
	}
}

func TestPostgresThatIsFullRefusesWritesAndKeepsServing(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	s := openPostgresAt(t, url)
	raw := postgresRaw(t, url)
	execRaw(t, raw, "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space' USING ERRCODE = 'disk_full'; END $$",
		"CREATE TRIGGER full_disk BEFORE INSERT ON users EXECUTE FUNCTION full_disk()")
	err := s.Write(t.Context(), func(tx *Tx) error { return tx.CreateUser(t.Context(), person("u", "a@b")) })
	if !errors.Is(err, ErrFull) {
		t.Errorf("err = %v, want ErrFull", err)
	}
	wantUsers(t, s, 0)
	execRaw(t, raw, "DROP TRIGGER full_disk ON users")
	put(t, s, person("u", "a@b"))
}

// Whoever breaks off a commit does not know whether it came to be.
func TestACommitGoesOnWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	url := postgres.Database(t)
	s := openPostgresAt(t, url)
	raw := postgresRaw(t, url)
	execRaw(t, raw, "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$",
		"CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
		"SELECT pg_advisory_lock(1)")
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		written <- s.Write(ctx, func(tx *Tx) error { return tx.CreateUser(ctx, person("u", "a@b")) })
	}()
	for waiting := 0; waiting == 0; { // until the commit is under way
		err := raw.QueryRow("SELECT COUNT(*) FROM pg_locks JOIN pg_database d ON d.oid = database " +
			"WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted").Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	execRaw(t, raw, "SELECT pg_advisory_unlock(1)")
	if err := <-written; err != nil {
		t.Errorf("Write: %v", err)
	}
	wantUsers(t, s, 1)
}
