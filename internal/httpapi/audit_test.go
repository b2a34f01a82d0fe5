package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/httpapi"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

// entries are those of the audit that the filter selects, newest first.
func (f *fixture) entries(filter store.AuditFilter) []store.AuditEntry {
	f.t.Helper()
	list, err := f.store.Audit(f.t.Context(), filter, store.Page{})
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

// tells makes a call and demands the entry that it leaves, and those of what
// else came of it, the last one first.
func (f *fixture) tells(call func() answer, want store.AuditEntry, also ...store.AuditEntry) answer {
	f.t.Helper()
	before := len(f.entries(store.AuditFilter{}))
	got := call()
	list := f.entries(store.AuditFilter{})
	if len(list) != before+1+len(also) {
		f.t.Errorf("%s, %s: %d entries: %s", want.Action, want.Result, len(list)-before, got.raw)
		return got
	}
	e := list[0]
	if e.Request != got.header.Get("X-Request-Id") || e.Address != "192.0.2.1" || time.Since(e.At).Abs() > time.Minute {
		f.t.Errorf("%s: request %q, address %q, at %v", want.Action, e.Request, e.Address, e.At)
	}
	if want.ObjectID == "" && got.status < 300 { // what was answered is what it was done to
		if o := got.is(got.status); o["id"] != nil {
			want.ObjectID = o["id"].(string)
		}
	}
	want.ID, want.At, want.Address, want.Request = e.ID, e.At, e.Address, e.Request
	if want.ObjectID == "" {
		want.ObjectID = e.ObjectID
	}
	if e != want {
		f.t.Errorf("told\n%+v, want\n%+v", e, want)
	}
	for i, other := range also {
		e := list[1+i]
		other.ID, other.At, other.Address, other.Request = e.ID, e.At, "192.0.2.1", want.Request
		if other.ObjectID == "" && e.ObjectID != want.ObjectID {
			other.ObjectID = e.ObjectID
		}
		if e != other || e.ObjectID == "" {
			f.t.Errorf("also told\n%+v, want\n%+v", e, other)
		}
	}
	return got
}

// saying is an entry with a detail.
func saying(e store.AuditEntry, detail string) store.AuditEntry {
	e.Detail = detail
	return e
}

// entry is one of what went well.
func entry(p person, scope access.Scope, action, object string) store.AuditEntry {
	return store.AuditEntry{Scope: scope, ActorID: p.id, Actor: p.email, Action: action, Object: object, Result: api.ResultOK}
}

// ended is an entry of what did not.
func ended(e store.AuditEntry, result api.Code) store.AuditEntry {
	e.Result = string(result)
	return e
}

func TestEveryChangeStartAndStopIsToldOnce(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada, bob := g.operator(), g.person("bob")
	team, members := g.fixture.team("miners", ada, map[string]access.Role{bob.id: access.User})
	in := access.Team(team.ID)
	say := func(call func() answer, want store.AuditEntry, also ...store.AuditEntry) answer {
		t.Helper()
		return g.tells(call, want, also...)
	}
	namespace := "?namespace=" + team.ID

	server := say(func() answer { return ada.post("/servers"+namespace, fullServer()) }, entry(ada, in, "create-server", "web")).is(201)
	say(func() answer {
		return ada.patch("/servers/server-uuid", object{"name": "web 2", "host": "127.0.0.1", "port": portOf(g.addr)})
	}, saying(entry(ada, in, "update-server", "web"), "changed: name, host, port"))
	g.hide("s3rver-passw0rd")
	say(func() answer { return ada.put("/servers/server-uuid/host-key", anyHostKey) }, entry(ada, in, "accept-server-host-key", "web 2"))
	say(func() answer { return ada.delete("/servers/server-uuid/host-key") }, entry(ada, in, "forget-server-host-key", "web 2"))
	row := say(func() answer {
		return ada.post("/port-forwards"+namespace, object{"name": "f", "type": "local", "remotePort": portOf(g.echo), "serverId": "server-uuid"})
	}, entry(ada, in, "create-port-forward", "f")).is(201)
	path := "/port-forwards/" + row["id"].(string)
	start := entry(bob, in, "start-port-forward", "f")
	say(func() answer { return bob.post(path+"/start", nil) }, ended(start, api.CodeAuthFailed))
	say(func() answer { return bob.patch(path, object{"name": "mine"}) }, ended(entry(bob, in, "update-port-forward", "f"), api.CodeForbidden))
	say(func() answer { return bob.post("/servers"+namespace, fullServer()) }, ended(entry(bob, in, "create-server", ""), api.CodeForbidden))
	ada.patch("/servers/server-uuid", object{"username": "mole", "password": sshPassword}).is(200)
	say(func() answer { return bob.post(path+"/start", nil) }, start)
	say(func() answer { return ada.post(path+"/start", nil) }, entry(ada, in, "start-port-forward", "f")) // it runs already
	say(func() answer { return ada.patch(path, object{"localPort": freePort(t)}) }, saying(entry(ada, in, "update-port-forward", "f"), "changed: localPort"))
	say(func() answer { return ada.delete("/servers/server-uuid") }, ended(entry(ada, in, "delete-server", "web 2"), api.CodeConflict))
	say(func() answer { return bob.post(path+"/stop", nil) }, entry(bob, in, "stop-port-forward", "f"))
	ada.patch(path, object{"remotePort": nil}).is(200)
	say(func() answer { return bob.post(path+"/start", nil) }, ended(start, api.CodeTargetMissing))
	say(func() answer {
		return ada.post("/port-forwards/sync"+namespace, []any{
			object{"localId": "1", "name": "one", "type": "local"}, object{"localId": "2", "name": "two", "type": "local"},
		})
	}, entry(ada, in, "sync-port-forwards", "2 rows"),
		saying(entry(ada, in, "sync-port-forwards", "two"), "created"), saying(entry(ada, in, "sync-port-forwards", "one"), "created"))
	say(func() answer { return ada.delete(path) }, entry(ada, in, "delete-port-forward", "f"))
	say(func() answer { return ada.delete("/servers/" + server["id"].(string)) }, entry(ada, in, "delete-server", "web 2"))
	say(func() answer { return ada.post("/keys"+namespace, newKeyBody()) }, entry(ada, in, "create-key", "k"))

	say(func() answer {
		return ada.patch("/teams/"+team.ID+"/members/"+members[bob.id], object{"role": "developer"})
	}, saying(entry(ada, in, "set-member-role", bob.email), "role: developer"))
	say(func() answer { return bob.post("/teams/"+team.ID+"/invite-code", nil) }, ended(entry(bob, in, "rotate-invite-code", "miners"), api.CodeForbidden))
	code := say(func() answer { return ada.post("/teams/"+team.ID+"/invite-code", nil) }, entry(ada, in, "rotate-invite-code", "miners")).is(201)["inviteCode"]
	say(func() answer { return bob.delete("/teams/" + team.ID + "/members/" + members[bob.id]) }, saying(entry(bob, in, "remove-member", bob.email), "user: bob ("+bob.id+"), role: developer"))
	say(func() answer { return bob.post("/teams/join", object{"inviteCode": code}) }, entry(bob, in, "join-team", bob.email))
	newcomer := person{g.fixture, "", "new@example.com", ""}
	registered := object{"email": newcomer.email, "username": "newcomer", "password": password, "inviteCode": code}
	before := len(g.entries(store.AuditFilter{}))
	newcomer.id = newcomer.post("/auth/register", registered).is(201)["id"].(string)
	if list := g.entries(store.AuditFilter{}); len(list) != before+1 || list[0].Action != "register" || list[0].ActorID != newcomer.id || list[0].Scope != in {
		t.Errorf("%+v", list[0])
	}
	say(func() answer { return ada.delete("/teams/" + team.ID) }, entry(ada, in, "dissolve-team", "miners"))
	again := ada.post("/teams/create", object{"name": "again"}).is(201)["id"].(string)
	if e := g.entries(store.AuditFilter{})[0]; e.Action != "create-team" || e.Scope != access.Team(again) || e.ObjectID != again || e.Object != "again" {
		t.Errorf("%+v", e)
	}
}

func TestWhatIsDoneToAccountsIsToldOnce(t *testing.T) {
	t.Parallel()
	g := signedUp(t)
	ada, bob := g.operator(), g.person("bob")
	say := func(call func() answer, want store.AuditEntry) answer { t.Helper(); return g.tells(call, want) }
	all, own := access.Installation(), access.Personal(bob.id)
	nobody := store.AuditEntry{Scope: all, Action: "login", Object: bob.email, ObjectID: bob.id, Result: string(api.CodeUnauthorized)}
	say(func() answer {
		return person{f: g}.post("/auth/login", object{"email": bob.email, "password": "wrong"})
	}, nobody)
	login := entry(bob, all, "login", bob.email)
	login.ObjectID = bob.id
	say(func() answer {
		return person{f: g}.post("/auth/login", object{"email": bob.email, "password": password})
	}, login)
	change := object{"currentPassword": "wrong-one", "newPassword": "another-long-password"}
	say(func() answer { return bob.post("/auth/password", change) }, ended(entry(bob, own, "change-password", bob.email), api.CodeInvalid))
	say(func() answer { return bob.post("/auth/password", with(change, object{"currentPassword": password})) }, entry(bob, own, "change-password", bob.email))
	made := say(func() answer { return bob.post("/auth/tokens", object{"name": "ci", "scope": "read"}) }, entry(bob, own, "create-token", "ci")).is(201)
	byToken := ended(entry(bob, own, "create-server", ""), api.CodeForbidden)
	byToken.TokenID = made["id"].(string)
	say(func() answer { return bob.with(made["token"].(string)).post("/servers", newServerBody()) }, byToken)
	say(func() answer { return bob.delete("/auth/tokens/" + made["id"].(string)) }, entry(bob, own, "delete-token", "ci"))
	say(func() answer { return bob.put("/settings", object{}) }, ended(entry(bob, all, "set-settings", ""), api.CodeForbidden))
	say(func() answer { return ada.put("/settings", object{}) }, entry(ada, all, "set-settings", ""))
	say(func() answer { return ada.patch("/users/"+ada.id, object{"disabled": true}) }, saying(ended(entry(ada, all, "update-user", ada.email), api.CodeConflict), "disabled: true"))
	say(func() answer { return bob.post("/auth/logout", nil) }, entry(bob, own, "logout", bob.email))
}

// Looking leaves nothing, nor does what came to nothing before it began.
func TestLooksAndNonsenseAreNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := len(w.entries(store.AuditFilter{}))
	mine := w.rows[access.Personal(w.owner.id)]
	for path, item := range agreed().document.Paths {
		for _, op := range httpapi.Operations(item) {
			if op.Method != http.MethodGet || len(item.Servers) > 0 {
				continue
			}
			s := step{attempt{id: w.team.ID}, op.OperationID, op.Method, path}
			if !strings.Contains(path, "team") {
				s.id = mine["port-forwards"].id
			}
			w.owner.call(s.method, s.target(), nil)
			w.admin.call(s.method, s.target(), nil)
			person{f: w.fixture}.call(s.method, s.target(), nil)
		}
	}
	w.owner.post("/servers", "{").fails(400, "bad_request")
	w.owner.post("/servers", object{}).fails(400, "invalid")
	w.owner.delete("/servers/"+newID()).fails(404, "not_found")
	w.loner.post("/port-forwards/"+mine["port-forwards"].id+"/start", nil).fails(404, "not_found")
	w.owner.post("/teams/join", object{"inviteCode": "AAAAAAAA"}).fails(404, "not_found")
	// Anybody can have these without end, and fill the disk.
	for range 3 {
		person{f: w.fixture}.post("/auth/register", object{"email": "x@example.com", "username": "xyz", "password": password}).fails(403, "forbidden")
		person{f: w.fixture}.post("/servers", newServerBody()).fails(401, "unauthorized")
	}
	if list := w.entries(store.AuditFilter{}); len(list) != before {
		t.Errorf("%+v", list[0])
	}
}

