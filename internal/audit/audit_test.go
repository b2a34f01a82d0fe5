package audit

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// Every field of a row is either one that clients give, by that name, or told of by none.
func TestChangesAreNamedAsClientsKnowThem(t *testing.T) {
	t.Parallel()
	for row, input := range map[any]reflect.Type{
		reflect.TypeFor[store.Server](): reflect.TypeFor[api.ServerInput](), reflect.TypeFor[store.Key](): reflect.TypeFor[api.KeyInput](),
		reflect.TypeFor[store.Forward](): reflect.TypeFor[api.ForwardInput](),
	} {
		var known []string
		for _, f := range reflect.VisibleFields(input) {
			known = append(known, strings.Split(f.Tag.Get("json"), ",")[0])
		}
		for _, f := range reflect.VisibleFields(row.(reflect.Type)) {
			if name := fieldName(f.Name); !f.Anonymous && name != "" && !slices.Contains(known, name) {
				t.Errorf("%v: %s is told of as %s", row, f.Name, name)
			}
		}
	}
	before := store.Server{Name: "a", KeyRef: "k", KeyID: "1"}
	after := store.Server{Name: "b", KeyID: "2", Password: []byte("x"), Row: store.Row{LocalID: "l", UpdatedAt: time.Now()}}
	if got := Changes(before, after); got != "changed: localId, name, password, keyId" {
		t.Error(got)
	}
	if got := Changes(before, before); got != "" {
		t.Error(got)
	}
}

func TestADetailIsBounded(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                       "",
		"a\x00b\xff":             "a\uFFFDb\uFFFD",
		strings.Repeat("字", 500): strings.Repeat("字", 500),
		strings.Repeat("字", 501): strings.Repeat("字", 499) + "…",
	} {
		if got := brief(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestTheCountOfRefusalsIsBounded(t *testing.T) {
	t.Parallel()
	var r refusals
	at := time.Now()
	for i := range 3 * maxRefused {
		r.count(fmt.Sprint(i), at)
	}
	if len(r.known) > maxRefused+1 {
		t.Errorf("%d are known", len(r.known))
	}
	// Those for whom there is no room are one.
	if key, tell, _, _ := r.count("another", at); key != "" || tell {
		t.Errorf("%q, %t", key, tell)
	}
	if key, tell, _, _ := r.count("another", at.Add(refusalWindow)); key != "another" || !tell {
		t.Errorf("%q, %t, when the others have had their minute", key, tell)
	}
}

func TestAddressesOfOneNetworkAreOne(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::", "2001:db8::2:1": "2001:db8::", "": "nowhere",
	} {
		if got := network(address); got != want {
			t.Errorf("%s counts as %s", address, got)
		}
	}
}

func TestWhatIsLeftOutIsToldWhenTheMinuteIsOver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adit.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		l := NewLog(db, slog.New(slog.DiscardHandler))
		defer l.Close()
		refuse := func(n int) {
			for range n {
				act := &Act{Action: "delete-server", Actor: Actor{UserID: "bob", Email: "bob@example.com"}}
				l.Record(With(t.Context(), act), &api.Error{Code: api.CodeForbidden})
			}
		}
		told := func(action string) []store.AuditEntry {
			t.Helper()
			synctest.Wait()
			list, err := db.Audit(t.Context(), store.AuditFilter{Action: action}, store.Page{})
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		refuse(maxRefusals + 140)
		time.Sleep(refusalWindow - time.Millisecond)
		refuse(1)
		if n, left := len(told("delete-server")), len(told(leftOutAction)); n != maxRefusals || left != 0 {
			t.Errorf("%d are told, and %d of those that are not", n, left)
		}
		time.Sleep(time.Millisecond)
		if list := told(leftOutAction); len(list) != 1 || list[0].ActorID != "bob" || !strings.HasPrefix(list[0].Detail, "141 refusals from ") {
			t.Errorf("%+v", list)
		}
		refuse(maxRefusals)
		if n := len(told("delete-server")); n != 2*maxRefusals {
			t.Errorf("%d are told in the next minute", n)
		}
		time.Sleep(refusalWindow) // without one too many, nothing is told
		refuse(1)
		if n, left := len(told("delete-server")), len(told(leftOutAction)); n != 2*maxRefusals+1 || left != 1 {
			t.Errorf("%d are told, and %d of those that are not", n, left)
		}
	})
}

func TestTheAuditIsTrimmedToTheLastOldEntry(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "adit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	l := NewLog(db, slog.New(slog.DiscardHandler))
	defer l.Close()
	err = db.Write(t.Context(), func(tx *store.Tx) error {
		for i := range 2*trimBatch + 2 {
			e := store.AuditEntry{ID: fmt.Sprint(i), At: store.Now().AddDate(-2, 0, 0), Scope: access.Installation(), Action: "old", Result: api.ResultOK}
			if i == 0 {
				e.At = store.Now()
			}
			if err := tx.AppendAudit(t.Context(), e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(t.Context(), store.Now().AddDate(-1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if n, err := db.CountAudit(t.Context(), store.AuditFilter{}); n != 1 || err != nil {
		t.Errorf("%d are left, %v", n, err)
	}
}
