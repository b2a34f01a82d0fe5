package httpapi_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/store"
)

var codeForm = regexp.MustCompile(`^[A-Z0-9]{8}$`)

// demandKeys demands exactly these keys.
func demandKeys(t *testing.T, o object, want ...string) {
	t.Helper()
	slices.Sort(want)
	if keys := keysOf(o); !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
}

var (
	teamKeys   = []string{"id", "name", "ownerId", "inviteCode", "role", "createdAt", "updatedAt"}
	memberKeys = []string{"id", "teamId", "userId", "role", "createdAt", "user"}
)

func TestATeamIsMadeJoinedAndRead(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada, bob, eve := f.operator(), f.person("bob"), f.person("eve")
	team := ada.post("/teams/create", object{"name": "miners"}).is(201)
	demandKeys(t, team, teamKeys...)
	has(t, team, object{"name": "miners", "ownerId": ada.id, "role": "owner"})
	code := team["inviteCode"].(string)
	if !codeForm.MatchString(code) {
		t.Errorf("code %q", code)
	}
	path := "/teams/" + team["id"].(string)
	bob.post("/teams/create", object{"name": "miners"}).fails(409, "conflict")
	bob.post("/teams/create", object{"name": ""}).fails(400, "invalid")

	bob.post("/teams/join", object{"inviteCode": "AAAAAAAA"}).fails(404, "not_found")
	joined := bob.post("/teams/join", object{"inviteCode": code}).is(201)
	demandKeys(t, joined, append([]string{"team", "name", "ownerId", "inviteCode"}, memberKeys...)...)
	has(t, joined, object{"teamId": team["id"], "userId": bob.id, "role": "user", "name": "miners", "ownerId": ada.id, "inviteCode": code})
	has(t, joined["team"].(object), object{"id": team["id"], "name": "miners", "ownerId": ada.id})
	has(t, joined["user"].(object), object{"id": bob.id, "username": "bob", "email": bob.email})
	bob.post("/teams/join", object{"inviteCode": code}).fails(403, "forbidden")
	ada.post("/teams/join", object{"inviteCode": code}).fails(403, "forbidden")

	got := bob.get(path).is(200)
	demandKeys(t, got, append([]string{"members"}, teamKeys...)...)
	has(t, got, object{"role": "user", "inviteCode": nil})
	members := bob.get(path + "/members").list()
	if len(members) != 2 || len(got["members"].([]any)) != 2 {
		t.Fatalf("members %v", members)
	}
	demandKeys(t, members[0], memberKeys...)
	demandKeys(t, members[0]["user"].(object), "id", "username", "email")
	has(t, members[0], object{"id": joined["id"]}) // newest first
	has(t, members[1], object{"role": "owner", "userId": ada.id})
	if my := bob.get("/teams/my").list(); len(my) != 1 || my[0]["role"] != "user" || my[0]["inviteCode"] != nil {
		t.Errorf("my %v", my)
	}
	has(t, ada.get("/teams/my").list()[0], object{"role": "owner", "inviteCode": code})
	if my := eve.get("/teams/my").list(); len(my) != 0 {
		t.Errorf("eve's %v", my)
	}
	for _, page := range []string{path + "/members", "/teams/my"} {
		part := bob.get(page + "?limit=1&page=1")
		if n := part.header.Get("X-Total-Count"); len(part.list()) != 1 || n != fmt.Sprint(len(bob.get(page).list())) {
			t.Errorf("%s: %s", page, n)
		}
	}
}

