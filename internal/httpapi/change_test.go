package httpapi_test

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestAPatchThatChangesNoEffectiveValueRestartsNothing(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	before := g.started(path)
	c := g.dial(bound(before))
	g.echoes(c, "one")
	got := g.patch(path, object{"name": "renamed", "remoteHost": "127.0.0.1", "localHost": "127.0.0.1", "username": "nobody"}).is(200)
	has(t, got, object{"name": "renamed", "status": "active", "tunnelId": before["tunnelId"], "connectionId": before["connectionId"]})
	g.echoes(c, "two")
}

func TestAPatchMovesAnActiveForward(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	before := g.started(path)
	c := g.dial(bound(before))
	g.echoes(c, "one")
	port := freePort(t)
	got := g.patch(path, object{"localPort": port}).is(200)
	has(t, got, object{"status": "active", "desired": "active", "localPort": port})
	if got["tunnelId"] == before["tunnelId"] || portOf(bound(got)) != port {
		t.Errorf("moved: %v", got)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection of the old run is still open")
	}
	refuses(t, bound(before))
	g.echoes(g.dial(bound(got)), "two")
}

func TestAPortThatTheSystemPickedIsKept(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(object{"localPort": freePort(t)})
	g.started(path)
	picked := bound(g.patch(path, object{"localPort": nil}).is(200))
	g.post(path+"/stop", nil).is(200)
	if got := bound(g.started(path)); got != picked {
		t.Errorf("listens at %s, was %s", got, picked)
	}
}

func TestAPatchThatCannotRunChangesNothing(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := g.forward(nil)
	before := g.started(path)
	c := g.dial(bound(before))
	for _, change := range []struct {
		status int
		code   string
		body   object
	}{
		{409, "listen_in_use", object{"localPort": portOf(taken.Addr().String())}},
		{400, "target_missing", object{"remotePort": nil}},
		{400, "server_missing", object{"serverId": nil}},
		{400, "bad_request", object{"serverId": "nowhere"}},
		{400, "invalid", object{"type": "sideways"}},
		{502, "connect_refused", object{"serverId": nil, "serverAddress": "127.0.0.1:1", "username": "mole", "password": sshPassword}},
	} {
		change.body["name"] = "changed"
		g.patch(path, change.body).fails(change.status, change.code)
		has(t, g.get(path).is(200), object{
			"name": "echo", "localPort": nil, "remotePort": before["remotePort"], "serverId": "mole", "status": "active",
			"updatedAt": before["updatedAt"], "tunnelId": before["tunnelId"], "hasPassword": false,
		})
	}
	g.echoes(c, "still there")
}

func TestAPatchThatCannotBeSavedGoesBack(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	before := g.started(path)
	refuse := "CREATE TRIGGER full BEFORE UPDATE OF name ON forwards BEGIN SELECT RAISE(ABORT, 'no'); END"
	if postgres.Wanted() {
		refuse = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;" +
			"CREATE TRIGGER refuse BEFORE UPDATE OF name ON forwards FOR EACH ROW EXECUTE FUNCTION no()"
	}
	g.execute(refuse)
	port := freePort(t)
	g.patch(path, object{"localPort": port}).fails(500, "internal")
	has(t, g.get(path).is(200), object{"status": "active", "localPort": nil, "updatedAt": before["updatedAt"]})
	g.echoes(g.dial(bound(before)), "back")
}

func TestAPatchOfAWantedForwardThatIsDownIsSavedAndTriedAtOnce(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(object{"serverId": nil, "serverAddress": g.addr, "username": "mole", "password": sshPassword})
	g.started(path)
	g.faults.SetPassword(redact.New("not-that-one"))
	g.faults.DropAll()
	what, ok := state("failed")
	row := g.becomes(path, what, ok)
	if failureCode(row) != "auth_failed" {
		t.Errorf("lastError %v", row["lastError"])
	}
	g.hide("the-n3w-password")
	g.faults.SetPassword(redact.New("the-n3w-password"))
	got := g.patch(path, object{"password": "the-n3w-password"}).is(200)
	has(t, got, object{"desired": "active", "hasPassword": true})
	what, ok = state("active")
	g.echoes(g.dial(bound(g.becomes(path, what, ok))), "mended")

	// What can no longer be built fails in the same way.
	g.faults.SetPassword(redact.New("not-that-one"))
	g.faults.DropAll()
	what, ok = state("failed")
	g.becomes(path, what, ok)
	g.patch(path, object{"username": nil}).is(200)
	row = g.becomes(path, "without user name", func(o object) bool { return failureCode(o) == "username_missing" })
	has(t, row, object{"state": "failed", "desired": "active", "status": "inactive", "tunnelId": nil})
	g.post(path+"/start", nil).fails(400, "username_missing")
	has(t, g.get(path).is(200), object{"desired": "active", "state": "failed"})
}

