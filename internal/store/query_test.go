package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
)

func TestFindTriesTheIDThenTheLocalIDsGroupByGroup(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	write(t, s, func(tx *Tx) error {
		for _, row := range []Server{
			named("a1", "ann", "", "mine"), named("a2", "ann", "", "both"), named("a3", "ann", "", "b1"), named("a4", "ann", "", "a5"),
			named("a5", "ann", "", "other"),
			named("t1", "bob", "team", "both"), named("t2", "bob", "team", "teams"), named("t3", "bob", "team", "one"),
			named("t4", "bob", "team2", "teams"),
			named("b1", "bob", "", "mine"), named("b2", "bob", "", "his"),
		} {
			if err := tx.CreateServer(ctx, row); err != nil {
				return err
			}
		}
		return nil
	})
	ann, team, team2 := access.Personal("ann"), access.Team("team"), access.Team("team2")
	path := [][]access.Scope{{ann}, {team, team2}}
	reference := [][]access.Scope{{team}, {ann}}
	cases := []struct {
		ref   string
		reach [][]access.Scope
		want  string
		err   error
	}{
		{"a1", path, "a1", nil},
		{"mine", path, "a1", nil},
		{"both", path, "a2", nil},
		{"both", reference, "t1", nil},
		{"one", path, "t3", nil},
		{"t3", path, "t3", nil},
		{"teams", path, "", ErrAmbiguous},
		{"teams", reference, "t2", nil},
		{"a5", path, "a5", nil}, // an id before a localId
		{"b1", path, "a3", nil}, // somebody else's id hides nothing of one's own
		{"b2", path, "", ErrNotFound},
		{"his", path, "", ErrNotFound},
		{"t4", reference, "", ErrNotFound},
		{"A1", path, "", ErrNotFound},
		{"' OR 1=1 --", path, "", ErrNotFound},
		{"mine", [][]access.Scope{{}, {ann}}, "a1", nil},
		{"mine", nil, "", ErrNotFound},
		{"", path, "", ErrNotFound},
	}
	for _, c := range cases {
		got, err := s.FindServer(ctx, c.ref, c.reach...)
		if got.ID != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q in %v: %q, %v; want %q, %v", c.ref, c.reach, got.ID, err, c.want, c.err)
		}
	}
	if !errors.Is(ErrAmbiguous, ErrNotFound) {
		t.Error("what is ambiguous must be not found to those who ask no further")
	}
}

func TestWhatUsedADeletedServerOrKeyStaysAndRemembersWhatItWasCalled(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	write(t, s, func(tx *Tx) error {
		server := Server{Row: personal("server"), KeyRef: "my key", KeyID: "key"}
		forward := Forward{Row: personal("forward"), Type: "local", ServerRef: "my server", ServerID: "server"}
		return errors.Join(tx.CreateKey(ctx, Key{Row: personal("key")}), tx.CreateServer(ctx, server), tx.CreateForward(ctx, forward))
	})
	write(t, s, func(tx *Tx) error { return tx.DeleteKey(ctx, "key") })
	if server, err := s.Server(ctx, "server"); err != nil || server.KeyID != "" || server.KeyRef != "my key" {
		t.Errorf("server: %+v, %v", server, err)
	}
	write(t, s, func(tx *Tx) error { return tx.DeleteServer(ctx, "server") })
	if forward, err := s.Forward(ctx, "forward"); err != nil || forward.ServerID != "" || forward.ServerRef != "my server" {
		t.Errorf("forward: %+v, %v", forward, err)
	}
}

func TestForwardsAreFoundByServerAndByKeyInEveryScope(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	write(t, s, func(tx *Tx) error {
		err := errors.Join(tx.CreateKey(ctx, Key{Row: personal("key")}),
			tx.CreateServer(ctx, Server{Row: personal("keyed"), KeyID: "key"}), tx.CreateServer(ctx, Server{Row: personal("plain")}))
		for i, use := range []struct{ server, user, team string }{
			{"keyed", "ann", ""}, {"plain", "ann", ""}, {"keyed", "bob", "team"}, {"", "ann", ""},
		} {
			row := Row{ID: fmt.Sprint(i), UserID: use.user, Namespace: use.team, CreatedAt: noon, UpdatedAt: noon}
			err = errors.Join(err, tx.CreateForward(ctx, Forward{Row: row, Type: "local", ServerID: use.server}))
		}
		return err
	})
	wantIDs(t, "keyed", "2", "0")(s.ForwardsUsingServer(ctx, "keyed"))
	wantIDs(t, "plain", "1")(s.ForwardsUsingServer(ctx, "plain"))
	wantIDs(t, "no server")(s.ForwardsUsingServer(ctx, ""))
	wantIDs(t, "key", "2", "0")(s.ForwardsUsingKey(ctx, "key"))
	wantIDs(t, "no key")(s.ForwardsUsingKey(ctx, ""))
}

