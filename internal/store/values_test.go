package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestValuesOfEveryKindComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	texts := []string{
		"plain", "", " spaces ", "tab\tline\nend\r\n", `back\slash`, "it's \"quoted\" ? $1 -- ;", "%_", "Ünïcode 简体中文",
		"👩🏽‍🚀 \U0010ffff", "\ufeff\u200b\u0301", strings.Repeat("long 長い 🚇 ", 1<<16), "TRUE", "0", "NULL", "\x01\x7f",
	}
	bytes := [][]byte{nil, {0}, {0xff, 0xfe, 0}, []byte("'\\x"), make([]byte, 1<<20)}
	for i, text := range texts {
		id := fmt.Sprint(i)
		want := Forward{
			Row: personal(id), Name: text, Type: "local", LocalHost: text, LocalPort: 65535, RemotePort: math.MaxInt32,
			Password: bytes[i%len(bytes)], Wanted: i%2 == 0, LastUsedAt: time.UnixMilli(math.MaxInt32 * 1000 * int64(i)).UTC(),
		}
		if i == 0 {
			want.LastUsedAt = time.Time{}
		}
		want.LocalID = text
		if len(text) > 1000 {
			want.LocalID = "" // an index entry may have some 2700 bytes in PostgreSQL
		}
		write(t, s, func(tx *Tx) error { return tx.CreateForward(ctx, want) })
		same(t, want)(s.Forward(ctx, id))
		if want.LocalID != "" {
			same(t, want)(s.ForwardByLocalID(ctx, access.Personal("ann"), text))
		}
	}
}

// A path of the API may hold anything.
func TestWhatNoTextCanBeIsFoundNowhere(t *testing.T) {
	t.Parallel()
	s := world(t)
	for _, ref := range []string{"a\x00b", "\x00", "\xff", "a\xc3", "\xed\xa0\x80"} {
		if _, err := s.FindServer(t.Context(), ref, []access.Scope{access.Personal("ann")}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", ref, err)
		}
		err := s.Write(t.Context(), func(tx *Tx) error {
			if _, err := tx.UserByEmail(t.Context(), ref); !errors.Is(err, ErrNotFound) {
				t.Errorf("%q: %v", ref, err)
			}
			return tx.SetMeta(t.Context(), "x", "goes on")
		})
		if err != nil {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestOrderIsThatOfBytes(t *testing.T) {
	t.Parallel()
	s := world(t)
	write(t, s, func(tx *Tx) error {
		for _, id := range []string{"b", "B", "a", "a-b", "ab", "ä", "_", "Z"} {
			if err := tx.CreateForward(t.Context(), Forward{Row: personal(id), Type: "local"}); err != nil {
				return err
			}
		}
		return nil
	})
	wantIDs(t, "list", "ä", "b", "ab", "a-b", "a", "_", "Z", "B")(s.Forwards(t.Context(), access.Personal("ann"), Page{}))
}

func TestTheEndOfAContextIsToldAsThat(t *testing.T) {
	t.Parallel()
	s := world(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-late.Done()
	for want, ctx := range map[error]context.Context{context.Canceled: gone, context.DeadlineExceeded: late} {
		if _, err := s.CountUsers(ctx); !errors.Is(err, want) {
			t.Errorf("query: %v, want %v", err, want)
		}
		if err := s.Read(ctx, func(r *Reader) error { _, err := r.CountUsers(ctx); return err }); !errors.Is(err, want) {
			t.Errorf("Read: %v, want %v", err, want)
		}
		if err := s.Write(ctx, func(*Tx) error { return nil }); !errors.Is(err, want) {
			t.Errorf("Write: %v, want %v", err, want)
		}
	}
	write(t, s, func(*Tx) error { // another one waits for this one
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := s.Write(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a Write that waits: %v", err)
		}
		return nil
	})
}

func TestWhatIsCancelledBeforeItsCommitIsNotKept(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Write(ctx, func(tx *Tx) error {
			err := tx.CreateUser(ctx, person(fmt.Sprint(i), fmt.Sprint(i)))
			cancel()
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Write: %v", err)
		}
	}
	wantUsers(t, s, 0)
}

func TestAQueryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := openPostgresAt(t, postgres.Database(t))
	session := func() (pid int) {
		write(t, s, func(tx *Tx) (err error) {
			pid, err = tx.number(t.Context(), "ask", "SELECT pg_backend_pid()")
			return err
		})
		return pid
	}
	before := session()
	raw := func(ctx context.Context, r *runner) error {
		return r.query(ctx, "sleep", "SELECT pg_sleep(60)", nil, func(*sql.Rows) error { return nil })
	}
	for name, run := range map[string]func(context.Context) error{
		"query": func(ctx context.Context) error { return raw(ctx, &s.runner) },
		"Read": func(ctx context.Context) error {
			return s.Read(ctx, func(r *Reader) error { return raw(ctx, &r.runner) })
		},
		"Write": func(ctx context.Context) error {
			return s.Write(ctx, func(tx *Tx) error { return raw(ctx, &tx.runner) })
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	put(t, s, person("u", "a@b"))
	wantUsers(t, s, 1)
	if session() != before {
		t.Error("the connection that holds the lock went with the context")
	}
}

// Many that read and then write: none may build on what another changes.
func TestWritersAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	ctx := t.Context()
	write(t, s, func(tx *Tx) error { return tx.SetMeta(ctx, "sum", "") })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				err := s.Write(ctx, func(tx *Tx) error {
					sum, err := tx.Meta(ctx, "sum")
					if err != nil {
						return err
					}
					return tx.SetMeta(ctx, "sum", sum+"x")
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	same(t, strings.Repeat("x", 80))(s.Meta(ctx, "sum"))
}
