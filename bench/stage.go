package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// stage is all that runs: an sshd, a target, and three ways to it.
type stage struct {
	dir    string
	tools  tools
	cipher string // what ssh is told to use; empty: its default

	sshd    *sshServer
	target  string // host:port
	running []*process
	forward aditForward

	adit, ssh *route
	hops      *route // two plain TCP hops: what any tunnel of two processes could at best do
}

func (s *stage) routes() []*route { return []*route{s.adit, s.ssh, s.hops} }

// route is one way to the target.
type route struct {
	name    string
	process *process // the one whose memory and CPU time count; nil for the hops
	listen  string   // host:port
	launch  func(context.Context) (*process, string, error)
}

// open starts everything; close must follow, whatever it returns.
func (s *stage) open(ctx context.Context) error {
	var err error
	if s.sshd, err = startSSHD(ctx, s.dir, s.tools.sshd); s.sshd != nil && s.sshd.process != nil {
		s.running = append(s.running, s.sshd.process)
	}
	if err != nil {
		return err
	}
	if s.target, err = s.startLoad(ctx, "target", "target"); err != nil {
		return err
	}
	// First of all the logins, so that one which cannot work says why.
	agreed, err := s.agreedCipher(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("ssh and sshd agree on %s.\n\n", agreed)
	s.adit = &route{name: "adit", launch: s.startAdit}
	s.ssh = &route{name: "ssh -L", launch: s.startSSH}
	s.hops = &route{name: "2 hops", launch: s.startHops}
	for _, r := range s.routes() {
		if err := s.restart(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// restart starts a route's process, after it has stopped the one that was there.
func (s *stage) restart(ctx context.Context, r *route) error {
	if r.process != nil {
		r.process.stop()
	}
	p, listen, err := r.launch(ctx)
	if p != nil {
		s.running = append(s.running, p)
	}
	r.process, r.listen = p, listen
	return err
}

// close stops everything, the last first: sshd ends when nobody uses it.
func (s *stage) close() {
	for i := range s.running {
		s.running[len(s.running)-1-i].stop()
	}
}

// startLoad runs a tunload that listens and returns its address.
func (s *stage) startLoad(ctx context.Context, name string, args ...string) (string, error) {
	p, err := start(s.dir, name, s.tools.tunload, append(args, "-listen", "127.0.0.1:0")...)
	if err != nil {
		return "", err
	}
	s.running = append(s.running, p)
	return p.ready(ctx, "tunload ready ")
}

// startHops runs two plain hops to the target.
func (s *stage) startHops(ctx context.Context) (*process, string, error) {
	near, err := s.startLoad(ctx, "hop1", "hop", "-to", s.target)
	if err != nil {
		return nil, "", err
	}
	far, err := s.startLoad(ctx, "hop2", "hop", "-to", near)
	return nil, far, err
}

// figures are what tunload prints of a run, as far as it is used here.
type figures struct {
	MBps       float64 `json:"mb_per_s"`
	PerSecond  float64 `json:"per_s"`
	KBPerConn  float64 `json:"kb_per_conn"`
	CPUSeconds float64 `json:"cpu_s"`
	Errors     int     `json:"errors"`
	FirstErr   string  `json:"first_error"`
	Corrupt    int     `json:"corrupt"`
}

const (
	// loadTimeout bounds one run of the load, which takes a second or a few.
	loadTimeout = 60 * time.Second
	// graceTime is for tunload to say that its time is up.
	graceTime = 5 * time.Second
)

// load runs one test over a route. Anything but a perfect run is an error.
func (s *stage) load(ctx context.Context, r *route, args ...string) (figures, error) {
	args = append([]string{"run", "-via", "tcp://" + r.listen, "-timeout", loadTimeout.String()}, args...)
	if r.process != nil {
		args = append(args, "-pids", r.process.pid())
	}
	out, err := output(ctx, loadTimeout+graceTime, s.tools.tunload, args...)
	var f figures
	switch {
	case err != nil:
		return f, fmt.Errorf("%s: %w", r.name, err)
	case json.Unmarshal(out, &f) != nil:
		return f, fmt.Errorf("%s: tunload says %q", r.name, out)
	case f.Corrupt > 0:
		return f, fmt.Errorf("%s: wrong bytes arrived on %d streams", r.name, f.Corrupt)
	case f.Errors > 0:
		return f, fmt.Errorf("%s: %d errors, the first: %s%s", r.name, f.Errors, f.FirstErr, r.said())
	}
	return f, nil
}

func (r *route) said() string {
	if r.process == nil {
		return ""
	}
	return r.process.said()
}

// output runs a program to its end and returns what it printed, both outputs.
// Only the main goroutine may call it (see attributes).
func output(ctx context.Context, limit time.Duration, path string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment()
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = graceTime
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s: %w\n%s", filepath.Base(path), err, bytes.TrimSpace(out))
	}
	return out, nil
}

// verify proves every byte once, both ways, over each route.
func (s *stage) verify(ctx context.Context) error {
	for _, r := range s.routes() {
		for _, way := range []string{"down", "up"} {
			if _, err := s.load(ctx, r, "-test", way, "-streams", "2", "-bytes", "64M", "-hash"); err != nil {
				return err
			}
		}
	}
	return nil
}

// dial connects, for as long as ctx lasts in all.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		err = c.SetDeadline(deadline)
	}
	return c, err
}

// echoed sends a byte to the target behind address and waits for it to come back.
func echoed(ctx context.Context, address string) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("Ex")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

// freePort gives a port that nothing listens on, from below those that the
// kernel gives to outgoing connections: nothing takes it by accident.
func freePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, ln.Close()
		}
	}
	return 0, errors.New("no free port found on 127.0.0.1")
}