func TestStartAndStopAreRecorded(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.CreateForward(ctx, Forward{Row: personal("f"), Type: "local"}),
			tx.CreateForward(ctx, Forward{Row: personal("idle"), Type: "local"}))
	})
	steps := []struct {
		name   string
		do     func(*Tx) error
		wanted bool
		used   time.Time
		port   int
	}{
		{"new", func(*Tx) error { return nil }, false, time.Time{}, 0},
		{"started", func(tx *Tx) error { return tx.MarkStarted(ctx, "f", noon, 4000) }, true, noon, 4000},
		{"started without a port", func(tx *Tx) error { return tx.MarkStarted(ctx, "f", noon.Add(time.Hour), 0) }, true, noon.Add(time.Hour), 4000},
		{"listens again", func(tx *Tx) error { return tx.SetLastPort(ctx, "f", 4001) }, true, noon.Add(time.Hour), 4001},
		{"stopped", func(tx *Tx) error { return tx.MarkStopped(ctx, "f") }, false, noon.Add(time.Hour), 4001},
	}
	for _, step := range steps {
		write(t, s, step.do)
		f, err := s.Forward(ctx, "f")
		if err != nil || f.Wanted != step.wanted || !f.LastUsedAt.Equal(step.used) || f.LastPort != step.port {
			t.Errorf("%s: %+v, %v", step.name, f, err)
		}
		if !f.UpdatedAt.Equal(noon) {
			t.Errorf("%s: UpdatedAt changed with the state", step.name)
		}
		var want []string
		if step.wanted {
			want = []string{"f"}
		}
		wantIDs(t, step.name, want...)(s.WantedForwards(ctx))
	}
}

