package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// ground is a server with an account, a real sshd that it has a key for (server
// "site", key "key"), and a target.
type ground struct {
	*adit
	sshd   *sshd.Server
	target string // host:port, see package target
}

func newGround(t testing.TB, flags ...string) *ground {
	t.Helper()
	g := &ground{sshd: sshd.Start(t), target: target.Start(t)}
	data := newDir(t)
	token := furnish(t, data)
	g.adit = serve(t, data, flags...)
	g.token = token
	g.addServer("site", g.sshd)
	return g
}

// furnished is a data directory in which an account was made, and its token. It
// is made once: hashing a password costs more than all else that most tests do.
var furnished struct {
	mu    sync.Mutex // guards below
	left  *leftover
	token string
}

// furnish makes a data directory that has an account, and gives its token.
func furnish(t testing.TB, data string) (token string) {
	t.Helper()
	furnished.mu.Lock()
	defer furnished.mu.Unlock()
	if furnished.left == nil {
		a := serve(t, newDir(t))
		a.register()
		furnished.token, furnished.left = a.token, a.leave()
	}
	furnished.left.copyTo(t, data)
	return furnished.token
}

// leftover is what a server left behind, to be taken over by others.
type leftover struct {
	data  string // where it was
	files map[string][]byte
}

// leave ends the server and keeps what it leaves behind.
func (a *adit) leave() *leftover {
	a.t.Helper()
	a.stop()
	l := &leftover{data: a.data, files: map[string][]byte{}}
	for _, name := range []string{keyFile, storeFile} {
		if name == keyFile || !postgres.Wanted() {
			l.files[name] = readFile(a.t, filepath.Join(a.data, name))
		}
	}
	return l
}

// copyTo makes a data directory with it.
func (l *leftover) copyTo(t testing.TB, data string) {
	t.Helper()
	postgres.CopyBeside(t, data, l.data)
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range l.files {
		writeFile(t, filepath.Join(data, name), text)
	}
}

// addServer adds an sshd, and its key as "key".
func (g *ground) addServer(name string, s *sshd.Server) {
	g.t.Helper()
	g.post("/keys", object{"localId": "key", "name": "key", "type": "ed25519", "privateKey": string(s.ClientKeyPEM)}).is(201)
	g.post("/servers", object{
		"localId": name, "name": name, "host": s.Host, "port": s.Port, "username": s.User, "authType": "key", "keyId": "key",
	}).is(201)
}

// restarted is the ground after its server was ended with how and started again.
func (g *ground) restarted(how func(), flags ...string) {
	g.t.Helper()
	g.adit = g.again(how, flags...)
}

// local is a forward to an address behind the site.
func (g *ground) local(address string) object {
	host, port := split(g.t, address)
	return object{"name": "local " + address, "type": "local", "remoteHost": host, "remotePort": port, "serverId": "site"}
}

// remote is a forward from the site to an address here.
func (g *ground) remote(address string) object {
	host, port := split(g.t, address)
	return object{
		"name": "remote " + address, "type": "remote", "localHost": host, "localPort": port,
		"remotePort": sshd.FreePort(g.t), "serverId": "site",
	}
}

// dynamic is a SOCKS proxy into the site.
func (g *ground) dynamic() object {
	return object{"name": "dynamic", "type": "dynamic", "bindPort": sshd.FreePort(g.t), "serverId": "site"}
}

// way is a forward that runs, and how one gets to the target through it.
type way struct {
	name string
	path string
	row  object // as the start answered
	dial func() (net.Conn, error)
}

// ways starts a forward of each type that leads to the target.
func (g *ground) ways() []way {
	g.t.Helper()
	local := g.local(g.target)
	local["localPort"] = sshd.FreePort(g.t)
	var all []way
	for _, forward := range []object{local, g.remote(g.target), g.dynamic()} {
		path := g.create(forward)
		w := way{name: forward["type"].(string), path: path, row: g.start(path)}
		address := bound(w.row)
		w.dial = dialer(address)
		if w.name == "dynamic" {
			w.dial = func() (net.Conn, error) { return dialSOCKS(address, g.target) }
		}
		all = append(all, w)
	}
	return all
}

func dialer(address string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.DialTimeout("tcp", address, patience) }
}

// open dials; the connection ends with the test.
func (w *way) open(t testing.TB) net.Conn {
	t.Helper()
	c, err := w.dial()
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// carries sends and gets n bytes through a new connection.
func (w *way) carries(t testing.TB, n int64) {
	t.Helper()
	c := w.open(t)
	if err := errors.Join(target.Echo(c, n), c.Close()); err != nil {
		t.Errorf("%s: %v", w.name, err)
	}
}

// dialSOCKS connects through a SOCKS5 proxy without authentication (RFC 1928).
func dialSOCKS(proxy, address string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	c, err := net.DialTimeout("tcp", proxy, patience)
	if err != nil {
		return nil, err
	}
	ask := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	ask = append(ask, byte(port>>8), byte(port))
	want := []byte{5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	got := make([]byte, len(want))
	if _, err = c.Write(ask); err == nil {
		_, err = io.ReadFull(c, got)
	}
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("SOCKS answer % x", got)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func split(t testing.TB, address string) (host string, port int) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		t.Fatal(err)
	}
	return host, port
}

// closed demands that nothing listens at address.
func closed(t testing.TB, address string) {
	t.Helper()
	if c, err := net.DialTimeout("tcp", address, patience); err == nil {
		_ = c.Close()
		t.Errorf("%s still listens", address)
	}
}
