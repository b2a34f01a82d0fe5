package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
)

// answerLimit is within which a start answers, whatever it meets.
const answerLimit = 8 * time.Second

// failure is a forward that cannot start, and what its start answers.
type failure struct {
	status  int
	code    string
	says    string // what the message names
	forward object
}

// failsAll starts all the forwards at once, since some take their time, and
// looks at what becomes of them.
func (g *ground) failsAll(failures map[string]failure) {
	g.t.Helper()
	paths, answers, errs := map[string]string{}, map[string]answer{}, map[string]error{}
	for name, f := range failures {
		f.forward["name"] = name
		paths[name] = g.create(f.forward)
	}
	var mu sync.Mutex
	var starts sync.WaitGroup
	for name, path := range paths {
		starts.Go(func() {
			a, err := g.send("POST", path+"/start", nil)
			mu.Lock()
			defer mu.Unlock()
			answers[name], errs[name] = a, err
		})
	}
	starts.Wait()
	for name, f := range failures {
		if errs[name] != nil {
			g.t.Errorf("%s: %v", name, errs[name])
			continue
		}
		g.failed(name, f, answers[name], g.get(paths[name]).is(200))
	}
}

// failed looks at the answer of one start and at the row after it.
func (g *ground) failed(name string, f failure, a answer, row object) {
	g.t.Helper()
	if a.status != f.status || !strings.Contains(a.raw, `"code":"`+f.code+`"`) {
		g.t.Errorf("%s: %d %s", name, a.status, a.raw)
		return
	}
	message := a.fails(f.status, f.code)
	if !strings.Contains(message, f.says) {
		g.t.Errorf("%s: %q does not hold %q", name, message, f.says)
	}
	if hint, _ := decode[object](a)["hint"].(string); hint == "" {
		g.t.Errorf("%s: no hint what to do: %s", name, a.raw)
	}
	if a.took > answerLimit {
		g.t.Errorf("%s: answered after %v", name, a.took)
	}
	g.has(row, object{"status": "inactive", "state": "inactive", "desired": "inactive", "tunnelId": nil, "connectionId": nil, "lastUsed": nil})
	last, _ := row["lastError"].(object)
	if last["code"] != f.code || last["message"] != message || last["at"] == nil {
		g.t.Errorf("%s: lastError %v after %q", name, last, message)
	}
}

func TestAStartThatCannotSucceedSaysWhyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	g := newGround(t, "--allow-bind", "127.0.0.1", "--allow-bind", "203.0.113.7")
	taken := listen(t, func(net.Conn) {})
	_, takenPort := split(t, taken)
	own := g.create(g.local(g.target))
	ownPort := bound(g.start(own))
	control := strings.TrimPrefix(g.url, "http://")
	before := listeners(t, g.cmd.Process.Pid)

	g.failsAll(map[string]failure{
		"taken port":           {409, "listen_in_use", taken, g.with(object{"localPort": takenPort})},
		"port of a forward":    {409, "listen_in_use", `forward "local `, g.with(object{"localPort": portOf(t, ownPort)})},
		"port of adit":         {409, "listen_in_use", "control API", g.with(object{"localPort": portOf(t, control)})},
		"foreign address":      {409, "listen_denied", "203.0.113.7", g.with(object{"bindAddress": "203.0.113.7"})},
		"outside allow-bind":   {409, "listen_denied", "127.0.0.2", g.with(object{"bindAddress": "127.0.0.2"})},
		"everywhere":           {409, "listen_denied", "0.0.0.0", g.with(object{"bindAddress": "0.0.0.0"})},
		"no target":            {400, "target_missing", "no target", g.with(object{"remotePort": nil})},
		"no server":            {400, "server_missing", "no server", g.with(object{"serverId": nil})},
		"no port":              {400, "port_missing", "no port", with(g.remote(g.target), object{"remotePort": nil})},
		"taken on the server":  {409, "remote_listen_refused", strconv.Itoa(takenPort), with(g.remote(g.target), object{"bindAddress": "127.0.0.1", "remotePort": takenPort})},
		"metadata":             {409, "target_denied", "169.254.169.254", with(g.remote(g.target), object{"localHost": "169.254.169.254"})},
		"adit itself":          {409, "target_denied", control, g.remote(control)},
		"metadata, from there": {409, "target_denied", "169.254.169.254", g.with(object{"remoteHost": "169.254.169.254"})},
	})
	g.leavesOnly(before)
}

