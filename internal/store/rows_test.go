package store

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestEveryFieldOfARowComesBack(t *testing.T) {
	t.Parallel()
	s := world(t)
	key := filled[Key](t)
	key.ID, key.UserID, key.Namespace = "key", "ann", "team"
	server := filled[Server](t)
	server.ID, server.UserID, server.Namespace, server.KeyID = "server", "ann", "team", "key"
	forward := filled[Forward](t)
	forward.ID, forward.UserID, forward.Namespace, forward.Type, forward.ServerID = "forward", "ann", "team", "remote", "server"
	hostKey := filled[HostKey](t)
	user := filled[User](t)
	user.Role = Admin
	signing := filled[SigningKey](t)
	reverse, relayed := relayToken("r", ""), filled[RelayToken](t)
	relayed.Kind, relayed.ReverseID = "connector", "r"
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.CreateKey(t.Context(), key), tx.CreateServer(t.Context(), server),
			tx.CreateForward(t.Context(), forward), tx.PutHostKey(t.Context(), hostKey), tx.CreateUser(t.Context(), user),
			tx.CreateSigningKey(t.Context(), signing), tx.PutRelayToken(t.Context(), reverse), tx.PutRelayToken(t.Context(), relayed))
	})
	same(t, key)(s.Key(t.Context(), key.ID))
	same(t, server)(s.Server(t.Context(), server.ID))
	same(t, forward)(s.Forward(t.Context(), forward.ID))
	same(t, hostKey)(s.HostKey(t.Context(), hostKey.Scope, hostKey.Address))
	same(t, user)(s.UserByID(t.Context(), user.ID))
	same(t, []SigningKey{signing})(s.SigningKeys(t.Context()))
	same(t, []RelayToken{reverse, relayed})(s.RelayTokens(t.Context()))
}

// A column tied to the wrong field would come back right, and be wrong in the
// database.
func TestColumnsAreCalledLikeTheirFields(t *testing.T) {
	t.Parallel()
	var server Server
	wantNames(t, &server, servers.columns(&server))
	var key Key
	wantNames(t, &key, keys.columns(&key))
	var forward Forward
	wantNames(t, &forward, forwards.columns(&forward))
	var user User
	wantNames(t, &user, users.columns(&user))
	var relayed RelayToken
	wantNames(t, &relayed, relayTokens.columns(&relayed))
}

func TestFieldsThatAreUnsetComeBackUnset(t *testing.T) {
	t.Parallel()
	s := world(t)
	key := Key{Row: personal("key")}
	server := Server{Row: personal("server")}
	forward := Forward{Row: personal("forward"), Type: "local"}
	hostKey := HostKey{Scope: access.Personal("ann"), Address: "h:22"}
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.CreateKey(t.Context(), key), tx.CreateServer(t.Context(), server),
			tx.CreateForward(t.Context(), forward), tx.PutHostKey(t.Context(), hostKey))
	})
	same(t, key)(s.Key(t.Context(), "key"))
	same(t, server)(s.Server(t.Context(), "server"))
	same(t, forward)(s.Forward(t.Context(), "forward"))
	same(t, hostKey)(s.HostKey(t.Context(), hostKey.Scope, hostKey.Address))
}

func TestAnUpdateChangesAllButWhoseItIsAndWhetherItRuns(t *testing.T) {
	t.Parallel()
	s := world(t)
	before := Forward{Row: personal("forward"), Type: "local", Wanted: true, LastUsedAt: noon, LastPort: 7}
	write(t, s, func(tx *Tx) error { return tx.CreateForward(t.Context(), before) })

	change := filled[Forward](t)
	change.ID, change.UserID, change.Namespace, change.Type, change.ServerID = "forward", "bob", "team", "dynamic", ""
	change.Wanted = false
	write(t, s, func(tx *Tx) error { return tx.UpdateForward(t.Context(), change) })

	want := change
	want.UserID, want.Namespace, want.CreatedAt = before.UserID, before.Namespace, before.CreatedAt
	want.Wanted, want.LastUsedAt, want.LastPort = before.Wanted, before.LastUsedAt, before.LastPort
	same(t, want)(s.Forward(t.Context(), "forward"))
}