func TestATokenIsValidWhileItsSessionLives(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	end := noon.Add(time.Hour)
	write(t, s, func(tx *Tx) error {
		var err error
		for _, session := range []Session{{ID: "a1", UserID: "ann"}, {ID: "a2", UserID: "ann"}, {ID: "a3", UserID: "ann"}, {ID: "b1", UserID: "bob"}} {
			session.CreatedAt, session.ExpiresAt = noon, end
			err = errors.Join(err, tx.CreateSession(ctx, session))
		}
		return err
	})
	living := func(at time.Time) (ids []string) {
		for _, id := range []string{"a1", "a2", "a3", "b1"} {
			if u, err := s.UserBySession(ctx, id, at); err == nil && u.ID[0] == id[0] {
				ids = append(ids, id)
			} else if err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
		return ids
	}
	check := func(name string, at time.Time, want ...string) {
		t.Helper()
		if got := living(at); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	check("all", end.Add(-time.Millisecond), "a1", "a2", "a3", "b1")
	check("expired", end)
	write(t, s, func(tx *Tx) error { return tx.DeleteSession(ctx, "a1") })
	write(t, s, func(tx *Tx) error { return tx.DeleteSession(ctx, "a1") })
	check("logged out", noon, "a2", "a3", "b1")
	write(t, s, func(tx *Tx) error { return tx.DeleteOtherSessions(ctx, "ann", "a3") })
	check("password changed", noon, "a3", "b1")
	write(t, s, func(tx *Tx) error { return tx.DeleteOtherSessions(ctx, "ann", "") })
	check("all out", noon, "b1")
	for at, want := range map[time.Time]int{end.Add(-1): 0, end: 1} {
		_ = s.Write(ctx, func(tx *Tx) error {
			if n, err := tx.PurgeSessions(ctx, at); err != nil || n != want {
				t.Errorf("purged %d at %v, %v", n, at, err)
			}
			return errors.New("keep it for the other")
		})
	}
}

func TestUsersAreFoundByEmailWhateverItsCase(t *testing.T) {
	t.Parallel()
	s := world(t)
	u, err := s.UserByEmail(t.Context(), "aNN@eXAMPLE.org")
	if err != nil || u.ID != "ann" || u.Email != "Ann@Example.org" {
		t.Errorf("%+v, %v", u, err)
	}
	write(t, s, func(tx *Tx) error { return tx.SetPassword(t.Context(), "ann", redact.New("new"), noon.Add(1e9)) })
	u, err = s.UserByID(t.Context(), "ann")
	if err != nil || u.PasswordHash.Reveal() != "new" || !u.UpdatedAt.Equal(noon.Add(1e9)) {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestMembershipsAreThoseOfOneUser(t *testing.T) {
	t.Parallel()
	s := world(t)
	execRaw(t, s.writer,
		"INSERT INTO team_members VALUES ('1', 'team', 'ann', 'owner', 0)",
		"INSERT INTO team_members VALUES ('2', 'team2', 'ann', 'user', 0)",
		"INSERT INTO team_members VALUES ('3', 'team', 'bob', 'developer', 0)")
	same(t, map[string]access.Role{"team": access.Owner, "team2": access.User})(s.Memberships(t.Context(), "ann"))
	same(t, map[string]access.Role{"team": access.Developer})(s.Memberships(t.Context(), "bob"))
	same(t, map[string]access.Role(nil))(s.Memberships(t.Context(), "none"))
}

func TestHostKeysBelongToOneScopeAndAreReplacedWhole(t *testing.T) {
	t.Parallel()
	s := world(t)
	ctx := t.Context()
	ann, bob := access.Personal("ann"), access.Personal("bob")
	pinned := HostKey{Scope: ann, Address: "h:22", Pinned: []byte("key"), PinnedAt: noon, Connected: true}
	offered := HostKey{Scope: ann, Address: "h:22", Offered: []byte("other"), OfferedAt: noon}
	others := HostKey{Scope: bob, Address: "h:22", Pinned: []byte("bob's")}
	second := HostKey{Scope: ann, Address: "[::1]:2222"}
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutHostKey(ctx, pinned), tx.PutHostKey(ctx, others), tx.PutHostKey(ctx, second))
	})
	same(t, pinned)(s.HostKey(ctx, ann, "h:22"))
	write(t, s, func(tx *Tx) error { return tx.PutHostKey(ctx, offered) })
	same(t, map[string]HostKey{"h:22": offered, "[::1]:2222": second})(s.HostKeys(ctx, ann))
	write(t, s, func(tx *Tx) error { return tx.DeleteHostKey(ctx, ann, "h:22") })
	write(t, s, func(tx *Tx) error { return tx.DeleteHostKey(ctx, ann, "h:22") })
	same(t, map[string]HostKey{"[::1]:2222": second})(s.HostKeys(ctx, ann))
	same(t, others)(s.HostKey(ctx, bob, "h:22"))
	same(t, map[string]HostKey{})(s.HostKeys(ctx, access.Team("none")))
}

func TestSigningKeysAreNewestFirst(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	ctx := t.Context()
	older := SigningKey{ID: "z", Sealed: []byte("1"), CreatedAt: noon}
	newer := SigningKey{ID: "a", Sealed: []byte("2"), CreatedAt: noon.Add(time.Second)}
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.CreateSigningKey(ctx, newer), tx.CreateSigningKey(ctx, older))
	})
	same(t, []SigningKey{newer, older})(s.SigningKeys(ctx))
	write(t, s, func(tx *Tx) error { return tx.DeleteSigningKey(ctx, "a") })
	same(t, []SigningKey{older})(s.SigningKeys(ctx))
}

func TestMetaIsReplaced(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	for _, value := range []string{"one", "two", ""} {
		write(t, s, func(tx *Tx) error { return tx.SetMeta(t.Context(), "name", value) })
		same(t, value)(s.Meta(t.Context(), "name"))
	}
}

func TestInstantsAreKeptToTheMillisecondInUTC(t *testing.T) {
	t.Parallel()
	s := world(t)
	at := time.Date(2026, 7, 1, 1, 2, 3, 456789012, time.FixedZone("east", 7200))
	write(t, s, func(tx *Tx) error {
		return tx.CreateKey(t.Context(), Key{Row: Row{ID: "k", UserID: "ann", CreatedAt: at, UpdatedAt: at}})
	})
	k, err := s.Key(t.Context(), "k")
	if want := at.Truncate(time.Millisecond).UTC(); err != nil || k.CreatedAt != want {
		t.Errorf("%v, %v; want %v", k.CreatedAt, err, want)
	}
}

func wantIDs(t *testing.T, name string, want ...string) func([]Forward, error) {
	return func(list []Forward, err error) {
		t.Helper()
		var got []string
		for _, f := range list {
			got = append(got, f.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
}
