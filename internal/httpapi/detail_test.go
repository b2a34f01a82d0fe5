package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// since are the entries beyond the first n, newest first, as short texts.
func (f *fixture) since(n int) (told []string) {
	f.t.Helper()
	list := f.entries(store.AuditFilter{})
	for _, e := range list[:len(list)-n] {
		told = append(told, fmt.Sprintf("%s %s: %s", e.Action, e.Object, e.Detail))
	}
	return told
}

func (f *fixture) told() int { return len(f.entries(store.AuditFilter{})) }

// says demands the entries that a call leaves, the newest first.
func (f *fixture) says(call func() answer, want ...string) {
	f.t.Helper()
	n := f.told()
	if got := call(); got.status >= 300 {
		f.t.Errorf("%d %s", got.status, got.raw)
	}
	if got := f.since(n); strings.Join(got, "\n") != strings.Join(want, "\n") {
		f.t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheAuditSaysWhatWasMadeOfIt(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada, bob := f.operator(), f.person("bob")
	team, _ := f.fixtureTeam(ada)
	f.hide("a-new-passw0rd", "s0cks-passw0rd")
	members := "/teams/" + team + "/members"
	var member string
	f.says(func() answer {
		got := ada.post(members, object{"userId": bob.id, "role": "user"})
		member, _ = got.is(201)["id"].(string)
		return got
	}, "add-member bob@example.com: role: user")
	f.says(func() answer { return ada.patch(members+"/"+member, object{"role": "developer"}) }, "set-member-role bob@example.com: role: developer")
	f.says(func() answer { return ada.delete(members + "/" + member) },
		"remove-member bob@example.com: user: bob ("+bob.id+"), role: developer")
	f.says(func() answer { return ada.patch("/users/"+bob.id, object{"role": "admin", "disabled": true}) },
		"update-user bob@example.com: disabled: true, role: admin")
	f.says(func() answer {
		return ada.put("/settings", object{"maxActive": 7, "allowedBinds": []string{"127.0.0.1"}})
	},
		`set-settings : maxActive: 7, allowedBinds: ["127.0.0.1"]`)
	f.says(func() answer { return ada.put("/settings", object{"maxActive": 7, "registration": "closed"}) },
		`set-settings : registration: "closed", allowedBinds: null`)
	f.says(func() answer { return ada.put("/settings", object{"maxActive": 7, "registration": "closed"}) }, "set-settings : ")
	ada.post("/servers", fullServer()).is(201)
	f.says(func() answer {
		return ada.patch("/servers/server-uuid", object{"name": "new", "password": "a-new-passw0rd"})
	},
		"update-server web: changed: name, password")
	f.says(func() answer {
		return ada.patch("/servers/server-uuid", object{"name": "new", "password": "a-new-passw0rd"})
	}, "update-server new: ")
	ada.post("/port-forwards", object{"localId": "f", "name": "f", "type": "dynamic"}).is(201)
	f.says(func() answer {
		return ada.patch("/port-forwards/f", object{"serverId": "server-uuid", "socksUsername": "u", "socksPassword": "s0cks-passw0rd"})
	}, "update-port-forward f: changed: serverId, socksUsername, socksPassword")
	ada.post("/keys", object{"localId": "k", "name": "k", "type": "password", "password": "a-new-passw0rd"}).is(201)
	f.says(func() answer { return ada.patch("/keys/k", object{"description": "old"}) }, "update-key k: changed: description")

	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf("host-%03d.example.com:443", i)
	}
	ada.put("/settings", object{"allowedDestinations": many}).is(200)
	if d := f.entries(store.AuditFilter{})[0].Detail; len([]rune(d)) != 500 || !strings.HasSuffix(d, "…") {
		t.Errorf("%d code points: %s", len([]rune(d)), d)
	}
}

// fixtureTeam is a team of one's own.
func (f *fixture) fixtureTeam(owner person) (id, query string) {
	f.t.Helper()
	team, _ := f.team("miners", owner, nil)
	return team.ID, "?namespace=" + team.ID
}

func TestASyncTellsOfEveryRowThatItMadeOrChanged(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	row := func(id, name string) object {
		return object{"localId": id, "name": name, "type": "password", "password": "pw-" + id + "-secret"}
	}
	f.hide("pw-a-secret", "pw-b-secret", "pw-c-secret")
	f.says(func() answer { return ada.post("/keys/sync", []object{row("a", "A"), row("b", "B")}) },
		"sync-keys 2 rows: ", "sync-keys B: created", "sync-keys A: created")
	f.says(func() answer { return ada.post("/keys/sync", []object{row("a", "A"), row("b", "B2"), row("c", "C")}) },
		"sync-keys 3 rows: ", "sync-keys C: created", "sync-keys B2: changed: name")
	f.says(func() answer { return ada.post("/keys/sync", []object{row("a", "A")}) }, "sync-keys 1 rows: ")
	id := ada.get("/keys/b").is(200)["id"].(string)
	if list := f.entries(store.AuditFilter{ObjectID: id}); len(list) != 2 || list[0].Request == "" || list[0].ActorID != ada.id || list[0].Scope != access.Personal(ada.id) {
		t.Errorf("%+v", list)
	}
}

func TestEveryStopThatFollowsFromSomethingIsTold(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada, bob := f.operator(), f.person("bob")
	team, members := f.team("miners", ada, map[string]access.Role{bob.id: access.Developer})
	query := "?namespace=" + team.ID
	bob.post("/servers", with(fullServer(), object{"localId": "his"})).is(201)
	wanted := func(name, query string, more object) (id string) {
		t.Helper()
		id = bob.post("/port-forwards"+query, with(object{"name": name, "type": "dynamic"}, more)).is(201)["id"].(string)
		f.write(func(tx *store.Tx) error { return tx.MarkStarted(t.Context(), id, present(), 0) })
		return id
	}
	through := wanted("through", query, object{"serverId": "his"})
	bob.post("/port-forwards"+query, object{"name": "idle", "type": "dynamic", "serverId": "his"}).is(201)
	wanted("stays", query, nil)
	own := wanted("own", "", nil)
	f.says(func() answer { return ada.delete("/teams/" + team.ID + "/members/" + members[bob.id]) },
		"remove-member bob@example.com: user: bob ("+bob.id+"), role: developer", "stop-port-forward through: member removed: bob@example.com")
	f.says(func() answer { return ada.patch("/users/"+bob.id, object{"disabled": true}) },
		"update-user bob@example.com: disabled: true", "stop-port-forward own: user disabled: bob@example.com")
	f.says(func() answer { return ada.delete("/teams/" + team.ID) },
		"dissolve-team miners: ", "stop-port-forward stays: team dissolved: miners")
	for id, scope := range map[string]access.Scope{through: access.Team(team.ID), own: access.Personal(bob.id)} {
		e := f.entries(store.AuditFilter{ObjectID: id, Action: "stop-port-forward"})[0]
		if e.ActorID != ada.id || e.Scope != scope || e.Result != api.ResultOK || e.Request == "" {
			t.Errorf("%+v", e)
		}
	}
}

func TestRefusalsBeyondSixtyAMinuteAreCountedAndToldOnce(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada, bob := f.operator(), f.person("bob")
	n := f.told()
	for range 70 {
		bob.put("/settings", object{}).fails(403, "forbidden")
	}
	f.person("cy").put("/settings", object{}).fails(403, "forbidden") // somebody else is told of
	bob.post("/servers", fullServer()).is(201)                        // and what bob changes
	ada.put("/settings", object{}).is(200)
	if got := f.told() - n; got != 60+3 {
		t.Errorf("%d entries", got)
	}
	f.app.Close() // as the end of the minute
	e := f.entries(store.AuditFilter{})[0]
	if e.Action != "refusals-left-out" || e.ActorID != bob.id || e.Actor != bob.email || e.Address != "192.0.2.1" || !strings.HasPrefix(e.Detail, "10 refusals from ") ||
		e.Scope != access.Installation() || e.Result != string(api.CodeTooManyRequests) {
		t.Errorf("%+v", e)
	}
	if got := f.told() - n; got != 60+4 {
		t.Errorf("%d entries", got)
	}
}
