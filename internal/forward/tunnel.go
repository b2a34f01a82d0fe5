package forward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

// answerTimeout bounds a whole start or replacement, waiting for other
// operations included, so that its answer comes within 8 s.
const answerTimeout = startTimeout + 500*time.Millisecond

// Tunnel is one forward over all its runs. Its methods but Status are called
// inside Do.
type Tunnel struct {
	sup *Supervisor
	id  string
	op  chan struct{} // taken by the operation under way

	mu       sync.Mutex // guards below
	run      *run       // nil: it does not run
	idle     Status     // shown while run is nil
	wanted   bool
	starting *starting

	interrupted chan struct{} // closed, and replaced, by interrupt
}

// lock waits until no other operation is under way, or an interrupt comes.
func (t *Tunnel) lock(ctx context.Context) error { return t.lockUnless(ctx, t.interruption()) }

func (t *Tunnel) lockUnless(ctx context.Context, interrupted <-chan struct{}) error {
	select {
	case t.op <- struct{}{}:
		return nil
	case <-interrupted:
		return errStopped()
	case <-ctx.Done():
		if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
			return explain(err)
		}
		return &api.Error{Code: api.CodeTimeout, Message: "another operation on this forward is still under way",
			Hint: "it waits for an SSH server, mostly; a stop ends it at once"}
	}
}

// interrupt makes the operations that are under way, or wait, fail at once.
func (t *Tunnel) interrupt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.starting != nil {
		t.starting.cancel(errStopped())
	}
	close(t.interrupted)
	t.interrupted = make(chan struct{})
}

// interruption is closed by the next interrupt.
func (t *Tunnel) interruption() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.interrupted
}

// interruptible gives a context that ends with ctx, after limit, or by an interrupt.
func (t *Tunnel) interruptible(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithTimeout(ctx, limit)
	ctx, cancel := context.WithCancelCause(ctx)
	interrupted := t.interruption()
	t.sup.running.Go(func() {
		select {
		case <-interrupted:
			cancel(errStopped())
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(nil); stop() }
}

func (t *Tunnel) unlock() { <-t.op }

// Status is the tunnel's status now.
func (t *Tunnel) Status() Status {
	t.mu.Lock()
	r, idle := t.run, t.idle
	t.mu.Unlock()
	if r == nil {
		return idle
	}
	return r.status()
}

// Wanted reports whether the tunnel shall run: it is active, starting in the
// background, reconnecting or failed.
func (t *Tunnel) Wanted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wanted
}

// current returns the run, or nil.
func (t *Tunnel) current() *run {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.run
}

// runStart is the goroutine of one Start.
func (t *Tunnel) runStart(ctx context.Context, try *starting, load func(context.Context) (Spec, error), commit func(Status) error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	defer try.cancel(nil)
	try.err = t.start(ctx, load, commit)
	t.mu.Lock()
	t.starting = nil
	t.mu.Unlock()
	close(try.done)
}

func (t *Tunnel) start(ctx context.Context, load func(context.Context) (Spec, error), commit func(Status) error) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	if t.Status().State == Active {
		return nil
	}
	spec, err := load(ctx)
	switch {
	case err != nil:
	case t.current() != nil:
		err = t.again(ctx, spec, commit)
	default:
		if err = t.sup.permitted(ctx, &spec); err == nil {
			err = t.firstRun(ctx, spec, commit)
		}
	}
	if ctx.Err() != nil && codeOf(err) == api.CodeInternal {
		err = explain(context.Cause(ctx)) // whatever it was doing, that is why it failed
	}
	if err != nil && t.current() == nil {
		state := Inactive
		if t.Wanted() {
			state = Failed
		}
		t.rest(state, err)
	}
	return err
}

// again is a start of what is wanted and not active: it makes a try happen now.
func (t *Tunnel) again(ctx context.Context, spec Spec, commit func(Status) error) error {
	if old := t.current(); !old.spec.runsLike(&spec) {
		t.Restart(spec, time.Now())
	}
	r := t.current()
	if err := r.await(ctx); err != nil {
		return explain(err)
	}
	return commit(r.status())
}

// firstRun runs spec and returns when traffic flows and that is recorded.
func (t *Tunnel) firstRun(ctx context.Context, spec Spec, commit func(Status) error) error {
	wanted := t.Wanted() // it is Failed for want of a spec
	r := t.sup.newRun(spec)
	r.trial = !wanted
	t.launch(r)
	err := r.await(ctx)
	if err == nil {
		err = commit(r.status())
	}
	err = explain(err)
	if err != nil && !wanted {
		t.halt(Inactive)
		return err
	}
	t.setWanted(true)
	return err
}

