package test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestServeSaysWhereItListensAndEndsWithZero(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		a := serve(t, newDir(t))
		a.has(a.get("/health").is(200), object{"status": "ok"})
		if !strings.HasPrefix(a.url, "http://127.0.0.1:") {
			t.Errorf("listens at %s", a.url)
		}
		a.signal(sig)
		a.exits(0)
	}
}

// stream is an open connection through a local forward.
type stream struct {
	net.Conn
	door string // where the forward listens
}

// opened gives a stream that has carried bytes.
func (g *ground) opened() stream {
	g.t.Helper()
	address := bound(g.start(g.create(g.local(g.target))))
	c, err := net.Dial("tcp", address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	if err := target.Echo(c, small); err != nil {
		g.t.Fatal(err)
	}
	return stream{c, address}
}

// terminated sends SIGTERM and waits until the stream's door is shut.
func (g *ground) terminated(s stream) {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		c, err := net.DialTimeout("tcp", s.door, patience)
		if err != nil {
			return
		}
		_ = c.Close()
		if time.Now().After(end) {
			g.t.Fatal("the forward still listens after SIGTERM")
		}
	}
}

func TestAnOpenStreamMayFinishWhileTheServerDrains(t *testing.T) {
	t.Parallel()
	g := newGround(t, "--drain", "1m")
	s := g.opened()
	g.terminated(s)
	if err := target.EchoMore(s, small); err != nil {
		t.Errorf("while draining: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	g.exits(0) // long before the minute is over
}

func TestTheDrainEndsAndCutsWhatIsStillOpen(t *testing.T) {
	t.Parallel()
	const drain = time.Second
	g := newGround(t, "--drain", drain.String())
	s := g.opened()
	began := time.Now()
	g.terminated(s)
	g.exits(0)
	if took := time.Since(began); took < drain {
		t.Errorf("cut after %v", took)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("a stream that was cut ends with %v", err)
	}
}

func TestASecondSignalEndsAtOnceWith130(t *testing.T) {
	t.Parallel()
	g := newGround(t, "--drain", "1m")
	g.terminated(g.opened())
	g.signal(syscall.SIGINT)
	g.exits(130)
}

// Right after the first, the same signal again may be its echo, so it is sent
// more often.
func TestTheSameSignalAgainEndsWith130(t *testing.T) {
	t.Parallel()
	g := newGround(t, "--drain", "1m")
	g.terminated(g.opened())
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for over := false; !over; {
		select {
		case <-tick.C:
			_ = g.cmd.Process.Signal(syscall.SIGTERM) // unless it is gone
		case <-g.exited:
			over = true
		case <-limit:
			t.Fatal("it goes on")
		}
	}
	g.exits(130)
}

// complains runs the program to its end, which must be soon, and gives what it
// said on standard error. Standard output must be empty.
func complains(t *testing.T, code int, args ...string) string {
	t.Helper()
	p := launch(t, args...)
	p.exits(code)
	if p.stdout.String() != "" {
		t.Errorf("%v: standard output %q", args, p.stdout)
	}
	return p.stderr.String()
}

// says demands a sentence that holds all these parts.
func says(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not hold %q", text, part)
		}
	}
}

func TestWrongUsageEndsWith2(t *testing.T) {
	t.Parallel()
	says(t, complains(t, 2, "serve", "--no-such-flag"), "adit: unknown flag: --no-such-flag")
	says(t, complains(t, 2, "serve", "--data", newDir(t), "--listen", "nowhere"), "--listen", "nowhere")
	says(t, complains(t, 2, "dig"), `unknown command "dig"`)
	says(t, complains(t, 2), "Commands:")
}

func TestASecondServerOnADataDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	a := serve(t, newDir(t))
	a.register()
	says(t, complains(t, 1, serveArgs(a.data)...), "adit: another adit serves this data directory", a.data)
	a.get("/auth/validate").is(200)
	a.again(a.stop).get("/auth/validate").is(200)
}

func TestATakenPortIsToldAndEndsWith1(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	address := ln.Addr().String()
	says(t, complains(t, 1, serveArgs(newDir(t), "--listen", address)...), "listen "+address+": address already in use")
}

// The ports may be taken on the machine of the test: then the refusal tells.
func TestWithoutFlagsItListensOnLoopback3000And8765(t *testing.T) {
	t.Parallel()
	const address, relay = "127.0.0.1:3000", "127.0.0.1:8765"
	p := launch(t, "serve", "--data", newDir(t))
	limit := time.After(patience)
	for {
		text, changed := p.stdout.now()
		if strings.Contains(text, "\n") {
			says(t, text, "adit ready control=http://"+address+" relay=ws://"+relay+"\n")
			p.stop()
			return
		}
		select {
		case <-changed:
		case <-p.exited:
			says(t, p.stderr.String(), "listen 127.0.0.1:", ": address already in use")
			p.exits(1)
			return
		case <-limit:
			t.Fatal("neither ready nor refused")
		}
	}
}

func TestTheDataDirectoryIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	data := newDir(t)
	shell := exec.Command("sh", append([]string{"-c", `umask 0; exec "$0" "$@"`, program}, serveArgs(data, "--listen", "0.0.0.0:0")...)...)
	a := serveCommand(t, data, shell)
	files := 0
	err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a temporary file of SQLite's
		}
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o", entry.Name(), got)
		}
		return nil
	})
	if err != nil || files < 3 {
		t.Errorf("%d files, %v", files, err)
	}
	a.stop()
}

var setupCode = regexp.MustCompile(`setupCode: (\S+)`)

func TestBeyondLoopbackTheFirstAccountNeedsTheSetupCode(t *testing.T) {
	t.Parallel()
	a := serve(t, newDir(t), "--listen", "0.0.0.0:0")
	a.useLoopback()
	code := a.await(a.stderr, setupCode)[1]
	ada := object{"email": email, "username": "ada", "password": password}
	a.post("/auth/register", ada).fails(403, "forbidden")
	ada["setupCode"] = "a guess"
	a.post("/auth/register", ada).fails(403, "forbidden")

	first := a
	a = a.again(a.stop, "--listen", "0.0.0.0:0")
	a.useLoopback()
	if strings.Count(first.stderr.String(), code) != 1 {
		t.Errorf("told more than once: %s", first.stderr)
	}
	ada["setupCode"] = code
	a.post("/auth/register", ada).is(201)
	a.stop()
	if strings.Contains(a.answers()+a.stderr.String(), code) {
		t.Errorf("told again, in an answer or here: %s", a.stderr)
	}
}

// useLoopback calls a server that listens on every address at 127.0.0.1.
func (a *adit) useLoopback() {
	a.t.Helper()
	u, err := url.Parse(a.url)
	if err != nil {
		a.t.Fatal(err)
	}
	if ip := net.ParseIP(u.Hostname()); !ip.IsUnspecified() {
		a.t.Fatalf("listens at %s", a.url)
	}
	a.url = "http://127.0.0.1:" + u.Port()
}

func TestTheSetupCodeIsKeptForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	a := serve(t, newDir(t), "--listen", "0.0.0.0:0")
	code := a.await(a.stderr, setupCode)[1]
	found := false
	files, err := filepath.Glob(filepath.Join(a.data, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), code) {
			continue
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		found = true
	}
	if !found {
		t.Error("the setup code is in no file of the data directory")
	}
}
