package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestWriteKeepsNothingAfterAnError(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	mine := errors.New("mine")
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := tx.CreateUser(t.Context(), person("u", "a@b")); err != nil {
			return err
		}
		return mine
	})
	if !errors.Is(err, mine) {
		t.Fatalf("err = %v", err)
	}
	wantUsers(t, s, 0)
}

func TestWriteKeepsNothingAfterAPanicAndGoesOn(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	func() {
		defer func() { _ = recover() }()
		_ = s.Write(t.Context(), func(tx *Tx) error {
			if err := tx.CreateUser(t.Context(), person("u", "a@b")); err != nil {
				t.Error(err)
			}
			panic("here")
		})
	}()
	wantUsers(t, s, 0)
	put(t, s, person("v", "c@d"))
}

func TestATransactionIsSpentByAnErrorEvenWhenItIsIgnored(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	put(t, s, person("u", "a@b"))
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := tx.CreateUser(t.Context(), person("v", "A@B")); !errors.Is(err, ErrConflict) {
			t.Errorf("conflict: %v", err)
		}
		if err := tx.CreateUser(t.Context(), person("w", "c@d")); !errors.Is(err, ErrConflict) {
			t.Errorf("afterwards: %v", err)
		}
		if _, err := tx.CountUsers(t.Context()); !errors.Is(err, ErrConflict) {
			t.Errorf("reading afterwards: %v", err)
		}
		return nil
	})
	if !errors.Is(err, ErrConflict) {
		t.Errorf("Write: %v", err)
	}
	wantUsers(t, s, 1)
}

func TestATransactionGoesOnAfterARowThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	err := s.Write(t.Context(), func(tx *Tx) error {
		if _, err := tx.UserByEmail(t.Context(), "a@b"); !errors.Is(err, ErrNotFound) {
			t.Errorf("UserByEmail: %v", err)
		}
		if err := tx.MarkStopped(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
			t.Errorf("MarkStopped: %v", err)
		}
		return tx.CreateUser(t.Context(), person("u", "a@b"))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantUsers(t, s, 1)
}

func TestATransactionSeesItsOwnWritesAndNobodyElseDoes(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := tx.CreateUser(t.Context(), person("u", "a@b")); err != nil {
			return err
		}
		if n, err := tx.CountUsers(t.Context()); err != nil || n != 1 {
			t.Errorf("inside: %d, %v", n, err)
		}
		wantUsers(t, s, 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantUsers(t, s, 1)
}

func TestReadGivesOneUnchangingView(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	err := s.Read(t.Context(), func(r *Reader) error {
		before, err := r.CountUsers(t.Context())
		if err != nil {
			return err
		}
		put(t, s, person("u", "a@b"))
		after, err := r.CountUsers(t.Context())
		if before != 0 || after != 0 {
			t.Errorf("%d users, then %d", before, after)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantUsers(t, s, 1)
}

func TestAReadingConnectionCannotWrite(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	if _, err := s.readers.Exec("DELETE FROM users"); err == nil {
		t.Error("it could")
	}
}

func TestACancelledWriteKeepsNothing(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	var ended error
	err := s.Write(ctx, func(tx *Tx) error {
		if err := tx.CreateUser(ctx, person("u", "a@b")); err != nil {
			return err
		}
		cancel()
		// What runs on regardless, with a context of its own, meets the end of
		// the transaction some time, and is not kept either.
		for i := 0; ended == nil; i++ {
			ended = tx.CreateUser(context.Background(), person(fmt.Sprint(i), fmt.Sprint(i)))
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	wantUsers(t, s, 0)
	put(t, s, person("w", "e@f"))
}

func TestExactlyOneOfManyAtOnceIsTheFirstUser(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	var first int
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := s.Write(t.Context(), func(tx *Tx) error {
				n, err := tx.CountUsers(t.Context())
				if err != nil {
					return err
				}
				if n == 0 {
					first++ // writers run one at a time, so this is no race
				}
				return tx.CreateUser(t.Context(), person(fmt.Sprint(i), fmt.Sprint(i)))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if first != 1 {
		t.Errorf("%d were the first", first)
	}
	wantUsers(t, s, 20)
}

// Two stores on one file are what two processes would be: no lock of Go's is
// shared, only SQLite's.
func TestTwoThatWriteAtOnceWaitAndDoNotFail(t *testing.T) {
	t.Parallel()
	postgres.SkipIfWanted(t)
	a := openTemp(t)
	b, err := Open(t.Context(), a.path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, b)
	const each = 40
	var wg sync.WaitGroup
	for i, s := range []*Store{a, b, a, b} {
		wg.Go(func() {
			for j := range each {
				err := s.Write(t.Context(), func(tx *Tx) error {
					// Reading first is what fails without an immediate lock.
					if _, err := tx.CountUsers(t.Context()); err != nil {
						return err
					}
					id := fmt.Sprintf("%d-%d", i, j)
					return tx.CreateUser(t.Context(), person(id, id))
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantUsers(t, a, 4*each)
	wantUsers(t, b, 4*each)
}

func TestAFullDiskRefusesWritesAndKeepsServing(t *testing.T) {
	t.Parallel()
	postgres.SkipIfWanted(t)
	s := openTemp(t)
	put(t, s, person("u", "a@b"))
	var pages int
	if err := s.writer.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	execRaw(t, s.writer, fmt.Sprintf("PRAGMA max_page_count = %d", pages+2))

	big := strings.Repeat("x", 1<<20)
	err := s.Write(t.Context(), func(tx *Tx) error {
		err := tx.CreateUser(t.Context(), User{ID: "v", Email: "c@d", Username: big, Role: Member, CreatedAt: noon, UpdatedAt: noon})
		if !errors.Is(err, ErrFull) {
			t.Errorf("CreateUser: %v", err)
		}
		// SQLite has rolled back by now: this one, which fits, must not be kept.
		_ = tx.CreateUser(t.Context(), person("w", "e@f"))
		return nil
	})
	if !errors.Is(err, ErrFull) {
		t.Errorf("Write: %v", err)
	}
	wantUsers(t, s, 1)
	if _, err := s.UserByEmail(t.Context(), "a@b"); err != nil {
		t.Errorf("reading: %v", err)
	}
	put(t, s, person("x", "g@h"))
	execRaw(t, s.writer, "PRAGMA max_page_count = 1000000")
	put(t, s, person("y", "i@j"))
}

func TestSpaceIsNotCalledMissingWhereThereIsSome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if noSpace(dir) {
		t.Error("no space in a fresh directory")
	}
	if noSpace(filepath.Join(dir, "missing")) {
		t.Error("a missing directory is called full")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A copy of the files taken while they are open is what a killed process
// leaves.
func TestWhatWasAnsweredSurvivesAKill(t *testing.T) {
	t.Parallel()
	postgres.SkipIfWanted(t)
	s := openTemp(t)
	put(t, s, person("u", "a@b"))
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(s.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "adit.db"+suffix), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	after, err := Open(t.Context(), filepath.Join(dir, "adit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, after)
	wantUsers(t, after, 1)
}

func TestADeletedRowLeavesNoBytesBehind(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "adit.db"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, person("u", "a@b"))
	mark := []byte("once sealed, soon to be gone")
	server := Server{Row: Row{ID: "s", UserID: "u", CreatedAt: noon, UpdatedAt: noon}, Password: mark}
	write(t, s, func(tx *Tx) error { return tx.CreateServer(t.Context(), server) })
	write(t, s, func(tx *Tx) error { return tx.DeleteServer(t.Context(), "s") })
	closeStore(t, s)
	content, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, mark) {
		t.Error("the sealed value is still in the file")
	}
	if _, err := os.Stat(s.path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log is still there: %v", err)
	}
}

func write(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Write(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// person is a user whose other fields do not matter.
func person(id, email string) User {
	return User{ID: id, Email: email, Role: Member, CreatedAt: noon, UpdatedAt: noon}
}

func put(t testing.TB, s *Store, u User) {
	t.Helper()
	write(t, s, func(tx *Tx) error { return tx.CreateUser(context.Background(), u) })
}

func wantUsers(t *testing.T, s *Store, want int) {
	t.Helper()
	if n, err := s.CountUsers(t.Context()); err != nil || n != want {
		t.Errorf("%d users (%v), want %d", n, err, want)
	}
}