func TestTheAuditIsReadByOperatorsAndByOwnersOfTheirTeam(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := w.owner.post("/servers?namespace="+w.team.ID, fullServer()).is(201)["id"].(string)
	w.developer.patch("/servers/"+one, object{"name": "changed"}).is(200)
	w.member.delete("/servers/"+one).fails(403, "forbidden")
	w.owner.post("/servers?namespace="+w.other.ID, fullServer()).is(201)
	w.owner.post("/servers", fullServer()).is(201)
	w.loner.post("/servers?namespace="+w.team.ID, fullServer()).fails(403, "forbidden")

	list := w.owner.get("/audit?namespace=" + w.team.ID).list()
	if len(list) != 3 {
		t.Fatalf("%v", list)
	}
	demandKeys(t, list[0], "id", "at", "action", "result", "actorId", "actor", "tokenId", "address", "namespace", "objectId", "object", "detail", "requestId")
	has(t, list[0], object{"action": "delete-server", "result": "forbidden", "actorId": w.member.id, "actor": w.member.email, "namespace": w.team.ID, "objectId": one, "object": "changed", "tokenId": nil})
	has(t, list[2], object{"action": "create-server", "result": "ok", "actorId": w.owner.id, "object": "web"})
	instant(t, list[0]["at"])
	for _, p := range []person{w.owner, w.developer, w.member, w.loner} {
		p.get("/audit").fails(403, "forbidden")
	}
	for _, p := range []person{w.developer, w.member, w.loner, w.spare.with(w.session(w.spare.id, w.spare.email))} {
		p.get("/audit?namespace="+w.team.ID).fails(403, "forbidden")
	}
	if n := len(w.admin.get("/audit?namespace=" + w.team.ID).list()); n != 3 {
		t.Errorf("the operator sees %d", n)
	}
	at := list[1]["at"].(string)
	for query, want := range map[string]int{
		"":                         7, // with the registration
		"?actor=" + w.developer.id: 1, "?action=create-server": 4, "?object=" + one: 3, "?result=forbidden": 2,
		"?result=ok&action=create-server": 3, "?actor=" + w.loner.id + "&namespace=" + w.team.ID: 0,
		"?from=2999-01-01T00:00:00Z": 0, "?before=2999-01-01T00:00:00Z": 7, "?from=" + at + "&before=" + at: 0, "?limit=2": 2, "?limit=5&page=2": 2,
	} {
		if rows := w.admin.get("/audit" + query).list(); len(rows) != want {
			t.Errorf("%s: %d entries", query, len(rows))
		}
	}
	if n := w.admin.get("/audit?limit=2&action=create-server").header.Get("X-Total-Count"); n != "4" {
		t.Errorf("X-Total-Count %q", n)
	}
	if m := w.admin.get("/audit?from=yesterday&before=now").fails(400, "invalid"); len(m) != 2 || !strings.HasPrefix(m[0], "from ") {
		t.Errorf("%q", m)
	}
}

