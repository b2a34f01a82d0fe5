package httpapi_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
)

func TestServersAndKeysAreSyncedLikeForwards(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("first-passw0rd", "other-passw0rd")
	good, locked := privateKey(t), f.lockedKey()
	got := f.post("/keys/sync", []any{
		object{"localId": "a", "name": "A", "type": "password", "password": "first-passw0rd"},
		object{"localId": "b", "name": "B", "type": "ed25519", "privateKey": good},
		object{"localId": "c", "name": "C", "type": "ed25519", "privateKey": "no key"},
		object{"localId": "d", "name": "D", "type": "ed25519", "privateKey": locked, "passphrase": "wrong"},
		object{"localId": "e", "name": "E", "type": "ed25519", "privateKey": locked, "passphrase": lockedKeyPassphrase},
		object{"localId": "f", "name": "F", "type": "ed25519"},
		object{"localId": "g", "name": "G", "type": "password", "fingerprint": "SHA256:x"},
		object{"localId": "a", "name": "A, later", "type": "password", "password": "other-passw0rd"},
		object{"localId": "h", "type": "password"},
	}).is(200)
	demandKeys(t, got, "message", "syncedCount", "created", "updated", "errors", "items")
	has(t, got, object{"message": "Keys synced successfully", "syncedCount": 3.0, "created": 3.0, "updated": 0.0})
	told := syncErrors(got)
	for i, want := range []string{"2 c: privateKey cannot be used: ", "3 d: privateKey cannot be used: ", "5 f: privateKey should not be empty", "6 g: property fingerprint should not exist", "8 h: name should not be empty"} {
		if i >= len(told) || !strings.HasPrefix(told[i], want) {
			t.Errorf("errors %q, want %q", told, want)
		}
	}
	items := got["items"].([]any)
	has(t, items[0].(object), object{"localId": "b", "hasPrivateKey": true})
	has(t, items[2].(object), object{"localId": "a", "name": "A, later", "hasPassphrase": true})

	got = f.post("/servers/sync", []any{
		with(fullServer(), object{"localId": "1", "keyId": "b", "authType": "keySelect"}),
		with(fullServer(), object{"localId": "2", "keyId": "nowhere"}),
		with(fullServer(), object{"localId": "3", "hasPassword": true}),
		with(fullServer(), object{"localId": "4", "port": 0}),
		with(fullServer(), object{"localId": "5", "host": "http://x/"}),
		with(fullServer(), object{"localId": nil}),
	}).is(200)
	has(t, got, object{"message": "Servers synced successfully", "syncedCount": 2.0, "created": 2.0})
	if told := syncErrors(got); !slices.Equal(told, []string{
		"1 2: Key with id nowhere not found", "2 3: property hasPassword should not exist", "3 4: port must not be less than 1",
		"4 5: host must be a host name or an IP address, without scheme, user and port",
	}) {
		t.Errorf("errors %q", told)
	}
	// The second time it is a change: what is absent stays, null clears, an empty secret stays.
	before := f.get("/servers/1").is(200)
	got = f.post("/servers/sync", []any{
		object{"localId": "1", "name": "new", "host": "192.0.2.9", "port": 22, "username": "root", "authType": "password", "password": "", "keyId": nil},
	}).is(200)
	has(t, got, object{"created": 0.0, "updated": 1.0})
	has(t, got["items"].([]any)[0].(object), object{
		"id": before["id"], "name": "new", "host": "192.0.2.9", "keyId": nil, "hasPassword": true, "description": "in the cellar", "createdAt": before["createdAt"],
	})
	f.post("/servers/sync", []any{with(fullServer(), object{"localId": "1", "password": nil, "description": nil})}).is(200)
	has(t, f.get("/servers/1").is(200), object{"hasPassword": false, "description": nil})
	f.post("/keys/sync", []any{object{"localId": "e", "name": "E", "type": "ed25519", "passphrase": nil}}).is(200)
	if told := syncErrors(f.post("/keys/sync", []any{object{"localId": "e", "name": "E", "type": "ed25519", "passphrase": nil}}).is(200)); len(told) != 1 {
		t.Errorf("a locked key lost its passphrase: %q", told)
	}
	has(t, f.get("/keys/e").is(200), object{"hasPassphrase": true})
	// Without a change nothing is written.
	same := f.get("/keys/a").is(200)
	has(t, f.post("/keys/sync", []any{object{"localId": "a", "name": "A, later", "type": "password"}}).is(200), object{"updated": 1.0})
	has(t, f.get("/keys/a").is(200), object{"updatedAt": same["updatedAt"]})
}

func TestAThousandServersOrKeysAreSyncedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for noun, item := range map[string]func() any{"servers": newServerBody, "keys": newKeyBody} {
		items := make([]any, 1001)
		for i := range items {
			items[i] = item()
		}
		route := "/" + noun + "/sync?namespace=" + w.team.ID
		w.developer.post(route, items).fails(400, "bad_request")
		began := time.Now()
		has(t, w.developer.post(route, items[:1000]).is(200), object{"syncedCount": 1000.0, "created": 1000.0})
		t.Logf("1000 %s took %v", noun, time.Since(began))
		has(t, w.developer.post(route, items[:10]).is(200), object{"updated": 10.0})
		if n := len(w.member.get("/" + noun + "?namespace=" + w.team.ID).list()); n != 1001 {
			t.Errorf("%d %s", n, noun)
		}
		w.member.post(route, items[:1]).fails(403, "forbidden")
		w.loner.post(route, items[:1]).fails(403, "forbidden")
	}
}

// A sync of servers or keys takes what runs through them along.
func TestASyncOfServersAndKeysRestartsWhatRunsThroughThem(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada, bob := g.operator(), g.person("bob")
	team, _ := g.fixture.team("miners", ada, map[string]access.Role{bob.id: access.Developer})
	namespace := "?namespace=" + team.ID
	bob.post("/keys"+namespace, object{"localId": "pw", "name": "pw", "type": "password", "password": sshPassword}).is(201)
	server := object{"localId": "s", "name": "s", "host": "127.0.0.1", "port": portOf(g.addr), "username": "mole", "authType": "keySelect", "keyId": "pw"}
	bob.post("/servers"+namespace, server).is(201)
	path := g.teamForward(bob, team.ID, "s")
	before := ada.post(path+"/start", nil).is(200)

	bob.post("/servers/sync"+namespace, []any{with(server, object{"description": "changes nothing that runs"})}).is(200)
	bob.post("/keys/sync"+namespace, []any{object{"localId": "pw", "name": "renamed", "type": "password"}}).is(200)
	g.app.Close() // waits for what goes on in the background
	has(t, ada.get(path).is(200), object{"state": "active", "tunnelId": before["tunnelId"]})
	g.echoes(g.dial(bound(before)), "goes on")
	g.close()
	g.open()
	if err := g.app.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.f(bob, path, "active")
	bob.post("/keys/sync"+namespace, []any{object{"localId": "pw", "name": "renamed", "type": "password", "password": "not-that-password"}}).is(200)
	if row := g.f(bob, path, "failed"); failureCode(row) != "auth_failed" {
		t.Errorf("%v", row["lastError"])
	}
	bob.post("/servers/sync"+namespace, []any{with(server, object{"authType": "password", "password": sshPassword})}).is(200)
	g.echoes(g.dial(bound(g.f(bob, path, "active"))), "again")
}

// f asks as somebody until a forward is in a state.
func (g *ground) f(p person, path, state string) object {
	g.t.Helper()
	g.token = p.token
	defer func(token string) { g.token = token }(g.token)
	return g.becomes(path, state, func(row object) bool { return row["state"] == state })
}
