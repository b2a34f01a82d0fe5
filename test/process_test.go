package test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

// patience bounds every wait for what has no bound of its own.
const patience = 20 * time.Second

// process is a run of the program.
type process struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr *record
	exited         chan struct{}
	at             func(start func() error) error // where it is started
	judged         bool
}

// launch runs the program with these arguments. What still runs when the test
// ends is told to stop, and must, with 0.
func launch(t testing.TB, args ...string) *process {
	t.Helper()
	return launchCommand(t, exec.Command(program, args...))
}

func launchCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	return launchAt(t, func(start func() error) error { return start() }, cmd)
}

// launchAt is launchCommand, at the end of a wire for one.
func launchAt(t testing.TB, at func(start func() error) error, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, at: at, stdout: newRecord(), stderr: newRecord(), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.Env = append(append(cmd.Env, environment(t)...), databaseOf(t, cmd.Args)...)
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		t.Fatalf("start %v: %v", cmd.Args, err)
	}
	t.Cleanup(p.finish)
	return p
}

// environment has nothing of the caller's that programs would obey, proxies and
// ADIT_ variables for two. The race detector would have every exit wait 1 s.
func environment(t testing.TB) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "GORACE=atexit_sleep_ms=0",
	}
}

// databaseOf names the PostgreSQL database of an `adit serve`, when the tests are
// to run on one: each data directory has its own.
func databaseOf(t testing.TB, args []string) []string {
	t.Helper()
	at := slices.Index(args, "--data")
	if !postgres.Wanted() || at < 0 || slices.Contains(args, "relay") {
		return nil
	}
	return []string{"ADIT_DATABASE=" + postgres.Beside(t, args[at+1])}
}

// run starts the process and waits for its end, on one thread: Pdeathsig kills
// the process when the thread that started it ends.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.at(p.cmd.Start)
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // ProcessState has what there is to know
		close(p.exited)
	}
}

// await waits until what was written matches, and gives the match.
func (p *process) await(r *record, pattern *regexp.Regexp) []string {
	p.t.Helper()
	limit, ended := time.After(patience), false
	for {
		text, changed := r.now()
		if match := pattern.FindStringSubmatch(text); match != nil {
			return match
		}
		if ended {
			p.t.Fatalf("%v ended: %s", p.cmd.Args, p.stderr)
		}
		select {
		case <-changed:
		case <-p.exited:
			ended = true // and all that it wrote is there
		case <-limit:
			p.t.Fatalf("%v does not say %v: %q, %q", p.cmd.Args, pattern, p.stdout, p.stderr)
		}
	}
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%v: %v", sig, err)
	}
}

// exits waits for the end and demands the exit code.
func (p *process) exits(code int) {
	p.t.Helper()
	if !p.gone(patience) {
		p.t.Fatalf("%v does not end", p.cmd.Args)
	}
	p.judge()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("%v: exit code %d instead of %d; standard error:\n%s", p.cmd.Args, got, code, p.stderr)
	}
}

// stop ends the process as an operator does.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.exits(0)
}

// kill ends the process as a crash does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.exits(-1)
}

func (p *process) gone(limit time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(limit):
		return false
	}
}

func (p *process) finish() {
	select {
	case <-p.exited:
		p.judge()
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if !p.gone(patience) {
			_ = p.cmd.Process.Kill()
			<-p.exited
			p.t.Errorf("%v ignores SIGTERM", p.cmd.Args)
			break
		}
		p.exits(0)
	}
	if p.t.Failed() {
		p.t.Logf("standard error of %v:\n%s", p.cmd.Args, p.stderr)
	}
}

// judge looks for what no run may leave behind.
func (p *process) judge() {
	p.t.Helper()
	if p.judged {
		return
	}
	p.judged = true
	for _, sign := range []string{"DATA RACE", "panic:", "fatal error:", "panicked", postgres.Password} {
		if strings.Contains(p.stderr.String(), sign) {
			p.t.Errorf("%s in standard error:\n%s", sign, p.stderr)
		}
	}
}

// record keeps what is written and wakes those who wait for it.
type record struct {
	mu      sync.Mutex // guards below
	text    bytes.Buffer
	changed chan struct{} // closed at the next write
}

func newRecord() *record { return &record{changed: make(chan struct{})} }

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
	return r.text.Write(b)
}

func (r *record) String() string {
	text, _ := r.now()
	return text
}

func (r *record) now() (string, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String(), r.changed
}