// Nothing but age removes an entry, and nothing changes one.
func TestTheAuditIsAppendedToAndTrimmedByAge(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	for path, item := range agreed().document.Paths {
		for _, op := range httpapi.Operations(item) {
			if strings.HasPrefix(path, "/audit") && op.Method != http.MethodGet {
				t.Errorf("%s %s", op.Method, path)
			}
		}
	}
	ada.delete("/audit").fails(405, "method_not_allowed")
	old := func(days int) {
		f.write(func(tx *store.Tx) error {
			return tx.AppendAudit(t.Context(), store.AuditEntry{ID: newID(), At: present().AddDate(0, 0, -days), Scope: access.Installation(), Action: "old", Result: "ok"})
		})
	}
	for _, days := range []int{5, 40, 364, 366} {
		old(days)
	}
	for _, c := range []struct {
		days any
		left int
	}{{nil, 3}, {30, 1}, {1, 0}} {
		ada.put("/settings", object{"auditDays": c.days}).is(200)
		if err := f.app.TrimAudit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(f.entries(store.AuditFilter{Action: "old"})); n != c.left {
			t.Errorf("%v days: %d left", c.days, n)
		}
	}
	if n := len(f.entries(store.AuditFilter{Action: "set-settings"})); n != 3 {
		t.Errorf("%d", n)
	}
}

