package test

import (
	"net"
	"strconv"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestAPatchMovesARunningForward(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	for _, w := range g.ways()[:2] { // local and remote
		key := map[string]string{"local": "localPort", "remote": "remotePort"}[w.name]
		c := w.open(t)
		if err := target.Echo(c, 1); err != nil {
			t.Fatal(err)
		}
		row := g.call("PATCH", w.path, object{"name": "renamed"}).is(200)
		g.has(row, object{"name": "renamed", "tunnelId": w.row["tunnelId"], "connectionId": w.row["connectionId"]})
		if err := target.EchoMore(c, small); err != nil {
			t.Errorf("%s: a new name cuts: %v", w.name, err)
		}

		port := sshd.FreePort(t)
		row = g.call("PATCH", w.path, object{key: port}).is(200)
		g.has(row, object{"status": "active", "state": "active", "lastError": nil})
		if row["tunnelId"] == w.row["tunnelId"] || portOf(t, bound(row)) != port {
			t.Errorf("%s: %v", w.name, row)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: a connection outlives the move", w.name)
		}
		closed(t, bound(w.row))
		moved := way{name: w.name, dial: dialer(bound(row))}
		moved.carries(t, small)
	}
}

func TestAPatchThatCannotRunLeavesTheForwardAsItWas(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	taken := portOf(t, listen(t, func(net.Conn) {}))
	for _, w := range g.ways() {
		change := map[string]object{
			"local":   {"localPort": taken},
			"remote":  {"remotePort": taken, "bindAddress": "127.0.0.1"},
			"dynamic": {"bindPort": taken},
		}[w.name]
		code := map[bool]string{true: "remote_listen_refused", false: "listen_in_use"}[w.name == "remote"]
		says(t, g.call("PATCH", w.path, change).fails(409, code), strconv.Itoa(taken))
		row := g.get(w.path).is(200)
		for _, key := range []string{"status", "state", "localPort", "remotePort", "bindPort", "bindAddress", "updatedAt"} {
			g.has(row, object{key: w.row[key]})
		}
		w.carries(t, small)
	}
}

func TestADeletionWaitsForOpenConnectionsUnlessForced(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	for _, w := range g.ways() {
		c := w.open(t)
		if err := target.Echo(c, 1); err != nil {
			t.Fatal(err)
		}
		g.call("DELETE", w.path, nil).fails(409, "conflict")
		if err := target.EchoMore(c, small); err != nil {
			t.Errorf("%s: a refused deletion cuts: %v", w.name, err)
		}
		g.call("DELETE", w.path+"?force=true", nil).is(200)
		g.get(w.path).fails(404, "not_found")
		closed(t, bound(w.row))
	}
	unused(t, g.sshd)
}