func TestAServerThatChangesTakesItsForwardsAlong(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	running, idle := g.forward(nil), g.forward(nil)
	before := g.started(running)
	has(t, g.patch("/servers/mole", object{"name": "renamed", "description": "x"}).is(200), object{"name": "renamed"})
	g.patch("/servers/mole", object{"password": "no-longer-right"}).is(200)
	row := g.becomes(running, "refused", func(o object) bool { return failureCode(o) == "auth_failed" })
	has(t, row, object{"desired": "active", "status": "inactive", "state": "failed"})
	g.patch("/servers/mole", object{"password": nil}).is(200)
	g.becomes(running, "without credentials", func(o object) bool { return failureCode(o) == "credentials_missing" && o["state"] == "failed" })
	g.patch("/servers/mole", object{"password": sshPassword}).is(200)
	what, ok := state("active")
	row = g.becomes(running, what, ok)
	if row["tunnelId"] == before["tunnelId"] {
		t.Errorf("the tunnel is still %v", row["tunnelId"])
	}
	has(t, g.get(idle).is(200), object{"state": "inactive", "lastError": nil})
}

func TestAKeyThatChangesTakesItsForwardsAlong(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.post("/keys", object{"name": "k", "type": "password", "localId": "pw", "password": sshPassword}).is(201)
	g.patch("/servers/mole", object{"authType": "key", "keyId": "pw"}).is(200)
	path := g.forward(nil)
	g.started(path)
	g.patch("/keys/pw", object{"passphrase": "no-longer-right"}).is(200)
	g.becomes(path, "refused", func(o object) bool { return failureCode(o) == "auth_failed" })
	m := g.delete("/keys/pw").fails(409, "conflict")
	if !contains(m, `"echo"`) {
		t.Errorf("message %q", m)
	}
	g.patch("/keys/pw", object{"passphrase": sshPassword}).is(200)
	what, ok := state("active")
	g.becomes(path, what, ok)
	g.delete("/keys/pw").fails(409, "conflict")
	g.post(path+"/stop", nil).is(200)
	g.delete("/keys/pw").is(200)
	g.post(path+"/start", nil).fails(400, "credentials_missing")
}

func TestAKeyThatAServerOnlyNamesCanBeDeleted(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.post("/keys", object{"name": "k", "type": "password", "localId": "pw", "password": "unused"}).is(201)
	g.patch("/servers/mole", object{"keyId": "pw"}).is(200) // it goes on with its password
	path := g.forward(nil)
	g.started(path)
	g.delete("/keys/pw").is(200)
	has(t, g.get(path).is(200), object{"state": "active"})
	has(t, g.get("/servers/mole").is(200), object{"keyId": "pw"})
}

func TestAServerInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(object{"name": "needs it"})
	g.started(path)
	if m := g.delete("/servers/mole").fails(409, "conflict"); !contains(m, `"needs it"`) {
		t.Errorf("message %q", m)
	}
	g.faults.SetPassword(redact.New("x"))
	g.faults.DropAll()
	what, ok := state("failed")
	g.becomes(path, what, ok)
	g.delete("/servers/mole").fails(409, "conflict") // it is wanted all the same
	g.post(path+"/stop", nil).is(200)
	g.delete("/servers/mole").is(200)
}

func TestADeleteSparesOpenConnectionsUnlessForced(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	got := g.started(path)
	c := g.dial(bound(got))
	g.echoes(c, "one")
	if m := g.delete(path).fails(409, "conflict"); !contains(m, "open connections: 1") {
		t.Errorf("message %q", m)
	}
	g.delete(path+"?force=false").fails(409, "conflict")
	g.delete(path+"?force=maybe").fails(400, "invalid")
	g.echoes(c, "two")
	has(t, g.delete(path+"?force=true").is(200), object{"message": "Port forward deleted successfully"})
	refuses(t, bound(got))
	g.get(path).fails(404, "not_found")
	quiet := g.forward(nil)
	address := bound(g.started(quiet))
	g.delete(quiet).is(200)
	refuses(t, address)
}