func TestOwnersTakeInPromoteAndRemoveMembers(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	people := []person{f.person("bob"), f.person("cid"), f.person("dan")}
	bob, cid, dan := people[0], people[1], people[2]
	path := "/teams/" + ada.post("/teams/create", object{"name": "miners"}).is(201)["id"].(string)
	has(t, ada.post(path+"/members", object{"userId": bob.id, "role": "developer"}).is(201), object{"userId": bob.id, "role": "developer"})
	in := ada.post(path+"/invite", object{"email": "CID@example.com", "role": "user"}).is(201)
	demandKeys(t, in, memberKeys...)
	member := path + "/members/" + in["id"].(string)
	ada.post(path+"/members", object{"userId": bob.id, "role": "user"}).fails(409, "conflict")
	ada.post(path+"/members", object{"userId": newID(), "role": "user"}).fails(404, "not_found")
	ada.post(path+"/members", object{"email": "nobody@example.com", "role": "user"}).fails(404, "not_found")
	for _, body := range []object{
		{"role": "user"},
		{"userId": dan.id, "email": dan.email, "role": "user"},
		{"userId": dan.id},
		{"userId": dan.id, "role": "owner"},
		{"userId": dan.id, "role": "admin"},
	} {
		ada.post(path+"/members", body).fails(400, "invalid")
	}
	bob.post(path+"/members", object{"userId": dan.id, "role": "user"}).fails(403, "forbidden")

	cid.post("/servers?namespace="+path[len("/teams/"):], fullServer()).fails(403, "forbidden")
	has(t, ada.patch(member, object{"role": "developer"}).is(200), object{"role": "developer", "userId": cid.id})
	cid.post("/servers?namespace="+path[len("/teams/"):], fullServer()).is(201)
	has(t, ada.patch(member+"/role", object{"role": "user", "memberId": in["id"]}).is(200), object{"role": "user"})
	ada.patch(member+"/role", object{"role": "user", "memberId": newID()}).fails(400, "invalid")
	ada.patch(member, object{"role": "owner"}).fails(400, "invalid")
	cid.patch(member, object{"role": "developer"}).fails(403, "forbidden")

	own := path + "/members/" + ada.get(path + "/members").list()[2]["id"].(string)
	for _, body := range []string{`{"role":"user"}`, `{"role":"developer"}`} {
		ada.patch(own, body).fails(403, "forbidden")
		ada.patch(own+"/role", body).fails(403, "forbidden")
	}
	ada.delete(own).fails(403, "forbidden")
	bob.delete(own).fails(403, "forbidden")
	bob.delete(member).fails(403, "forbidden")

	demandKeys(t, cid.delete(member).is(200), "message")
	cid.get(path).fails(404, "not_found")
	cid.get("/servers?namespace="+path[len("/teams/"):]).fails(403, "forbidden")
	ada.delete(member).fails(404, "not_found")
	ofBob := ada.get(path + "/members").list()[0]["id"].(string)
	has(t, ada.delete(path+"/members/"+ofBob).is(200), object{"message": "Member removed successfully"})
	if n := len(ada.get(path + "/members").list()); n != 1 {
		t.Errorf("%d members", n)
	}
	if rows := ada.get("/servers?namespace=" + path[len("/teams/"):]).list(); len(rows) != 1 {
		t.Errorf("the team's rows went with their creator: %v", rows)
	}
}

func TestAnOldInviteCodeIsDead(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada, bob := f.operator(), f.person("bob")
	team := ada.post("/teams/create", object{"name": "miners"}).is(201)
	rotated := ada.post("/teams/"+team["id"].(string)+"/invite-code", nil).is(201)
	demandKeys(t, rotated, "inviteCode")
	code := rotated["inviteCode"].(string)
	if !codeForm.MatchString(code) || code == team["inviteCode"] {
		t.Errorf("code %q after %q", code, team["inviteCode"])
	}
	bob.post("/teams/join", object{"inviteCode": team["inviteCode"]}).fails(404, "not_found")
	bob.post("/teams/join", object{"inviteCode": " " + string([]byte{code[0] | 0x20}) + code[1:] + " "}).is(201)
}

