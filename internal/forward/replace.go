package forward

import (
	"context"
	"fmt"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

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