func (t *Tunnel) launch(r *run) {
	t.mu.Lock()
	t.run = r
	t.mu.Unlock()
	t.sup.running.Go(r.drive)
}

func (t *Tunnel) setWanted(wanted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted = wanted
}

// halt ends the run, if there is one. The tunnel is shown in the state that it
// comes to from the beginning of that: nothing new is taken.
func (t *Tunnel) halt(to State) {
	t.mu.Lock()
	r := t.run
	t.run = nil
	t.idle = Status{State: to, Since: time.Now()}
	t.mu.Unlock()
	if r != nil {
		r.end()
	}
}

// rest leaves the tunnel without a run, and says why.
func (t *Tunnel) rest(state State, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since := t.idle.Since
	if t.idle.State != state || since.IsZero() {
		since = time.Now()
	}
	t.idle = Status{State: state, Since: since}
	if codeOf(err) != api.CodeStopped {
		t.idle.LastError = failureOf(err)
	}
}

// Stop closes listener and connections and returns when they are gone. The
// state becomes Inactive. Idempotent.
func (t *Tunnel) Stop() {
	t.setWanted(false)
	if t.current() != nil || t.Status().State != Inactive {
		t.halt(Inactive)
	}
}

// Forget is Stop, and drops what is remembered of the forward (its last error).
func (t *Tunnel) Forget() {
	t.Stop()
	t.sup.mu.Lock()
	defer t.sup.mu.Unlock()
	delete(t.sup.tunnels, t.id)
}

// Fail ends the run and leaves the tunnel Failed with err: it is wanted, but
// there is no spec to run it with.
func (t *Tunnel) Fail(err *api.Error) {
	t.halt(Failed)
	t.setWanted(true)
	t.rest(Failed, err)
	t.sup.opts.Logger.Warn("tunnel cannot run", "forward", t.id, "code", string(err.Code), "reason", err.Message)
}

// Restart makes the tunnel run with spec, in the background, as after a boot:
// it goes through Starting to Active, Reconnecting or Failed. With a spec that
// runs the same as that of a tunnel that is Active it does nothing; otherwise a
// try follows that begins after edited, the instant of the change that asks for
// it (zero: there was none, and the line's own pace will do).
func (t *Tunnel) Restart(spec Spec, edited time.Time) {
	old := t.current()
	if old != nil && old.spec.runsLike(&spec) {
		if old.status().State != Active {
			old.line.tryAfresh(edited)
			old.nudge()
		}
		return
	}
	patient := old == nil || old.spec.Listen == spec.Listen && old.spec.Server.Address == spec.Server.Address
	t.setWanted(true)
	t.halt(Starting)
	r := t.sup.newRun(spec)
	r.patient = patient
	r.line.tryAfresh(edited)
	t.launch(r)
}

// Replace moves an Active tunnel to a new spec and returns when the new one
// runs, within 8 seconds. If it cannot, the old one goes on (or comes back) and
// the error (*api.Error) says why; if the old one cannot come back either, the
// tunnel is Failed and the error says both. With a spec that runs the same it
// does nothing.
func (t *Tunnel) Replace(ctx context.Context, spec Spec) error {
	old := t.current()
	if old == nil {
		return &api.Error{Code: api.CodeStopped, Message: "the forward does not run"}
	}
	if old.spec.runsLike(&spec) {
		return nil
	}
	if err := t.sup.permitted(ctx, &spec); err != nil {
		return err
	}
	ctx, cancel := t.interruptible(ctx, answerTimeout)
	defer cancel()
	next := t.sup.newRun(spec)
	next.trial, next.adopts = true, old
	next.yielding = old.mustYieldTo(next)
	t.sup.running.Go(next.drive)
	err, yielded := t.tryNext(ctx, old, next)
	if err == nil {
		t.adopt(old, next)
		return nil
	}
	next.end()
	if yielded {
		return t.comeBack(old, explain(err))
	}
	return explain(err)
}

// tryNext returns when next runs or cannot, and whether old gave up its
// listener for that.
func (t *Tunnel) tryNext(ctx context.Context, old, next *run) (err error, yielded bool) {
	if next.wantsYield() {
		if err := next.awaitLineUp(ctx); err != nil {
			return err, false
		}
		old.yield(ctx)
		next.setYielding(false)
		return next.await(ctx), true
	}
	err = next.await(ctx)
	if yielded = competes(err, old, next); yielded && old.yield(ctx) {
		err = next.await(ctx)
	}
	return err, yielded
}