func TestAServerThatCannotBeUsedIsToldWithin8Seconds(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	locked := sshd.Start(t, sshd.WithConfig("PasswordAuthentication yes"))
	g.post("/keys", object{"localId": "stray", "name": "stray", "type": "ed25519", "privateKey": string(sshd.Start(t).ClientKeyPEM)}).is(201)
	g.post("/servers", object{
		"localId": "stray", "name": "stray", "host": g.sshd.Host, "port": g.sshd.Port, "username": g.sshd.User, "authType": "key", "keyId": "stray",
	}).is(201)
	silent := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	web := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	halted := listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "SSH-2.0-halted\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	nobody := "127.0.0.1:" + strconv.Itoa(sshd.FreePort(t))
	unreachable := blackHole(t)
	before := listeners(t, g.cmd.Process.Pid)

	g.failsAll(map[string]failure{
		"nobody listens":    {502, "connect_refused", nobody, g.at(nobody)},
		"unreachable":       {504, "timeout", unreachable, g.at(unreachable)},
		"accepts, silent":   {504, "timeout", silent, g.at(silent)},
		"halts after hello": {504, "timeout", halted, g.at(halted)},
		"not SSH":           {502, "not_ssh", web, g.at(web)},
		"wrong password":    {502, "auth_failed", locked.User, g.at(locked.Addr)},
		"no such user":      {502, "auth_failed", "nobody-by-that-name", with(g.at(locked.Addr), object{"username": "nobody-by-that-name"})},
		"wrong key":         {502, "auth_failed", g.sshd.User, g.with(object{"serverId": "stray"})},
	})
	g.leavesOnly(before)
	unused(t, g.sshd)
	unused(t, locked)
}

// with is a local forward to the target with some values changed.
func (g *ground) with(changes object) object { return with(g.local(g.target), changes) }

// at is a local forward by an SSH server at address, with a password.
func (g *ground) at(address string) object {
	return g.with(object{
		"serverId": nil, "serverAddress": address, "username": g.sshd.User, "authType": "password", "password": "wrong-password",
	})
}

func with(o, changes object) object {
	for key, value := range changes {
		o[key] = value
	}
	return o
}

func portOf(t testing.TB, address string) int {
	t.Helper()
	_, port := split(t, address)
	return port
}

// leavesOnly demands that the server listens where it did before and nowhere else.
func (g *ground) leavesOnly(before []string) {
	g.t.Helper()
	if after := listeners(g.t, g.cmd.Process.Pid); !slices.Equal(after, before) {
		g.t.Errorf("listens at %v, before at %v", after, before)
	}
}

// unused waits until sshd has noticed that nobody is connected any more.
func unused(t testing.TB, s *sshd.Server) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); s.Sessions() > 0; <-tick.C {
		if time.Now().After(end) {
			t.Errorf("%d SSH connections are left", s.Sessions())
			return
		}
	}
}

// listen serves every connection with handle until the test ends, and gives the address.
func listen(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		work.Wait()
	})
	return ln.Addr().String()
}

// blackHole gives an address that never answers: a listener whose queue is full
// drops what asks for a connection.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	err = errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0))
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 16 {
		c, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue does not become full")
	return ""
}

// listeners gives the sockets that a process listens on, as the kernel shows
// them (proc(5)), sorted.
func listeners(t testing.TB, pid int) []string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if link, err := os.Readlink(dir + "fd/" + fd.Name()); err == nil {
			own[link] = true
		}
	}
	var found []string
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		text, err := os.Open(dir + table)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(text)
		for lines.Scan() {
			const local, state, inode, listening = 1, 3, 9, "0A"
			f := strings.Fields(lines.Text())
			if len(f) > inode && f[state] == listening && own["socket:["+f[inode]+"]"] {
				found = append(found, f[local])
			}
		}
		_ = text.Close()
	}
	slices.Sort(found)
	if len(found) == 0 {
		t.Error("it listens nowhere")
	}
	return found
}