func TestAnUpdateCanClearEverythingOptional(t *testing.T) {
	t.Parallel()
	s := world(t)
	full := filled[Server](t)
	full.ID, full.UserID, full.Namespace, full.KeyID = "server", "ann", "", ""
	write(t, s, func(tx *Tx) error { return tx.CreateServer(t.Context(), full) })
	bare := Server{Row: personal("server")}
	bare.CreatedAt = full.CreatedAt
	write(t, s, func(tx *Tx) error { return tx.UpdateServer(t.Context(), bare) })
	same(t, bare)(s.Server(t.Context(), "server"))
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	ann := access.Personal("ann")
	checks := map[string]func(*Tx) error{
		"Server":           func(tx *Tx) error { _, err := tx.Server(ctx, "none"); return err },
		"ServerByLocalID":  func(tx *Tx) error { _, err := tx.ServerByLocalID(ctx, ann, "none"); return err },
		"FindServer":       func(tx *Tx) error { _, err := tx.FindServer(ctx, "none", []access.Scope{ann}); return err },
		"FindServer empty": func(tx *Tx) error { _, err := tx.FindServer(ctx, "", []access.Scope{ann}); return err },
		"FindServer alone": func(tx *Tx) error { _, err := tx.FindServer(ctx, "none"); return err },
		"UpdateServer":     func(tx *Tx) error { return tx.UpdateServer(ctx, Server{Row: personal("none")}) },
		"DeleteServer":     func(tx *Tx) error { return tx.DeleteServer(ctx, "none") },
		"Key":              func(tx *Tx) error { _, err := tx.Key(ctx, "none"); return err },
		"UpdateKey":        func(tx *Tx) error { return tx.UpdateKey(ctx, Key{Row: personal("none")}) },
		"DeleteKey":        func(tx *Tx) error { return tx.DeleteKey(ctx, "none") },
		"Forward":          func(tx *Tx) error { _, err := tx.Forward(ctx, "none"); return err },
		"UpdateForward":    func(tx *Tx) error { return tx.UpdateForward(ctx, Forward{Row: personal("none"), Type: "local"}) },
		"DeleteForward":    func(tx *Tx) error { return tx.DeleteForward(ctx, "none") },
		"MarkStarted":      func(tx *Tx) error { return tx.MarkStarted(ctx, "none", noon, 1) },
		"SetLastPort":      func(tx *Tx) error { return tx.SetLastPort(ctx, "none", 1) },
		"UserByID":         func(tx *Tx) error { _, err := tx.UserByID(ctx, "none"); return err },
		"UserBySession":    func(tx *Tx) error { _, err := tx.UserBySession(ctx, "none", noon); return err },
		"SetPassword":      func(tx *Tx) error { return tx.SetPassword(ctx, "none", redact.New("x"), noon) },
		"HostKey":          func(tx *Tx) error { _, err := tx.HostKey(ctx, ann, "none:22"); return err },
		"Meta":             func(tx *Tx) error { _, err := tx.Meta(ctx, "none"); return err },
		"DeleteSigningKey": func(tx *Tx) error { return tx.DeleteSigningKey(ctx, "none") },
	}
	for name, check := range checks {
		if err := s.Write(ctx, check); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALocalIDIsUniqueInItsScopeAlone(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	mine := named("1", "ann", "", "x")
	write(t, s, func(tx *Tx) error { return tx.CreateServer(ctx, mine) })
	for _, other := range []Server{
		named("2", "bob", "", "x"), named("3", "ann", "team", "x"), named("4", "ann", "", ""), named("5", "ann", "", ""),
		named("6", "ann", "", "y"),
	} {
		write(t, s, func(tx *Tx) error { return tx.CreateServer(ctx, other) })
	}
	for name, taken := range map[string]func(*Tx) error{
		"create":              func(tx *Tx) error { return tx.CreateServer(ctx, named("7", "ann", "", "x")) },
		"update":              func(tx *Tx) error { return tx.UpdateServer(ctx, named("6", "ann", "", "x")) },
		"another of the team": func(tx *Tx) error { return tx.CreateServer(ctx, named("8", "bob", "team", "x")) },
	} {
		wantConflict(t, name, s.Write(ctx, taken), ServerLocalID)
	}
	write(t, s, func(tx *Tx) error { return tx.DeleteServer(ctx, "1") })
	write(t, s, func(tx *Tx) error { return tx.CreateServer(ctx, named("9", "ann", "", "x")) })
}

func TestAConflictNamesTheConstraint(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	row := personal("1")
	row.LocalID = "x"
	again := row
	again.ID = "2"
	create := func(r Row) func(*Tx) error {
		return func(tx *Tx) error {
			return errors.Join(tx.CreateKey(ctx, Key{Row: r}), tx.CreateForward(ctx, Forward{Row: r, Type: "local"}))
		}
	}
	write(t, s, create(row))
	write(t, s, func(tx *Tx) error {
		return tx.CreateSession(ctx, Session{ID: "j", UserID: "ann", CreatedAt: noon, ExpiresAt: noon})
	})
	checks := []struct {
		want Constraint
		fn   func(*Tx) error
	}{
		{KeyLocalID, func(tx *Tx) error { return tx.CreateKey(ctx, Key{Row: again}) }},
		{ForwardLocalID, func(tx *Tx) error { return tx.CreateForward(ctx, Forward{Row: again, Type: "local"}) }},
		{"ssh_keys.id", func(tx *Tx) error { return tx.CreateKey(ctx, Key{Row: personal("1")}) }},
		{UserEmail, func(tx *Tx) error { return tx.CreateUser(ctx, person("z", "ANN@example.ORG")) }},
		{"users.id", func(tx *Tx) error { return tx.CreateUser(ctx, person("ann", "z@z")) }},
		{"sessions.jti", func(tx *Tx) error {
			return tx.CreateSession(ctx, Session{ID: "j", UserID: "ann", CreatedAt: noon, ExpiresAt: noon})
		}},
	}
	for _, c := range checks {
		wantConflict(t, string(c.want), s.Write(ctx, c.fn), c.want)
	}
}

func TestListsAreNewestFirstAndOfOneScope(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	var want []string
	write(t, s, func(tx *Tx) error {
		for i := range 10 {
			f := Forward{Row: personal(newID(t)), Type: "local"}
			f.CreatedAt = noon.Add(time.Duration(i/4) * time.Millisecond) // ties, in the order of ids
			want = append([]string{f.ID}, want...)
			other, teams := f, f
			other.ID, other.UserID = newID(t), "bob"
			teams.ID, teams.Namespace = newID(t), "team"
			for _, row := range []Forward{f, other, teams} {
				if err := tx.CreateForward(ctx, row); err != nil {
					return err
				}
			}
		}
		return nil
	})
	pages := []struct {
		page Page
		want []string
	}{
		{Page{}, want}, {Page{Limit: 4}, want[:4]}, {Page{Offset: 4, Limit: 4}, want[4:8]},
		{Page{Offset: 8, Limit: 4}, want[8:]}, {Page{Offset: 7}, want[7:]}, {Page{Offset: 20, Limit: 4}, nil},
	}
	for _, p := range pages {
		list, err := s.Forwards(ctx, access.Personal("ann"), p.page)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range list {
			got = append(got, f.ID)
		}
		if !reflect.DeepEqual(got, p.want) {
			t.Errorf("page %+v: %v, want %v", p.page, got, p.want)
		}
	}
	if n, err := s.CountForwards(ctx, access.Personal("ann")); err != nil || n != 10 {
		t.Errorf("counted %d, %v", n, err)
	}
	if list, err := s.Forwards(ctx, access.Scope{}, Page{}); err != nil || list != nil {
		t.Errorf("nobody has %v, %v", list, err)
	}
}

// Without the right index the cost of a list would grow with what others have.
func TestAListLooksAtNoOtherScopesRows(t *testing.T) {
	t.Parallel()
	postgres.SkipIfWanted(t)
	s := openTemp(t)
	for _, query := range []string{
		servers.selects + " WHERE scope = ?" + newestFirst,
		keys.selects + " WHERE scope = ?" + newestFirst + " LIMIT 5 OFFSET 5",
		forwards.selects + " WHERE scope = ?" + newestFirst,
		"SELECT COUNT(*) FROM forwards WHERE scope = ?",
		forwards.selects + " WHERE scope = ? AND local_id = ?",
		forwards.selects + " WHERE local_id = ? AND scope IN (?, ?)",
		forwards.selects + " WHERE id = ? AND scope IN (?, ?)",
		hostKeys.selects + " WHERE scope = ?",
	} {
		rows, err := s.readers.Query("EXPLAIN QUERY PLAN "+query, "a", "b", "c")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(detail, "SEARCH") {
				t.Errorf("%s\n\t%s", query, detail)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