// mustYieldTo reports whether the SSH server would have to listen twice on one
// port, on addresses that may overlap. OpenSSH then says yes and takes what is
// left, IPv6 for one, so that it must not be asked before the port is free.
func (r *run) mustYieldTo(next *run) bool {
	if r.spec.Type != Remote || next.spec.Type != Remote || r.spec.Server.Address != next.spec.Server.Address {
		return false
	}
	_, a, errA := splitPort(r.spec.Listen)
	_, b, errB := splitPort(next.spec.Listen)
	sameDoor := r.line == next.line && r.spec.Listen == next.spec.Listen
	return errA == nil && errB == nil && a == b && !sameDoor
}

// competes reports whether next could not listen because, it may be, of old.
func competes(err error, old, next *run) bool {
	switch codeOf(err) {
	case api.CodeListenInUse, api.CodeRemoteListenRefused:
		_, port, err := splitPort(next.spec.Listen)
		samePlace := old.spec.listensHere() == next.spec.listensHere() && (next.spec.listensHere() || old.spec.Server.Address == next.spec.Server.Address)
		return err == nil && samePlace && int(port) == old.status().BoundPort
	}
	return false
}

// adopt puts next in old's place. A door that both have changes hands without closing.
func (t *Tunnel) adopt(old, next *run) {
	old.cancel()
	<-old.done
	if d := next.currentDoor(); d != nil {
		d.owner.Store(next)
		old.mu.Lock()
		if old.door == d {
			old.door = nil
		}
		old.mu.Unlock()
	}
	next.mu.Lock()
	next.adopts = nil
	next.mu.Unlock()
	t.mu.Lock()
	t.run = next
	t.mu.Unlock()
	old.end()
}

// comeBackTimeout bounds how long the answer waits for the old listener; it is
// tried for ever.
const comeBackTimeout = 800 * time.Millisecond

// comeBack lets old listen again after its successor failed with err.
func (t *Tunnel) comeBack(old *run, err error) error {
	old.setYielding(false)
	ctx, cancel := context.WithTimeout(t.sup.ctx, comeBackTimeout)
	defer cancel()
	back := explain(old.await(ctx))
	if back == nil {
		return err
	}
	f := failureOf(err)
	return &api.Error{Code: f.Code, Hint: f.Hint, Err: err,
		Message: fmt.Sprintf("%s; and the old values could not be restored: %s", f.Message, failureOf(back).Message)}
}

func (r *run) setYielding(yielding bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.yielding = yielding
}

// awaitLineUp returns when the line is up, or why it is not after a try now.
func (r *run) awaitLineUp(ctx context.Context) error {
	try := r.line.tryNow()
	for {
		v := r.line.view()
		switch {
		case v.conn != nil:
			return nil
		case v.err != nil && v.tries >= try:
			return v.err
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// yield makes the run close its door, and reports whether it did in time.
func (r *run) yield(ctx context.Context) bool {
	r.setYielding(true)
	r.nudge()
	for {
		r.mu.Lock()
		open, changed := r.door != nil, r.changed
		r.mu.Unlock()
		if !open {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// inherited returns the predecessor's door when it stands where this run listens.
func (r *run) inherited(conn *sshsite.Conn) *door {
	r.mu.Lock()
	old := r.adopts
	r.mu.Unlock()
	if old == nil || old.spec.Type != r.spec.Type && !(old.spec.listensHere() && r.spec.listensHere()) || old.spec.Listen != r.spec.Listen {
		return nil
	}
	d := old.currentDoor()
	if d == nil || d.conn != nil && d.conn != conn {
		return nil
	}
	return d
}

// holdsPort reports whether the tunnel listens on a port of this machine, and its name.
func (t *Tunnel) holdsPort(port int) (name string, held bool) {
	r := t.current()
	if r == nil {
		return "", false
	}
	st := r.status()
	return r.spec.Name, r.spec.listensHere() && st.BoundPort == port
}

// drain lets what is open end by itself until ctx ends, and ends the run.
func (t *Tunnel) drain(ctx context.Context) {
	if t.lock(ctx) == nil {
		defer t.unlock()
	}
	r := t.current()
	if r == nil {
		return
	}
	r.retire()
	for over := false; !over; {
		r.mu.Lock()
		open, changed := len(r.sessions), r.changed
		r.mu.Unlock()
		if open == 0 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			over = true
		}
	}
	r.end()
}

// retire closes the door for good; what is open goes on.
func (r *run) retire() {
	r.mu.Lock()
	r.ended, r.yielding = true, true
	r.mu.Unlock()
	r.nudge()
}
