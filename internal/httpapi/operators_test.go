package httpapi_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
)

func TestOperatorsListDisableAndPromoteUsers(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada, bob := g.operator(), g.person("bob")
	list := ada.get("/users").list()
	if len(list) != 2 || list[0]["id"] != bob.id {
		t.Fatalf("%v", list)
	}
	demandKeys(t, list[0], "id", "email", "username", "role", "disabled", "createdAt", "updatedAt")
	if page := ada.get("/users?limit=1"); len(page.list()) != 1 || page.header.Get("X-Total-Count") != "2" {
		t.Errorf("%s", page.raw)
	}
	team, _ := g.fixture.team("miners", ada, map[string]access.Role{bob.id: access.Developer})
	ofTeam := g.teamForward(bob, team.ID, g.teamServer(ada, team.ID))
	own := g.teamForward(bob, "", g.teamServer(bob, ""))
	running, stopping := bob.post(ofTeam+"/start", nil).is(200), bob.post(own+"/start", nil).is(200)
	_, token := g.apiToken(bob.id, "manage", "")
	path := "/users/" + bob.id

	got := ada.patch(path, object{"disabled": true}).is(200)
	has(t, got, object{"id": bob.id, "disabled": true, "role": "user"})
	refuses(t, bound(stopping))
	bob.get("/auth/validate").fails(401, "unauthorized")
	bob.with(token).get("/auth/validate").fails(401, "unauthorized")
	bob.post("/auth/login", object{"email": bob.email, "password": password}).fails(401, "unauthorized")
	has(t, ada.get(ofTeam).is(200), object{"state": "active", "tunnelId": running["tunnelId"]})
	ada.post("/teams/"+team.ID+"/invite", object{"email": bob.email, "role": "user"}).fails(404, "not_found")

	for _, null := range []string{`{"disabled":null}`, `{"role":null}`} {
		ada.patch(path, null).fails(400, "invalid")
	}
	has(t, ada.patch(path, `{}`).is(200), object{"disabled": true})
	has(t, ada.patch(path, object{"disabled": false, "id": bob.id}).is(200), object{"disabled": false})
	bob.get("/auth/validate").fails(401, "unauthorized") // that one is over
	bob.with(token).get("/auth/validate").fails(401, "unauthorized")
	bob.token = bob.post("/auth/login", object{"email": bob.email, "password": password}).is(200)["token"].(string)
	has(t, bob.get(own).is(200), object{"state": "inactive", "desired": "inactive"})

	mine := "/users/" + ada.id
	for _, change := range []object{{"disabled": true}, {"role": "user"}} {
		if m := ada.patch(mine, change).fails(409, "conflict"); !contains(m, "last operator") {
			t.Errorf("%q", m)
		}
	}
	ada.get("/settings").is(200)
	bob.get("/settings").fails(403, "forbidden")
	has(t, ada.patch(path, object{"role": "admin"}).is(200), object{"role": "admin"})
	bob.get("/settings").is(200)
	has(t, bob.patch(mine, object{"role": "user"}).is(200), object{"role": "user"})
	ada.get("/users").fails(403, "forbidden")
	bob.patch("/users/"+newID(), object{"disabled": true}).fails(404, "not_found")
	bob.patch(path, object{"disabled": true}).fails(409, "conflict")
}

// A start that is under way when its user is disabled does not come to run, nor
// to be wanted.
func TestAStartDoesNotOutliveItsUser(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada, bob := g.operator(), g.person("bob")
	path := g.teamForward(bob, "", g.teamServer(bob, ""))
	got := g.meanwhile(func() answer { return bob.post(path+"/start", nil) }, func() {
		ada.patch("/users/"+bob.id, object{"disabled": true}).is(200)
	})
	got.fails(409, "stopped")
	id := strings.TrimPrefix(path, "/port-forwards/")
	if row, err := g.store.Forward(t.Context(), id); err != nil || row.Wanted {
		t.Errorf("wanted %t, %v", row.Wanted, err)
	}
	if st := g.tunnels.Status(id); st.State != "inactive" {
		t.Errorf("%v", st.State)
	}
	// One that comes after the stop, from a request that was let in before.
	path = g.teamForward(ada, "", g.teamServer(ada, ""))
	got = g.meanwhile(func() answer { return ada.post(path+"/start", nil) }, func() {
		g.execute("UPDATE users SET disabled = TRUE")
	})
	got.fails(401, "unauthorized")
	if st := g.tunnels.Status(strings.TrimPrefix(path, "/port-forwards/")); st.State != "inactive" {
		t.Errorf("%v", st.State)
	}
}

func TestSettingsAreReplacedAsAWhole(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	names := []string{"registration", "maxForwardsPerUser", "maxActivePerUser", "maxActive", "allowedBinds", "allowedDestinations", "auditDays"}
	unset := object{}
	for _, name := range names {
		unset[name] = nil
	}
	has(t, ada.get("/settings").is(200), unset)
	has(t, ada.put("/settings", object{"maxActive": 5, "registration": "closed", "allowedDestinations": []string{}}).is(200), object{"maxActive": 5.0, "registration": "closed", "allowedDestinations": nil})
	got := ada.put("/settings", object{"auditDays": 30}).is(200)
	demandKeys(t, got, names...)
	has(t, got, with(unset, object{"auditDays": 30.0}))
	has(t, ada.get("/settings").is(200), with(unset, object{"auditDays": 30.0}))
	for _, body := range []object{
		{"registration": "wide"}, {"maxActive": -1}, {"auditDays": 0}, {"maxForwardsPerUser": "many"},
		{"allowedBinds": []string{"127.0.0.1:0-99999"}}, {"allowedDestinations": []string{"not a rule"}}, {"allowedBinds": "127.0.0.1"}, {"motd": "x"},
	} {
		ada.put("/settings", body).fails(400, "invalid")
	}
	has(t, ada.get("/settings").is(200), with(unset, object{"auditDays": 30.0}))
	// They survive a restart.
	f.close()
	f.open()
	has(t, ada.get("/settings").is(200), object{"auditDays": 30.0})
}