func TestASyncTakesRunningForwardsAlong(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(object{"localId": "synced"})
	before := g.started(path)
	item := object{"localId": "synced", "name": "renamed", "type": "local"}
	g.post("/port-forwards/sync", []object{item}).is(200)
	port := freePort(t)
	got := g.post("/port-forwards/sync", []object{with(item, object{"localPort": port})}).is(200)
	has(t, got, object{"updated": 1.0})
	after := g.becomes(path, "moved", func(o object) bool {
		return o["state"] == "active" && o["tunnelId"] != before["tunnelId"]
	})
	if portOf(bound(after)) != port {
		t.Errorf("listens at %s", bound(after))
	}
	g.post("/port-forwards/sync", []object{with(item, object{"remotePort": nil})}).is(200)
	row := g.becomes(path, "failed", func(o object) bool { return o["state"] == "failed" })
	has(t, row, object{"desired": "active", "remotePort": nil})
	if failureCode(row) != "target_missing" {
		t.Errorf("lastError %v", row["lastError"])
	}
}

func TestAChangedHostKeyIsOfferedAndCanBeAccepted(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	g.started(path)
	first := ssh.FingerprintSHA256(g.host.PublicKey())
	has(t, g.get("/servers/mole").is(200), object{"hostKeyFingerprint": first, "hostKeyType": "ssh-ed25519", "hostKeyOffered": nil})
	has(t, g.get(path).is(200), object{"hostKeyFingerprint": nil})

	other := hostKey(t)
	second := ssh.FingerprintSHA256(other.PublicKey())
	g.faults.SetHostKeys(other)
	g.faults.DropAll()
	row := g.becomes(path, "refused", func(o object) bool { return failureCode(o) == "host_key_changed" })
	has(t, row, object{"state": "failed", "desired": "active"})
	server := g.get("/servers/mole").is(200)
	has(t, server, object{"hostKeyFingerprint": first})
	has(t, server["hostKeyOffered"].(object), object{"type": "ssh-ed25519", "fingerprint": second})
	instant(t, server["hostKeyOffered"].(object)["at"])

	accept := func(fingerprint string) answer {
		return g.call("PUT", "/servers/mole/host-key", object{"fingerprint": fingerprint})
	}
	accept("SHA256:somebody-elses").fails(409, "conflict")
	g.call("PUT", "/servers/mole/host-key", object{}).fails(400, "invalid")
	has(t, accept(first).is(200), object{"hostKeyFingerprint": first}) // it is that already
	has(t, accept(second).is(200), object{"hostKeyFingerprint": second, "hostKeyOffered": nil, "updatedAt": server["updatedAt"]})
	what, ok := state("active")
	g.becomes(path, what, ok)
	has(t, g.delete("/servers/mole/host-key").is(200), object{"hostKeyFingerprint": nil, "hostKeyType": nil})
	has(t, g.get(path).is(200), object{"state": "active"})
	g.call("PUT", path+"/host-key", object{"fingerprint": second}).fails(400, "bad_request")
	g.delete(path+"/host-key").fails(400, "bad_request")
}

func TestAStrictManualForwardWantsItsHostKeyAcceptedFirst(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(object{
		"serverId": nil, "serverAddress": g.addr, "username": "mole", "password": sshPassword, "hostKeyPolicy": "strict",
	})
	g.post(path+"/start", nil).fails(502, "host_key_unknown")
	row := g.get(path).is(200)
	has(t, row, object{"hostKeyFingerprint": nil, "hostKeyPolicy": "strict"})
	offered := row["hostKeyOffered"].(object)
	has(t, g.call("PUT", path+"/host-key", object{"fingerprint": offered["fingerprint"]}).is(200), object{"hostKeyFingerprint": offered["fingerprint"]})
	g.started(path)
	// The server row of the same address shares the pin.
	has(t, g.get("/servers/mole").is(200), object{"hostKeyFingerprint": offered["fingerprint"]})
	g.post(path+"/stop", nil).is(200)
	has(t, g.delete(path+"/host-key").is(200), object{"hostKeyFingerprint": nil})
	g.post(path+"/start", nil).fails(502, "host_key_unknown")
}

func TestALongAnswerIsOneJSONValue(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.post("/port-forwards", object{"name": "<b>&é\u2028", "type": "local"}).is(201)
	if raw := []byte(f.get("/port-forwards").raw); !bytes.Contains(raw, []byte("<b>&é")) {
		t.Errorf("%s", raw)
	}
}
