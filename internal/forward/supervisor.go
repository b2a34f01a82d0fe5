package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

// Options are what the tunnels of a process need of their surroundings.
type Options struct {
	Here     *site.Here        // where local and dynamic forwards listen and remote ones deliver
	Policy   *policy.Policy    // which targets may be dialled
	Binds    *policy.BindRules // which addresses here may be listened on
	OwnPorts map[int]string    // adit's own listeners by port, for "already in use by …"
	Logger   *slog.Logger
}

// Supervisor runs all tunnels of this process.
type Supervisor struct {
	opts    Options
	ctx     context.Context // of everything that runs
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards below
	closing bool       // no operation begins any more
	tunnels map[string]*Tunnel
	lines   map[string]*line // by identity
}

// New makes a supervisor without tunnels. Everything that runs under it ends
// with ctx at the latest; Close ends it in good order.
func New(ctx context.Context, opts Options) *Supervisor {
	s := &Supervisor{opts: opts, tunnels: map[string]*Tunnel{}, lines: map[string]*line{}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// tunnel returns the forward's tunnel, a new one when it never ran.
func (s *Supervisor) tunnel(id string) (*Tunnel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, explain(context.Canceled)
	}
	t := s.tunnels[id]
	if t == nil {
		t = &Tunnel{sup: s, id: id, op: make(chan struct{}, 1), idle: Status{State: Inactive}, interrupted: make(chan struct{})}
		s.tunnels[id] = t
	}
	return t, nil
}

func (s *Supervisor) all() []*Tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Tunnel, 0, len(s.tunnels))
	for _, t := range s.tunnels {
		all = append(all, t)
	}
	return all
}

// acquire returns the line for a configuration, and starts it for its first user.
func (s *Supervisor) acquire(cfg sshsite.Config) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := cfg.Identity()
	l := s.lines[id]
	if l == nil {
		l = newLine(s.ctx, cfg, s.opts.Logger)
		s.lines[id] = l
		s.running.Go(l.run)
	}
	l.users++
	return l
}

// release gives a line back; the last user's release ends it.
func (s *Supervisor) release(l *line) {
	s.mu.Lock()
	l.users--
	last := l.users == 0
	if last {
		delete(s.lines, l.cfg.Identity())
	}
	s.mu.Unlock()
	if last {
		l.stop()
		<-l.done
	}
}

// Do runs fn with no other operation on this forward under way. An Overtake
// makes it fail with api.CodeStopped while it waits for that.
func (s *Supervisor) Do(ctx context.Context, id string, fn func(*Tunnel) error) error {
	t, err := s.tunnel(id)
	if err != nil {
		return err
	}
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	return fn(t)
}

// Overtake is Do for what has the last word, a stop or a deletion: operations on
// this forward that are under way, or wait for their turn, fail at once with
// api.CodeStopped, but for others that overtake.
func (s *Supervisor) Overtake(ctx context.Context, id string, fn func(*Tunnel) error) error {
	t, err := s.tunnel(id)
	if err != nil {
		return err
	}
	t.interrupt()
	if err := t.lockUnless(ctx, nil); err != nil {
		return err
	}
	defer t.unlock()
	return fn(t)
}

// Status is a snapshot; a forward that was never started is Inactive. It never
// waits for an operation.
func (s *Supervisor) Status(id string) Status {
	s.mu.Lock()
	t := s.tunnels[id]
	s.mu.Unlock()
	if t == nil {
		return Status{State: Inactive}
	}
	return t.Status()
}

// starting is a Start under way, for all who asked for it.
type starting struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // read it after done
}

// Start connects and listens, and returns once traffic can flow or it failed
// (an *api.Error), within 8 seconds. Starts of one forward at the same time
// share one try and one answer. load makes the spec and commit records the
// success; both run inside the try, with no other operation on this forward
// under way. When commit fails the tunnel is stopped again and Start returns
// commit's error. A tunnel that is already wanted (active, reconnecting,
// failed) stays so whatever the answer; an active one answers at once, without
// load and commit, whatever else is done with it.
func (s *Supervisor) Start(ctx context.Context, id string, load func(context.Context) (Spec, error), commit func(Status) error) error {
	t, err := s.tunnel(id)
	if err != nil {
		return err
	}
	if t.Status().State == Active {
		return nil
	}
	t.mu.Lock()
	try := t.starting
	if try == nil {
		try = &starting{done: make(chan struct{})}
		tryCtx, cancel := context.WithCancelCause(s.ctx)
		try.cancel = cancel
		t.starting = try
		s.running.Go(func() { t.runStart(tryCtx, try, load, commit) })
	}
	t.mu.Unlock()
	select {
	case <-try.done:
		return try.err
	case <-ctx.Done():
		return ctx.Err() // who asked is gone; the try goes on for the others
	}
}

