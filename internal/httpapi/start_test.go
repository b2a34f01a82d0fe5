package httpapi_test

import (
	"net"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
)

func TestAForwardCarriesBytesFromStartToStop(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	created := g.get(path).is(200)
	got := g.started(path)
	address := bound(got)
	g.echoes(g.dial(address), "through the adit")
	status := g.becomes(path+"/status", "counted", func(o object) bool { return o["bytesOut"] == 16.0 })
	has(t, status, object{"isActive": true, "status": "active", "state": "active", "desired": "active", "tunnelId": got["tunnelId"], "bytesIn": 16.0, "connections": 1.0})
	instant(t, status["since"])
	if rows := g.get("/port-forwards?status=active").list(); len(rows) != 1 || len(g.get("/port-forwards?status=inactive").list()) != 0 {
		t.Errorf("rows %v", rows)
	}
	has(t, g.post(path+"/start", nil).is(200), object{"tunnelId": got["tunnelId"], "connectionId": got["connectionId"], "lastUsed": got["lastUsed"]})

	stopped := g.post(path+"/stop", nil).is(200)
	has(t, stopped, object{
		"status": "inactive", "state": "inactive", "desired": "inactive", "tunnelId": nil, "connectionId": nil,
		"lastUsed": got["lastUsed"], "updatedAt": created["updatedAt"],
	})
	refuses(t, address)
	g.post(path+"/stop", nil).is(200)
	again := g.started(path)
	if again["tunnelId"] == got["tunnelId"] || bound(again) != address {
		t.Errorf("started again at %s, was %s: %v", bound(again), address, again["tunnelId"])
	}
}

func TestAManualForwardStartsWithItsOwnCredentials(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	for _, authType := range []any{"password", nil} {
		path := g.forward(object{
			"serverId": nil, "serverAddress": g.addr, "username": "mole", "authType": authType, "password": sshPassword,
		})
		got := g.started(path)
		g.echoes(g.dial(bound(got)), "manual")
		if got["hostKeyFingerprint"] == nil || got["hostKeyType"] != "ssh-ed25519" {
			t.Errorf("host key %v", got)
		}
	}
}

func TestAForwardLogsInWithKeysOfEveryForm(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.post("/keys", object{"name": "k", "type": "password", "localId": "pw", "password": sshPassword}).is(201)
	g.patch("/servers/mole", object{"authType": "keySelect", "keyId": "pw"}).is(200)
	g.started(g.forward(nil))

	locked := g.lockedKey()
	g.post("/keys", object{"name": "k", "type": "ed25519", "localId": "key", "privateKey": locked, "passphrase": lockedKeyPassphrase}).is(201)
	g.patch("/servers/mole", object{"authType": "key", "keyId": "key"}).is(200)
	// The server does not know this key, but it could be used.
	g.post(g.forward(nil)+"/start", nil).fails(502, "auth_failed")
	g.post(g.forward(object{
		"serverId": nil, "serverAddress": g.addr, "username": "mole", "authType": "keyContent", "keyContent": locked, "passphrase": lockedKeyPassphrase,
	})+"/start", nil).fails(502, "auth_failed")
}

func TestAStartTellsWhatTheRowLacks(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.post("/servers", with(fullServer(), object{"localId": "bare", "authType": "key", "password": nil})).is(201)
	manual := object{"serverId": nil, "serverAddress": g.addr, "username": "mole", "password": sshPassword}
	for _, c := range []struct {
		code    string
		changes object
	}{
		{"server_missing", object{"serverId": nil}},
		{"target_missing", object{"remotePort": nil}},
		{"target_missing", object{"type": "remote", "remotePort": 9}},
		{"port_missing", object{"type": "remote", "remotePort": nil, "localPort": 9}},
		{"username_missing", with(manual, object{"username": nil})},
		{"credentials_missing", object{"serverId": "bare"}},
		{"credentials_missing", with(manual, object{"password": nil})},
		{"credentials_missing", with(manual, object{"authType": "keySelect"})},
		{"credentials_missing", with(manual, object{"authType": "key"})},
		{"credentials_missing", with(manual, object{"authType": "keyContent", "keyContent": "no key at all"})},
		{"key_path_denied", with(manual, object{"authType": "key", "keyPath": "/etc/passwd"})},
		{"key_path_denied", with(manual, object{"password": nil, "keyPath": "/etc/passwd"})},
	} {
		path := g.forward(c.changes)
		m := g.post(path+"/start", nil).fails(400, c.code)
		row := g.get(path).is(200)
		has(t, row, object{"status": "inactive", "state": "inactive", "desired": "inactive", "tunnelId": nil, "lastUsed": nil})
		if failureCode(row) != c.code || row["lastError"].(object)["message"] != m[0] {
			t.Errorf("%s: lastError %v", c.code, row["lastError"])
		}
	}
	// A server that went is missing too.
	path := g.forward(object{"serverId": "bare"})
	g.delete("/servers/bare").is(200)
	g.post(path+"/start", nil).fails(400, "server_missing")
}

func TestAStartTellsWhyItFailedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	manual := object{"serverId": nil, "username": "mole", "password": sshPassword}
	for _, c := range []struct {
		status  int
		code    string
		changes object
	}{
		{409, "listen_in_use", object{"localPort": portOf(taken.Addr().String())}},
		{502, "connect_refused", with(manual, object{"serverAddress": "127.0.0.1:1"})},
		{502, "auth_failed", with(manual, object{"serverAddress": g.addr, "password": "not-that-password"})},
	} {
		path := g.forward(c.changes)
		g.post(path+"/start", nil).fails(c.status, c.code)
		row := g.get(path).is(200)
		has(t, row, object{"state": "inactive", "desired": "inactive", "tunnelId": nil})
		if failureCode(row) != c.code {
			t.Errorf("%s: lastError %v", c.code, row["lastError"])
		}
	}
}

func TestAStopInterruptsAStart(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.faults.SetHandshake(sshserver.HangAtOnce)
	path := g.forward(nil)
	var start sync.WaitGroup
	start.Go(func() { g.post(path+"/start", nil).fails(409, "stopped") })
	if err := g.ssh.WaitCounts(t.Context(), func(c sshserver.Counts) bool { return c.Accepted == 1 }); err != nil {
		t.Fatal(err)
	}
	has(t, g.get(path).is(200), object{"status": "inactive", "state": "starting"})
	has(t, g.post(path+"/stop", nil).is(200), object{"state": "inactive", "desired": "inactive"})
	start.Wait()
	has(t, g.get(path).is(200), object{"state": "inactive", "desired": "inactive"})
}

func TestAChangeDuringAStartIsNotLost(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	during := func(path string, change func()) answer {
		g.faults.BlackHole(true)
		seen := g.ssh.Counts().Accepted
		var start sync.WaitGroup
		var got answer
		start.Go(func() { got = g.post(path+"/start", nil) })
		if err := g.ssh.WaitCounts(t.Context(), func(c sshserver.Counts) bool { return c.Accepted > seen }); err != nil {
			t.Error(err)
		}
		change()
		g.faults.BlackHole(false)
		start.Wait()
		return got
	}
	path := g.forward(object{"localId": "synced"})
	port := freePort(t)
	during(path, func() {
		g.post("/port-forwards/sync", []object{{"localId": "synced", "name": "echo", "type": "local", "localPort": port}}).is(200)
	}).is(200)
	row := g.becomes(path, "moved", func(o object) bool {
		return o["state"] == "active" && o["effective"].(object)["boundPort"] == port
	})
	g.echoes(g.dial(bound(row)), "moved")
	g.post(path+"/stop", nil).is(200)

	// A server that goes meanwhile takes the start with it.
	during(path, func() { g.delete("/servers/mole").is(200) }).fails(400, "server_missing")
	has(t, g.get(path).is(200), object{"state": "inactive", "desired": "inactive"})
	refuses(t, bound(row))
}

func TestWhatWasWantedRunsAgainAfterARestart(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	wanted, other := g.forward(nil), g.forward(nil)
	before := g.started(wanted)
	g.started(other)
	g.post(other+"/stop", nil).is(200)
	broken := g.forward(object{"name": "broken", "serverId": nil, "serverAddress": g.addr, "username": "mole", "password": sshPassword})
	g.started(broken)

	g.close()
	g.open()
	has(t, g.get(wanted).is(200), object{"status": "inactive", "desired": "active", "tunnelId": nil})
	g.execute("UPDATE forwards SET username = NULL WHERE name = 'broken'")
	if err := g.app.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	what, ok := state("active")
	after := g.becomes(wanted, what, ok)
	if bound(after) != bound(before) || after["tunnelId"] == before["tunnelId"] || after["lastUsed"] != before["lastUsed"] {
		t.Errorf("before %v, after %v", before, after)
	}
	g.echoes(g.dial(bound(after)), "again")
	has(t, g.get(other).is(200), object{"state": "inactive", "desired": "inactive"})
	row := g.get(broken).is(200)
	has(t, row, object{"state": "failed", "desired": "active", "effective": nil})
	if failureCode(row) != "username_missing" {
		t.Errorf("lastError %v", row["lastError"])
	}
}

func TestDynamicAndRemoteForwardsStart(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	got := g.started(g.forward(object{"type": "dynamic", "remotePort": nil, "bindPort": freePort(t)}))
	c := g.dial(bound(got))
	g.answers(c, "\x05\x01\x00", "\x05\x00")
	remote := g.started(g.forward(object{"type": "remote", "localPort": portOf(g.echo), "remotePort": freePort(t)}))
	has(t, remote["effective"].(object), object{"listenOn": "server"})
	g.echoes(g.dial(bound(remote)), "from there to here")
}

// answers sends one text and demands another.
func (g *ground) answers(c net.Conn, send, want string) {
	g.t.Helper()
	if _, err := c.Write([]byte(send)); err != nil {
		g.t.Fatal(err)
	}
	back := make([]byte, len(want))
	if _, err := c.Read(back); err != nil || string(back) != want {
		g.t.Fatalf("%q came back, %v", back, err)
	}
}

func TestAStartOfAForwardThatIsDownAnswersWithTheRow(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	before := g.started(path)
	g.faults.SetPassword(redact.New("another"))
	g.faults.DropAll()
	g.becomes(path+"/status", "failed", func(o object) bool { return o["state"] == "failed" })
	g.post(path+"/start", nil).fails(502, "auth_failed")
	g.faults.SetPassword(redact.New(sshPassword))
	after := g.post(path+"/start", nil).is(200)
	has(t, after, object{"id": before["id"], "state": "active", "desired": "active", "tunnelId": before["tunnelId"]})
	if after["lastUsed"] == before["lastUsed"] {
		t.Error("lastUsed was not updated")
	}
}
