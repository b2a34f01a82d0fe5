package test

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

// restoreLimit is how soon after a start what was wanted is active again.
const restoreLimit = 10 * time.Second

func TestTunnelsComeBackByThemselvesAfterTheSSHServerDid(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ways := g.ways()
	before := ways[0].open(t)
	if err := target.Echo(before, small); err != nil {
		t.Fatal(err)
	}

	g.sshd.Stop()
	for _, w := range ways {
		st := g.reaches(w.path+"/status", "reconnecting", patience)
		g.has(st, object{"status": "inactive", "isActive": false, "desired": "active", "tunnelId": w.row["tunnelId"], "connectionId": nil})
		failure, _ := st["lastError"].(object)
		if failure["code"] == nil || failure["message"] == "" || st["nextRetry"] == nil || st["since"] == nil {
			t.Errorf("%s: %v", w.name, st)
		}
		g.has(g.get(w.path).is(200), object{"status": "inactive", "tunnelId": w.row["tunnelId"], "connectionId": nil})
	}
	if _, err := before.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("a stream that was cut ends with %v", err)
	}
	if n := len(g.get("/port-forwards?status=active").list()); n != 0 {
		t.Errorf("%d forwards are called active", n)
	}
	early := ways[0].open(t) // waits for the link

	g.held(g.sshd.Restart)
	for _, w := range ways {
		g.reconnected(w)
	}
	if err := target.Echo(early, small); err != nil {
		t.Errorf("a client that came while the link was down: %v", err)
	}
}

func TestTunnelsComeBackWhenOnlyTheirConnectionDied(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ways := g.ways()
	g.sshd.KillSessions()
	for _, w := range ways {
		g.reconnected(w)
	}
}

// held does something to sshd while the server is stopped. Package sshd would
// take a client that comes while it starts for one that it made itself.
func (g *ground) held(do func()) {
	g.t.Helper()
	g.signal(syscall.SIGSTOP)
	do()
	g.signal(syscall.SIGCONT)
}

// reconnected waits until a way runs over another connection, and uses it.
func (g *ground) reconnected(w way) {
	g.t.Helper()
	row := g.becomes(w.path, w.name+" active again", patience, func(o object) bool {
		return o["state"] == "active" && o["connectionId"] != w.row["connectionId"]
	})
	g.has(row, object{"status": "active", "tunnelId": w.row["tunnelId"], "lastUsed": w.row["lastUsed"], "lastError": nil})
	if row["connectionId"] == nil {
		g.t.Errorf("%s: active without a connection: %v", w.name, row)
	}
	w.carries(g.t, small)
}

// An address of its own keeps the port that the system picks from the outgoing
// connections of other tests.
func (g *ground) anyPort() object {
	forward := g.local(g.target)
	forward["bindAddress"] = "127.7.7.7"
	return forward
}

func TestWhatWasWantedRunsAgainAfterACrash(t *testing.T) {
	t.Parallel()
	testRestore(t, func(a *adit) func() { return a.kill })
}

func TestWhatWasWantedRunsAgainAfterACleanRestart(t *testing.T) {
	t.Parallel()
	testRestore(t, func(a *adit) func() { return a.stop })
}

func testRestore(t *testing.T, end func(*adit) func()) {
	t.Helper()
	g := newGround(t)
	ways := g.ways()
	picked, stopped := g.create(g.anyPort()), g.create(g.anyPort())
	pickedRow := g.start(picked)
	g.start(stopped)
	stoppedRow := g.post(stopped+"/stop", nil).is(200)

	g.restarted(end(g.adit)) // and the token is still good
	deadline := time.Now().Add(restoreLimit)
	for _, w := range ways {
		row := g.reaches(w.path, "active", time.Until(deadline))
		g.has(row, object{"status": "active", "desired": "active", "lastUsed": w.row["lastUsed"], "updatedAt": w.row["updatedAt"]})
		if row["tunnelId"] == nil || row["tunnelId"] == w.row["tunnelId"] {
			t.Errorf("%s: tunnel %v, before %v", w.name, row["tunnelId"], w.row["tunnelId"])
		}
		w.carries(t, small)
	}
	if row := g.reaches(picked, "active", time.Until(deadline)); bound(row) != bound(pickedRow) {
		t.Errorf("listens at %s, before at %s", bound(row), bound(pickedRow))
	}
	g.has(g.get(stopped).is(200), object{
		"state": "inactive", "desired": "inactive", "tunnelId": nil, "connectionId": nil, "lastUsed": stoppedRow["lastUsed"],
	})
	// Its port is the last one too.
	if row := g.start(stopped); bound(row) == bound(pickedRow) {
		t.Errorf("two forwards at %s", bound(row))
	}
}

func TestARestoredForwardSaysReconnectingUntilItsServerAnswers(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ways := g.ways()
	g.sshd.Stop()
	g.restarted(g.kill)
	for _, w := range ways {
		row := g.reaches(w.path, "reconnecting", patience)
		g.has(row, object{"status": "inactive", "desired": "active", "connectionId": nil})
	}
	g.held(g.sshd.Restart)
	for _, w := range ways {
		g.reaches(w.path, "active", patience)
		w.carries(t, small)
	}
}