// Dissolving a team stops what it runs and leaves none of its secrets.
func TestDissolvingATeamLeavesNothing(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada, bob := g.operator(), g.person("bob")
	for _, route := range []string{"", "/dissolve"} {
		team, _ := g.fixture.team("miners"+route, ada, map[string]access.Role{bob.id: access.Developer})
		_, token := g.apiToken(bob.id, "manage", team.ID)
		path := g.teamForward(bob, team.ID, g.teamServer(bob, team.ID))
		bob.post("/keys?namespace="+team.ID, object{"name": "k", "type": "password", "password": "key-passw0rd-x"}).is(201)
		row := bob.post(path+"/start", nil).is(200)
		g.echoes(g.dial(bound(row)), "through the team")
		bob.delete("/teams/"+team.ID+route).fails(403, "forbidden")
		demandKeys(t, ada.delete("/teams/"+team.ID+route).is(200), "message")

		refuses(t, bound(row))
		bob.get(path).fails(404, "not_found")
		bob.get("/teams/"+team.ID).fails(404, "not_found")
		bob.get("/port-forwards?namespace="+team.ID).fails(403, "forbidden")
		ada.get("/data/teams/"+team.ID).fails(404, "not_found")
		bob.with(token).get("/auth/validate").fails(401, "unauthorized")
		bob.post("/teams/join", object{"inviteCode": team.InviteCode}).fails(404, "not_found")
		scope := access.Team(team.ID)
		err := g.store.Read(t.Context(), func(r *store.Reader) error {
			servers, _ := r.Servers(t.Context(), scope, store.Page{})
			keys, _ := r.Keys(t.Context(), scope, store.Page{})
			forwards, _ := r.Forwards(t.Context(), scope, store.Page{})
			hosts, _ := r.HostKeys(t.Context(), scope)
			if len(servers)+len(keys)+len(forwards)+len(hosts) != 0 {
				t.Errorf("left: %v %v %v %v", servers, keys, forwards, hosts)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// teamServer adds a server of a team's that leads to the ground's, and gives its id.
func (g *ground) teamServer(by person, team string) string {
	g.t.Helper()
	query := ""
	if team != "" {
		query = "?namespace=" + team
	}
	return by.post("/servers"+query, object{
		"name": "mole", "host": "127.0.0.1", "port": portOf(g.addr), "username": "mole", "authType": "password", "password": sshPassword,
	}).is(201)["id"].(string)
}

// teamForward adds a local forward to the echo server, and gives its path.
func (g *ground) teamForward(by person, team, server string) string {
	g.t.Helper()
	in := object{"name": "echo", "type": "local", "remotePort": portOf(g.echo), "serverId": server}
	return "/port-forwards/" + by.post("/port-forwards?namespace="+team, in).is(201)["id"].(string)
}

// What a team runs through a member's own server ends with his membership; what
// he started of the team's goes on.
func TestARemovedMemberTakesOnlyWhatIsHis(t *testing.T) {
	t.Parallel()
	for _, leaves := range []bool{false, true} {
		g := newGround(t)
		ada, bob := g.operator(), g.person("bob")
		team, members := g.fixture.team("miners", ada, map[string]access.Role{bob.id: access.Developer})
		ofTeam := g.teamServer(ada, team.ID)
		shared := g.teamForward(bob, team.ID, ofTeam)
		through := g.teamForward(bob, team.ID, g.teamServer(bob, ""))
		key := bob.post("/keys", object{"name": "k", "type": "password", "password": sshPassword}).is(201)["id"]
		keyed := bob.post("/servers?namespace="+team.ID, object{
			"name": "keyed", "host": "127.0.0.1", "port": portOf(g.addr), "username": "mole", "authType": "keySelect", "keyId": key,
		}).is(201)["id"].(string)
		byKey := g.teamForward(bob, team.ID, keyed)
		rows := map[string]object{}
		for _, path := range []string{shared, through, byKey} {
			rows[path] = bob.post(path+"/start", nil).is(200)
		}
		by := ada
		if leaves {
			by = bob
		}
		by.delete("/teams/" + team.ID + "/members/" + members[bob.id]).is(200)

		for _, path := range []string{shared, through, byKey} {
			bob.get(path).fails(404, "not_found")
			bob.post(path+"/stop", nil).fails(404, "not_found")
		}
		has(t, ada.get(shared).is(200), object{"state": "active", "tunnelId": rows[shared]["tunnelId"]})
		g.echoes(g.dial(bound(rows[shared])), "goes on")
		for path, code := range map[string]string{through: "server_missing", byKey: "credentials_missing"} {
			has(t, ada.get(path).is(200), object{"state": "inactive", "desired": "inactive", "tunnelId": nil})
			refuses(t, bound(rows[path]))
			ada.post(path+"/start", nil).fails(400, code)
		}
		// Coming back does not bring it back.
		g.joins(team.ID, bob.id, access.Developer)
		bob.post(through+"/start", nil).fails(400, "server_missing")
	}
}

// A start that is under way when the writer of its server leaves does not come
// to run, nor to be wanted.
func TestAStartDoesNotOutliveTheMembershipThatItNeeds(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada, bob := g.operator(), g.person("bob")
	team, members := g.fixture.team("miners", ada, map[string]access.Role{bob.id: access.Developer})
	path := g.teamForward(bob, team.ID, g.teamServer(bob, ""))
	got := g.meanwhile(func() answer { return ada.post(path+"/start", nil) }, func() {
		ada.delete("/teams/" + team.ID + "/members/" + members[bob.id]).is(200)
	})
	if got.status != 409 && got.status != 400 {
		t.Errorf("%d %s", got.status, got.raw)
	}
	has(t, ada.get(path).is(200), object{"state": "inactive", "desired": "inactive"})

	// One that is recorded right after the membership has ended.
	members[bob.id] = g.joins(team.ID, bob.id, access.Developer)
	path = g.teamForward(bob, team.ID, g.teamServer(bob, ""))
	ada.post(path+"/start", nil).is(200)
	g.trigger("AFTER DELETE ON team_members", "UPDATE forwards SET wanted = TRUE", "")
	ada.delete("/teams/" + team.ID + "/members/" + members[bob.id]).is(200)
	has(t, ada.get(path).is(200), object{"state": "inactive", "desired": "inactive"})
}

func TestNamespacesKeepTheRowsOfTeamsApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for noun, body := range map[string]object{
		"servers": fullServer(), "keys": newKeyBody().(object), "port-forwards": newForwardBody().(object),
	} {
		for _, team := range []string{w.team.ID, w.other.ID, "", "null", "undefined"} {
			namespace, kind := any(nil), "personal"
			if len(team) > 10 {
				namespace, kind = team, "team"
			}
			route := "/" + noun + "?namespace=" + team
			body := with(body, object{"localId": "of " + team})
			made := w.owner.post(route, body).is(201)
			has(t, made, object{"namespace": namespace, "dataType": kind})
			synced := w.owner.post("/"+noun+"/sync?namespace="+team, []any{with(body, object{"localId": "synced " + team})}).is(200)
			has(t, synced, object{"created": 1.0})
			rows := w.owner.get(route).list()
			for _, row := range rows {
				has(t, row, object{"namespace": namespace, "dataType": kind})
			}
			if rows[0]["id"] != synced["items"].([]any)[0].(object)["id"] || rows[1]["id"] != made["id"] {
				t.Errorf("%s of %q: %v", noun, team, rows)
			}
		}
	}
	data := w.developer.get("/teams/" + w.team.ID + "/data").is(200)
	demandKeys(t, data, "team", "servers", "keys", "portForwards")
	if again := w.developer.get("/data/teams/" + w.team.ID); textOf(t, again.is(200)) != textOf(t, data) {
		t.Errorf("%s and %v", again.raw, data)
	}
	for list, noun := range map[string]string{"servers": "servers", "keys": "keys", "portForwards": "port-forwards"} {
		if rows := w.developer.get("/" + noun + "?namespace=" + w.team.ID).list(); textOf(t, rows) != textOf(t, data[list]) || len(rows) != 3 {
			t.Errorf("%s: %v and %v", noun, rows, data[list])
		}
	}
	own := w.owner.get("/data/personal").is(200)
	demandKeys(t, own, "servers", "keys", "portForwards")
	servers := w.owner.get("/servers/personal/data").is(200)
	demandKeys(t, servers, "servers")
	if textOf(t, servers["servers"]) != textOf(t, own["servers"]) || len(own["servers"].([]any)) != 7 {
		t.Errorf("%v and %v", servers, own)
	}
}

// Of a localId the caller's own row comes first, then one of his teams', unless
// there are several.
func TestALocalIDMeansOnesOwnRowFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := with(fullServer(), object{"localId": "web"})
	one := w.owner.post("/servers?namespace="+w.team.ID, in).is(201)
	has(t, w.member.get("/servers/web").is(200), object{"id": one["id"]})
	has(t, w.owner.get("/servers/web").is(200), object{"id": one["id"]})
	w.owner.post("/servers?namespace="+w.other.ID, in).is(201)
	w.owner.get("/servers/web").fails(404, "not_found")
	own := w.owner.post("/servers", in).is(201)
	has(t, w.owner.get("/servers/web").is(200), object{"id": own["id"]})
	w.owner.post("/servers?namespace="+w.team.ID, in).fails(409, "conflict")
}

func TestRegistrationIsAsOpenAsTheFlagAndTheSettingAllow(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{api.RegistrationInvite, api.RegistrationOpen, api.RegistrationClosed} {
		f := signedUp(t, func(o *app.Options) { o.Registration = flag })
		ada := f.operator()
		team, _ := f.team("miners", ada, nil)
		for _, set := range []any{nil, api.RegistrationInvite, api.RegistrationOpen, api.RegistrationClosed} {
			ada.put("/settings", object{"registration": set}).is(200)
			closed := flag == api.RegistrationClosed || set == api.RegistrationClosed
			open := flag == api.RegistrationOpen && (set == nil || set == api.RegistrationOpen)
			register := func(code any) answer {
				return person{f: f}.post("/auth/register", object{"email": newID() + "@example.com", "username": "newcomer", "password": password, "inviteCode": code})
			}
			expect := func(got answer, allowed bool) {
				t.Helper()
				if !allowed {
					if m := got.fails(403, "forbidden"); m[0] != "Registration is closed" {
						t.Errorf("%s, %v: %q", flag, set, m)
					}
					return
				}
				has(t, got.is(201)["user"].(object), object{"role": "user"})
			}
			expect(register(nil), open)
			got := register(team.InviteCode)
			expect(got, !closed)
			if closed {
				register("AAAAAAAA").fails(403, "forbidden")
				continue
			}
			register("AAAAAAAA").fails(404, "not_found")
			newcomer := person{f: f, token: got.is(201)["token"].(string)}
			if my := newcomer.get("/teams/my").list(); len(my) != 1 || my[0]["id"] != team.ID || my[0]["role"] != "user" {
				t.Errorf("%s, %v: %v", flag, set, my)
			}
		}
	}
}
