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
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/wire"
)

// stage is all that runs for one suite: a target, and the routes to it.
type stage struct {
	dir     string
	tools   tools
	cipher  string     // what ssh is told to use; empty: its default
	target  string     // host:port
	running []*process // all that were started, ended ones too

	wire      *wire.Wire // nil where everything is on loopback; then near and far are nil too
	near, far *wire.End  // the load is near, the target far
	bbr       bool       // TCP on the wire uses BBR

	subject   *route // adit's
	reference *route // what it is held against
	beside    []*route
}

func (s *stage) routes() []*route { return append([]*route{s.subject, s.reference}, s.beside...) }

// route is one way to the target.
type route struct {
	name      string
	processes []*process // those whose memory and CPU time count, in the order in which they were started
	via       string     // how tunload goes this way
	flags     []string   // what launch is always told
	more      []string   // and what for the test that is made
	launch    func(ctx context.Context, flags []string) ([]*process, string, error)
}

// viaPort is how tunload goes by a port that is forwarded to the target.
func viaPort(listen string) string { return "tcp://" + listen }

// open starts everything; close must follow, whatever it returns.
func (s *stage) open(ctx context.Context, of suite) error {
	var err error
	if of.long {
		if s.wire, err = wire.Open(wire.Conditions{Delay: oneWay}); err != nil {
			return err
		}
		s.near, s.far = s.wire.Left, s.wire.Right
	}
	if _, s.target, err = s.startLoad(ctx, "target", "target"); err != nil {
		return err
	}
	if err := of.open(ctx, s); err != nil {
		return err
	}
	for _, r := range s.routes() {
		if err := s.restart(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// start runs a program that close stops.
func (s *stage) start(name, path string, args ...string) (*process, error) {
	return s.startAt(nil, name, path, args...)
}

// startAt is start, at an end of the wire.
func (s *stage) startAt(end *wire.End, name, path string, args ...string) (p *process, err error) {
	err = at(end, func() error {
		p, err = start(s.dir, name, path, args...)
		return err
	})
	if err == nil {
		s.running = append(s.running, p)
	}
	return p, err
}

// at does something at an end of the wire; nil is here.
func at(end *wire.End, do func() error) error {
	if end == nil {
		return do()
	}
	return end.Do(do)
}

// farHost is where what is far listens.
func (s *stage) farHost() string {
	if s.far == nil {
		return "127.0.0.1"
	}
	return s.far.Addr.String()
}

// restart starts a route's processes, after it has stopped those that were there.
func (s *stage) restart(ctx context.Context, r *route) error {
	stop(r.processes)
	var err error
	r.processes, r.via, err = r.launch(ctx, slices.Concat(r.flags, r.more))
	return err
}

func (s *stage) close() {
	stop(s.running)
	if s.wire != nil {
		s.wire.Close()
	}
}

// stop ends processes, the last first: it uses those before it.
func stop(all []*process) {
	for _, p := range slices.Backward(all) {
		p.stop()
	}
}

// startLoad runs a tunload that listens, at the far end, and returns its address.
func (s *stage) startLoad(ctx context.Context, name string, args ...string) (*process, string, error) {
	p, err := s.startAt(s.far, name, s.tools.tunload, append(args, "-listen", s.farHost()+":0")...)
	if err != nil {
		return nil, "", err
	}
	address, err := p.ready(ctx, "tunload ready ")
	return p, address, err
}

// startHops runs two plain TCP hops to the target: what any tunnel of two
// processes could at best do.
func (s *stage) startHops(ctx context.Context, _ []string) ([]*process, string, error) {
	near, address, err := s.startLoad(ctx, "hop1", "hop", "-to", s.target)
	if err != nil {
		return nil, "", err
	}
	far, address, err := s.startLoad(ctx, "hop2", "hop", "-to", address)
	return []*process{near, far}, viaPort(address), err
}

// figures are what tunload prints of a run, as far as it is used here.
type figures struct {
	MBps       float64 `json:"mb_per_s"`
	AloneMBps  float64 `json:"alone_mb_per_s"`
	PerSecond  float64 `json:"per_s"`
	HalfUs     float64 `json:"p50_us"`
	KBPerConn  float64 `json:"kb_per_conn"`
	RSSMB      float64 `json:"rss_mb"`
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
	args = append([]string{"run", "-via", r.via, "-target", s.target, "-pids", r.pids(), "-timeout", loadTimeout.String()}, args...)
	var out []byte
	err := at(s.near, func() (err error) {
		out, err = output(ctx, loadTimeout+graceTime, s.tools.tunload, args...)
		return err
	})
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

// pids are the route's processes as tunload takes them.
func (r *route) pids() string {
	ids := make([]string, len(r.processes))
	for i, p := range r.processes {
		ids[i] = p.pid()
	}
	return strings.Join(ids, ",")
}

// said is what the route's processes logged last, for an error.
func (r *route) said() string {
	var all strings.Builder
	for _, p := range r.processes {
		if said := p.said(); said != "" {
			fmt.Fprintf(&all, "\n%s%s", p.name, said)
		}
	}
	return all.String()
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