func TestForwardsAUserAreLimitedWhereverHeMakesThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // one forward each, and the owner two more in his teams
	w.admin.put("/settings", object{"maxForwardsPerUser": 4}).is(200)
	w.owner.post("/port-forwards?namespace="+w.team.ID, newForwardBody()).is(201)
	for _, query := range []string{"", "?namespace=" + w.team.ID} {
		if m := w.owner.post("/port-forwards"+query, newForwardBody()).fails(403, "limit_reached"); !contains(m, "maxForwardsPerUser") {
			t.Errorf("%q", m)
		}
	}
	w.owner.post("/servers", newServerBody()).is(201)
	first, second := newForwardBody().(object), newForwardBody().(object)
	got := w.loner.post("/port-forwards/sync", []any{first, second, newForwardBody(), newForwardBody(), newForwardBody()}).is(200)
	has(t, got, object{"created": 3.0})
	if told := syncErrors(got); len(told) != 2 || !strings.Contains(told[0], "maxForwardsPerUser") {
		t.Errorf("%q", told)
	}
	// What is there can still be changed, and what goes makes room.
	has(t, w.loner.post("/port-forwards/sync", []any{first, second, newForwardBody()}).is(200), object{"updated": 2.0, "created": 0.0})
	w.loner.delete("/port-forwards/" + first["localId"].(string)).is(200)
	w.loner.post("/port-forwards", newForwardBody()).is(201)
	w.admin.put("/settings", object{"maxForwardsPerUser": 0}).is(200)
	w.developer.post("/port-forwards", newForwardBody()).fails(403, "limit_reached")
	w.admin.put("/settings", object{}).is(200)
	w.developer.post("/port-forwards", newForwardBody()).is(201)
}

func TestNoMoreRunThanTheLimitsAllow(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada, bob := g.operator(), g.person("bob")
	mine, server := g.forward(nil), g.teamServer(bob, "")
	var his []string
	for range 10 {
		his = append(his, g.teamForward(bob, "", server))
	}
	ada.put("/settings", object{"maxActivePerUser": 3}).is(200)
	var starts sync.WaitGroup
	answers := make([]answer, len(his))
	for i := range his {
		starts.Go(func() { answers[i] = bob.post(his[i]+"/start", nil) })
	}
	starts.Wait()
	run := 0
	for i, got := range answers {
		if got.status == 200 {
			run++
			continue
		}
		if m := got.fails(409, "too_many_active"); !contains(m, "maxActivePerUser") {
			t.Errorf("%q", m)
		}
		row := bob.get(his[i]).is(200)
		has(t, row, object{"state": "inactive", "desired": "inactive", "tunnelId": nil})
		if failureCode(row) != "too_many_active" {
			t.Errorf("lastError %v", row["lastError"])
		}
	}
	if active := len(bob.get("/port-forwards?status=active").list()); run != 3 || active != 3 {
		t.Errorf("%d started, %d run", run, active)
	}
	g.started(mine)
	ada.put("/settings", object{"maxActive": 4}).is(200)
	other := g.forward(nil)
	if m := ada.post(other+"/start", nil).fails(409, "too_many_active"); !contains(m, "maxActive ") {
		t.Errorf("%q", m)
	}
	ada.post(mine+"/start", nil).is(200) // it runs already
	ada.post(mine+"/stop", nil).is(200)
	ada.post(other+"/start", nil).is(200)
	ada.post(mine+"/start", nil).fails(409, "too_many_active")
}

func TestBindsAndDestinationsAreNarrowedAtRunTime(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada := g.operator()
	path := g.forward(object{"localPort": freePort(t)})
	before := g.started(path)
	open := g.dial(bound(before))
	g.echoes(open, "open")
	_, echo, _ := strings.Cut(g.echo, ":")
	ada.put("/settings", object{"allowedBinds": []string{"127.0.0.2"}, "allowedDestinations": []string{"127.0.0.1:1-2"}}).is(200)
	g.echoes(open, "what is open goes on")
	if denied, err := net.Dial("tcp", bound(before)); err == nil { // to where none may go any more
		_ = denied.SetDeadline(time.Now().Add(3 * time.Second))
		if n, err := denied.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
		denied.Close()
	}
	ada.post(path+"/stop", nil).is(200)
	if m := ada.post(path+"/start", nil).fails(409, "listen_denied"); !contains(m, "allowedBinds") {
		t.Errorf("%q", m)
	}
	ada.put("/settings", object{"allowedDestinations": []string{"127.0.0.1:1-2"}}).is(200)
	if m := ada.post(path+"/start", nil).fails(409, "target_denied"); !contains(m, "allowedDestinations") {
		t.Errorf("%q", m)
	}
	ada.put("/settings", object{"allowedDestinations": []string{"127.0.0.1:" + echo}, "allowedBinds": []string{"127.0.0.1"}}).is(200)
	g.echoes(g.dial(bound(g.started(path))), "allowed again")
	// What was set holds in the next process, too.
	ada.put("/settings", object{"allowedBinds": []string{"127.0.0.2"}}).is(200)
	ada.post(path+"/stop", nil).is(200)
	g.close()
	g.open()
	if err := g.app.LoadSettings(t.Context()); err != nil {
		t.Fatal(err)
	}
	ada.post(path+"/start", nil).fails(409, "listen_denied")
	ada.put("/settings", object{}).is(200)
	g.started(path)
}