// errStopped is the answer to a start that was overtaken by a stop.
func errStopped() error {
	return &api.Error{Code: api.CodeStopped, Message: "the forward was stopped meanwhile"}
}

// permitted asks the policy about a spec's listener and target.
func (s *Supervisor) permitted(ctx context.Context, spec *Spec) error {
	if spec.listensHere() {
		host, port, err := splitPort(spec.Listen)
		if err == nil {
			err = s.opts.Binds.Check(host, port)
		}
		if err != nil {
			return notAllowed(api.CodeListenDenied, "listen "+spec.Listen, policy.SettingBinds,
				"the operator's --allow-bind says which addresses and ports may be listened on", err)
		}
	}
	if spec.Type == Dynamic {
		return nil
	}
	host, port, err := splitPort(spec.Deliver)
	switch {
	case err != nil:
	case spec.Type == Local:
		err = s.opts.Policy.CheckThere(host, port)
	default:
		err = s.checkDelivery(ctx, host, port)
	}
	if err != nil {
		return notAllowed(api.CodeTargetDenied, "deliver to "+spec.Deliver, policy.SettingDestinations,
			"the operator's --allow and --deny, and built-in rules for link-local, metadata and adit's own addresses, say what may be dialled", err)
	}
	return nil
}

// notAllowed says what the policy refused: by the setting, or by what the hint
// tells of.
func notAllowed(code api.Code, what, setting, hint string, err error) error {
	e := &api.Error{Code: code, Err: err, Message: what + ": not allowed", Hint: hint}
	if errors.Is(err, policy.ErrLimited) {
		e.Message = fmt.Sprintf("%s: not among the setting %q", what, setting)
		e.Hint = "an operator may change that setting (PUT /settings)"
	}
	return e
}

// checkDelivery asks the policy about a target that is dialled from here. A
// name is refused when none of its addresses is allowed; each is asked about
// again when it is dialled.
func (s *Supervisor) checkDelivery(ctx context.Context, host string, port uint16) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		return s.opts.Policy.CheckHere("", netip.AddrPortFrom(addr, port))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil // a name that is not known now may be later
	}
	var refused error
	for _, addr := range addrs {
		err := s.opts.Policy.CheckHere(host, netip.AddrPortFrom(addr, port))
		if err == nil {
			return nil
		}
		refused = cmp.Or(refused, err)
	}
	return refused
}

func splitPort(address string) (string, uint16, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return host, uint16(port), err
}

// Close stops all tunnels: nothing new is taken at once, what is open may end
// by itself until ctx ends, and the rest is cut. It returns when nothing runs on.
func (s *Supervisor) Close(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	tunnels := s.all()
	var draining sync.WaitGroup
	for _, t := range tunnels {
		t.interrupt()
		draining.Go(func() { t.drain(ctx) })
	}
	draining.Wait()
	s.cancel()
	// An operation that outlived the drain ends now, and what it began with it.
	for _, t := range tunnels {
		_ = t.lock(context.WithoutCancel(ctx)) // without an end there is no error
		t.halt(Inactive, nil)
		t.unlock()
	}
	s.running.Wait()
}

// explain turns what a try ended with into an error for people.
func explain(err error) error {
	if told := (*api.Error)(nil); errors.As(err, &told) {
		return err // it says more
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &api.Error{Code: api.CodeTimeout, Err: err, Message: "no answer in time while starting the tunnel",
			Hint: "the server is slow or cannot be reached; the state says more"}
	}
	if errors.Is(err, context.Canceled) {
		return &api.Error{Code: api.CodeStopped, Err: err, Message: "adit is stopping"}
	}
	return err
}
