package sshd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const pollInterval = 5 * time.Millisecond

// process is one run of sshd.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // why it exited; read it after exited is closed
}

// startProcess runs sshd in the foreground, its log appended to a file. A file
// and not a pipe, since the processes of connections hold it too: nobody then
// has to wait for them to learn that sshd itself is gone.
func startProcess(path, config, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	p := &process{cmd: exec.Command(path, "-D", "-e", "-f", config), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go p.run(started)
	return p, <-started
}

// run starts sshd and waits for its end, on one thread: Pdeathsig kills sshd
// when the thread that started it ends, and only then the process.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.exited)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// await returns nil when sshd at address has said its version. It asks again
// and again, since sshd gives no sign when it listens.
func (p *process) await(address string) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := greeted(address)
		if err == nil {
			return p.settle(deadline.C, tick.C)
		}
		select {
		case <-p.exited:
			return fmt.Errorf("sshd exited: %w", p.err)
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

// settle waits for the process that answered us in await to end, so that
// Sessions counts the connections of the test alone. It fails when sshd has
// exited: what answered then was another server at this port.
func (p *process) settle(deadline, tick <-chan time.Time) error {
	for {
		children, err := childrenOf(p.pid())
		if err != nil {
			return err
		}
		select {
		case <-p.exited:
			return fmt.Errorf("sshd exited: %w", p.err)
		default:
		}
		if len(children) == 0 {
			return nil
		}
		select {
		case <-deadline:
			return errors.New("sshd holds on to a closed connection")
		case <-tick:
		}
	}
}

// greeted reads the version line of the server at address.
func greeted(address string) error {
	conn, err := net.DialTimeout("tcp", address, startTimeout)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "SSH-2.0-OpenSSH") {
		return fmt.Errorf("%s is not sshd: %q", address, line)
	}
	return nil
}

// killAll kills sshd and all that it started, and returns when they are gone.
func (p *process) killAll() error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	// Stopped, it takes no more connections while we look for its children;
	// dead, it would leave them to be somebody else's.
	if err := signal(p.pid(), syscall.SIGSTOP); err != nil {
		return err
	}
	family, err := stopDescendants(p.pid())
	if err != nil {
		return err
	}
	for _, pid := range append(family, p.pid()) {
		if err := signal(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	<-p.exited
	return awaitGone(family)
}

// killSessions kills all that sshd started, and returns when they are gone.
func (p *process) killSessions() error {
	family, err := stopDescendants(p.pid())
	if err != nil {
		return err
	}
	for _, pid := range family {
		if err := signal(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return awaitGone(family)
}

// stopDescendants stops every process under pid, so that none starts another
// one meanwhile, and gives their ids.
func stopDescendants(pid int) ([]int, error) {
	children, err := childrenOf(pid)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, child := range children {
		if err := signal(child, syscall.SIGSTOP); err != nil {
			return nil, err
		}
		below, err := stopDescendants(child)
		if err != nil {
			return nil, err
		}
		all = append(append(all, child), below...)
	}
	return all, nil
}

// awaitGone waits until the processes hold nothing any more, their sockets above all.
func awaitGone(pids []int) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for _, pid := range pids {
		for alive(pid) {
			select {
			case <-deadline.C:
				return fmt.Errorf("process %d does not end", pid)
			case <-tick.C:
			}
		}
	}
	return nil
}

// signal sends a signal to a process that may be gone already.
func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to process %d: %w", sig, pid, err)
	}
	return nil
}

// childrenOf gives the processes that pid started and that have not ended.
func childrenOf(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, path := range stats {
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if parent, state := status(id); parent == pid && state != 'Z' {
			children = append(children, id)
		}
	}
	return children, nil
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	_, state := status(pid)
	return state != 0 && state != 'Z' && state != 'X'
}

// status gives a process's parent and state (proc(5)); zeros when it is gone.
func status(pid int) (parent int, state byte) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0
	}
	// The second field is the program's name in parentheses, and may hold any byte.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, 0
	}
	parent, err = strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, 0
	}
	return parent, fields[0][0]
}
