package httpapi_test

import (
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// ref is a row as a path may name it.
type ref struct{ id, localID string }

// world is a fixture full of people, teams and rows.
type world struct {
	*fixture
	admin                    person // of no team
	loner                    person // has rows of his own and is in no team
	owner, developer, member person // of team
	plain                    person // a developer of team about whom things are done
	spare                    person // owns third, and is in nothing else
	team, other, third       store.Team
	places, otherPlaces      map[string]string // memberships by user
	rows                     map[access.Scope]map[string]ref
	tokens                   map[string]string // the id of an API token of a user's
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{fixture: signedUp(t), rows: map[access.Scope]map[string]ref{}, tokens: map[string]string{}}
	w.admin = w.operator()
	w.loner, w.owner, w.developer, w.member = w.person("loner"), w.person("owner"), w.person("developer"), w.person("member")
	w.plain, w.spare = w.account("plain"), w.account("spare")
	w.team, w.places = w.fixture.team("team", w.owner, map[string]access.Role{
		w.developer.id: access.Developer, w.member.id: access.User, w.plain.id: access.Developer,
	})
	w.other, w.otherPlaces = w.fixture.team("other", w.owner, nil)
	w.third, _ = w.fixture.team("third", w.spare, nil)
	for _, p := range []person{w.admin, w.loner, w.owner, w.developer, w.member, w.plain, w.spare} {
		w.furnish(access.Personal(p.id))
		w.tokens[p.id], _ = w.apiToken(p.id, "read", "")
	}
	w.furnish(access.Team(w.team.ID))
	w.furnish(access.Team(w.other.ID))
	return w
}

var nouns = []string{"servers", "keys", "port-forwards"}

// furnish gives a scope a row of each noun.
func (w *world) furnish(scope access.Scope) {
	w.rows[scope] = map[string]ref{}
	for _, noun := range nouns {
		w.rows[scope][noun] = w.addRow(noun, scope)
	}
}

// addRow adds a row that holds all that its creation needs.
func (w *world) addRow(noun string, scope access.Scope) ref {
	w.t.Helper()
	by := scope.UserID()
	if by == "" {
		by = w.owner.id
	}
	id := newID()
	row := store.Row{ID: id, LocalID: "local-" + id, UserID: by, Namespace: scope.TeamID(), CreatedAt: present(), UpdatedAt: present()}
	w.write(func(tx *store.Tx) error {
		switch noun {
		case "servers":
			return tx.CreateServer(w.t.Context(), store.Server{Row: row, Name: "s", Host: "192.0.2.1", Port: 22, Username: "root", AuthType: "password"})
		case "keys":
			return tx.CreateKey(w.t.Context(), store.Key{Row: row, Name: "k", Type: "password"})
		}
		return tx.CreateForward(w.t.Context(), store.Forward{Row: row, Name: "f", Type: "local", RemotePort: 80, ServerAddress: "192.0.2.1", Username: "root"})
	})
	return ref{id, row.LocalID}
}

// persona is a person who comes in one way.
type persona struct {
	name string
	person
	actor *access.Actor // what package access is to know of him; nil when he is not let in
	again func() person // the same with a token that may be spent
}

func (w *world) personas() []persona {
	w.t.Helper()
	teams := map[string]map[string]access.Role{
		w.owner.id:     {w.team.ID: access.Owner, w.other.ID: access.Owner},
		w.developer.id: {w.team.ID: access.Developer},
		w.member.id:    {w.team.ID: access.User},
	}
	session := func(name string, p person) persona {
		return persona{name, p, &access.Actor{UserID: p.id, Admin: p.id == w.admin.id, Teams: teams[p.id]}, func() person {
			return p.with(w.session(p.id, p.email))
		}}
	}
	token := func(name string, p person, level access.Level, only string) persona {
		one := session(name, p)
		one.again = func() person { _, t := w.apiToken(p.id, string(level), only); return p.with(t) }
		one.person = one.again()
		one.actor.Grant.Level = level
		if only != "" {
			one.actor.Grant.Only = access.Team(only)
		}
		return one
	}
	shut := func(name string, p person) persona { return persona{name: name, person: p} }
	outsider, removed, disabled := w.person("outsider"), w.person("removed"), w.person("disabled")
	w.furnish(access.Personal(outsider.id))
	w.furnish(access.Personal(removed.id))
	for _, p := range []person{outsider, removed} {
		w.tokens[p.id], _ = w.apiToken(p.id, "read", "")
	}
	gone := w.joins(w.team.ID, removed.id, access.Developer)
	removed.get("/teams/" + w.team.ID).is(200)
	w.owner.delete("/teams/" + w.team.ID + "/members/" + gone).is(200)

	w.joins(w.team.ID, disabled.id, access.Developer)
	w.write(func(tx *store.Tx) error {
		return tx.SetStanding(w.t.Context(), disabled.id, store.Member, true, present())
	})
	left := w.owner.with(w.session(w.owner.id, w.owner.email))
	left.post("/auth/logout", nil).is(200)
	revokedID, revoked := w.apiToken(w.owner.id, "manage", "")
	w.owner.delete("/auth/tokens/" + revokedID).is(200)
	_, expired := w.apiToken(w.owner.id, "manage", "", func(t *store.APIToken) { t.ExpiresAt = present().Add(-time.Second) })
	return []persona{
		shut("anonymous", person{f: w.fixture}), shut("disabled user", disabled), shut("logged out", left),
		shut("revoked API token", w.owner.with(revoked)), shut("expired API token", w.owner.with(expired)),
		shut("no token at all", w.owner.with("adit_nothing")), shut("half a token", w.owner.with(w.owner.token[:40])),
		session("outsider", outsider), session("removed member", removed), session("loner", w.loner),
		session("owner", w.owner), session("developer", w.developer), session("member", w.member), session("operator", w.admin),
		token("read token", w.owner, access.LevelRead, ""), token("operate token", w.owner, access.LevelOperate, ""),
		token("manage token", w.owner, access.LevelManage, ""), token("manage token of the team", w.owner, access.LevelManage, w.team.ID),
		token("manage token of another team", w.owner, access.LevelManage, w.other.ID),
		token("member's manage token", w.member, access.LevelManage, ""),
		token("operator's read token", w.admin, access.LevelRead, ""), token("operator's manage token", w.admin, access.LevelManage, ""),
	}
}