// What is changed and what is told of it are saved together or not at all.
func TestAChangeThatCannotBeToldIsNotMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refuse := "CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END"
	if postgres.Wanted() {
		refuse = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;" +
			"CREATE TRIGGER refuse BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no()"
	}
	w.execute(refuse)
	teams := []string{w.team.ID, w.other.ID, w.third.ID}
	before := w.stored(teams...)
	for _, p := range []persona{
		{name: "owner", person: w.owner, actor: &access.Actor{UserID: w.owner.id, Teams: map[string]access.Role{w.team.ID: access.Owner}}},
		{name: "operator", person: w.admin, actor: &access.Actor{UserID: w.admin.id, Admin: true}},
	} {
		for _, s := range w.steps(p) {
			status, _ := s.expects(p)
			if status != 0 || s.method == http.MethodGet || s.name == "logout" || s.name == "change-password" || s.name == "login" {
				continue
			}
			s.fresh = nil
			if got := p.call(s.method, s.target(), s.body); got.status < 400 && s.name != "update-user" {
				t.Errorf("%s: %d %s", s.name, got.status, got.raw)
			}
		}
		if after := w.stored(teams...); after != before {
			t.Errorf("%s: changed all the same:\n%s", p.name, difference(before, after))
		}
	}
}

// A start goes on without the one who asked for it, and what comes of it is told.
func TestAStartThatItsCallerDoesNotWaitForIsToldAsItEnds(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada := g.operator()
	path := g.forward(nil)
	for _, c := range []struct{ password, result string }{{"no-such-passw0rd", string(api.CodeAuthFailed)}, {sshPassword, api.ResultOK}} {
		g.patch("/servers/mole", object{"password": c.password}).is(200)
		ctx, leave := context.WithCancel(t.Context())
		before := len(g.entries(store.AuditFilter{}))
		g.meanwhile(func() answer { return g.send(ada.request("POST", path+"/start", nil).WithContext(ctx)) }, leave)
		g.becomes(path, "at rest", func(row object) bool { return row["state"] != "starting" })
		list := g.entries(store.AuditFilter{})
		if len(list) != before+1 || list[0].Action != "start-port-forward" || list[0].Result != c.result {
			t.Errorf("%d entries: %+v", len(list)-before, list[0])
		}
	}
}
