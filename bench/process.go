package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// readyTimeout bounds how long a process may take until it can be used.
	readyTimeout = 20 * time.Second
	// stopTimeout is how long one may take to end by itself.
	stopTimeout = 5 * time.Second
	// pollInterval is for what gives no sign when it is ready.
	pollInterval = 10 * time.Millisecond
)

// process is a program that runs until it is stopped.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string        // where its standard error goes
	line   chan string   // the first line of its standard output
	exited chan struct{} // closed when it is gone
	err    error         // why it exited; read it after exited is closed
}

// start runs a program whose log is kept in dir. Only the main goroutine may
// call it (see attributes).
func start(dir, name, path string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), line: make(chan string, 1), exited: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = environment()
	p.cmd.Stdout, p.cmd.Stderr = &firstLine{to: p.line}, log
	p.cmd.SysProcAttr = attributes()
	p.cmd.WaitDelay = stopTimeout
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.wait()
	return p, nil
}

func (p *process) wait() {
	p.err = p.cmd.Wait()
	close(p.exited)
}

// environment is ours without the settings of another adit, whose relay reads
// linksocks's variables too.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ADIT_") && !strings.HasPrefix(v, "LINKSOCKS_") {
			env = append(env, v)
		}
	}
	return env
}

// firstLine is a writer that hands on the first line and drops the rest.
type firstLine struct {
	to  chan<- string // nil once it has it
	buf bytes.Buffer
}

func (f *firstLine) Write(p []byte) (int, error) {
	if f.to == nil {
		return len(p), nil
	}
	f.buf.Write(p)
	if line, _, ok := bytes.Cut(f.buf.Bytes(), []byte("\n")); ok {
		f.to <- string(line)
		f.to = nil
	}
	return len(p), nil
}

// ready waits for the line that a program prints when it serves, and returns
// what follows prefix in it.
func (p *process) ready(ctx context.Context, prefix string) (string, error) {
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case line := <-p.line:
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest, nil
		}
		return "", fmt.Errorf("%s says %q, not that it is ready", p.name, line)
	case <-p.exited:
		return "", p.failure()
	case <-timeout.C:
		return "", fmt.Errorf("%s is not ready after %v%s", p.name, readyTimeout, p.said())
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// poll asks again and again until the answer is no error.
func (p *process) poll(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w%s", p.name, err, p.said())
		case <-tick.C:
		}
	}
}

// alive returns an error when the process has ended.
func (p *process) alive() error {
	select {
	case <-p.exited:
		return p.failure()
	default:
		return nil
	}
}

func (p *process) failure() error {
	cause := p.err
	if cause == nil {
		cause = errors.New("exit status 0")
	}
	return fmt.Errorf("%s ended: %w%s", p.name, cause, p.said())
}

// said is the end of the process's log, for an error.
func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return ""
	}
	return "; its log ends in:\n" + string(bytes.TrimSpace(text[max(0, len(text)-2000):]))
}

func (p *process) pid() string { return strconv.Itoa(p.cmd.Process.Pid) }

// stop ends the process and all that it started, and returns when it is gone.
func (p *process) stop() {
	if p.alive() != nil {
		return // and its id may be another's by now
	}
	// They would outlive it: sshd's connections are processes of their own.
	for _, pid := range descendants(p.cmd.Process.Pid) {
		if child, err := os.FindProcess(pid); err == nil {
			_ = child.Kill()
		}
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.exited:
	case <-timeout.C:
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// descendants are the processes under pid; none where there is no /proc.
func descendants(pid int) []int {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, path := range stats {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent := parentOf(path)
		children[parent] = append(children[parent], child)
	}
	var all []int
	for next := children[pid]; len(next) > 0; next = next[1:] {
		all = append(all, next[0])
		next = append(next, children[next[0]]...)
	}
	return all
}

// parentOf reads a stat file of proc(5); 0 when the process is gone.
func parentOf(stat string) int {
	text, err := os.ReadFile(stat)
	if err != nil {
		return 0
	}
	// The second field is the program's name in parentheses, and may hold any byte.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	return parent
}
