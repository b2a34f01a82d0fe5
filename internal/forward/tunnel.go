package forward

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/api"
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
		t.halt(Inactive, blame(err))
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
func (t *Tunnel) halt(to State, why *Failure) {
	t.mu.Lock()
	r := t.run
	t.run = nil
	t.idle = Status{State: to, Since: time.Now(), LastError: why}
	t.mu.Unlock()
	if r != nil {
		r.end()
		r.log.Info("tunnel changed state", "state", string(to))
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
	t.idle = Status{State: state, Since: since, LastError: blame(err)}
}

// blame is what a start that failed leaves to be told; a stop is no failure.
func blame(err error) *Failure {
	if codeOf(err) == api.CodeStopped {
		return nil
	}
	return failureOf(err)
}

// Stop closes listener and connections and returns when they are gone. The
// state becomes Inactive. Idempotent.
func (t *Tunnel) Stop() {
	t.setWanted(false)
	if t.current() != nil || t.Status().State != Inactive {
		t.halt(Inactive, nil)
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
	t.setWanted(true)
	t.halt(Failed, failureOf(err))
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
	t.halt(Starting, nil)
	r := t.sup.newRun(spec)
	r.patient = patient
	r.line.tryAfresh(edited)
	t.launch(r)
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
