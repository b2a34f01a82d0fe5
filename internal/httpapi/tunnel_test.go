package httpapi_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/store/storetest"
)

const sshPassword = "ssh-passw0rd-of-mole"

// ground is a fixture with an SSH server to tunnel through, and an echo server
// to reach.
type ground struct {
	*fixture
	faults *sshserver.Faults
	ssh    *sshserver.Server
	host   ssh.Signer // the host key
	addr   string     // of the SSH server
	echo   string     // of the echo server
	server string     // id of the server row
}

func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{fixture: signedUp(t), faults: new(sshserver.Faults)}
	g.hide(sshPassword)
	g.host = hostKey(t)
	var err error
	g.ssh, err = sshserver.New(sshserver.Config{
		HostKeys: []ssh.Signer{g.host}, User: "mole", Password: redact.New(sshPassword), Faults: g.faults,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.addr = serve(t, g.ssh.Serve)
	g.echo = serve(t, serveEcho)
	_, port, _ := net.SplitHostPort(g.addr)
	g.server = g.post("/servers", fmt.Sprintf(
		`{"localId":"mole","name":"mole","host":"127.0.0.1","port":%s,"username":"mole","authType":"password","password":%q}`, port, sshPassword,
	)).is(201)["id"].(string)
	return g
}

func hostKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := sshserver.GenerateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// serve runs a server on a free port until the test ends, and gives its address.
func serve(t *testing.T, run func(context.Context, net.Listener) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = run(ctx, ln) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return ln.Addr().String()
}

func serveEcho(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer context.AfterFunc(ctx, func() { c.Close() })()
			defer c.Close()
			_, _ = io.Copy(c, c)
		})
	}
}

// portOf is the port of an address, as JSON has it.
func portOf(address string) float64 {
	var port float64
	_, text, _ := net.SplitHostPort(address)
	_, _ = fmt.Sscan(text, &port)
	return port
}

// forward adds a local forward to the echo server with some values changed,
// and gives its path.
func (g *ground) forward(changes object) string {
	g.t.Helper()
	in := with(object{"name": "echo", "type": "local", "remotePort": portOf(g.echo), "serverId": "mole"}, changes)
	return "/port-forwards/" + g.post("/port-forwards", in).is(201)["id"].(string)
}

// started starts a forward and gives the answer.
func (g *ground) started(path string) object {
	g.t.Helper()
	got := g.post(path+"/start", nil).is(200)
	if got["status"] != "active" || got["state"] != "active" || got["desired"] != "active" || got["tunnelId"] == nil || got["connectionId"] == nil || got["lastError"] != nil {
		g.t.Fatalf("started: %v", got)
	}
	instant(g.t, got["lastUsed"])
	return got
}

// bound is where a forward listens here.
func bound(row object) string {
	e := row["effective"].(object)
	host, _, _ := net.SplitHostPort(e["listen"].(string))
	return net.JoinHostPort(host, fmt.Sprint(e["boundPort"]))
}

// dial connects to address; the connection ends with the test.
func (g *ground) dial(address string) net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// echoes sends a text through and demands it back.
func (g *ground) echoes(c net.Conn, text string) {
	g.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		g.t.Fatal(err)
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(c, back); err != nil || string(back) != text {
		g.t.Fatalf("%q came back, %v", back, err)
	}
}

// refuses demands that nothing listens at address any more.
func refuses(t *testing.T, address string) {
	t.Helper()
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Errorf("%s still listens", address)
	}
}

// becomes asks for the row until ok holds for it: what happens in the
// background can be seen no other way.
func (g *ground) becomes(path, what string, ok func(object) bool) object {
	g.t.Helper()
	limit := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		row := g.get(path).is(200)
		if ok(row) {
			return row
		}
		select {
		case <-tick.C:
		case <-limit:
			g.t.Fatalf("never %s: %v", what, row)
		}
	}
}

func state(want string) (string, func(object) bool) {
	return want, func(row object) bool { return row["state"] == want }
}

// execute runs SQL on the database behind the program's back.
func (f *fixture) execute(statement string) {
	f.t.Helper()
	driver, name := "sqlite", f.path+"?_pragma=busy_timeout(5000)"
	if url := storetest.URL(f.t, f.path); !url.IsZero() {
		driver, name = "pgx", url.Reveal()
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(f.t.Context(), statement); err != nil {
		f.t.Fatal(err)
	}
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) float64 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return portOf(ln.Addr().String())
}

func failureCode(row object) string {
	failure, _ := row["lastError"].(object)
	code, _ := failure["code"].(string)
	return code
}

func contains(messages []string, part string) bool {
	return strings.Contains(strings.Join(messages, "\n"), part)
}
