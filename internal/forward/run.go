package forward

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

// run is one spec being run: it follows its line and keeps a door open.
type run struct {
	sup    *Supervisor
	spec   Spec
	line   *line
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when drive has ended
	wake   chan struct{} // take a step: something changed that the line does not tell

	// Only drive uses these.
	pace      pace      // of the listener; the line has its own
	listensAt time.Time // when to try the listener again; zero: at once
	answered  uint64    // how many of the line's tries were answered

	mu       sync.Mutex // guards below
	st       Status     // but for the figures
	conn     *sshsite.Conn
	changed  chan struct{} // closed when st or conn changed
	door     *door
	meter    *pipe.Meter // since st.TunnelID began
	trial    bool        // a first start: when it fails the run ends, and its states are nobody's business
	patient  bool        // the port may still be held for our last connection: a refusal is expected
	yielding bool        // a successor wants the listen address
	adopts   *run        // the predecessor, whose door may be taken over
	waiters  []waiter
	sessions map[*session]struct{}
	ended    bool // no more connections are taken
	over     sync.Once
}

// waiter waits for the outcome of a try.
type waiter struct {
	try     uint64 // the line's try that answers; the failure of an earlier one does not
	outcome chan error
}

// anyTry is the number for outcomes that answer everybody.
const anyTry = ^uint64(0)

func (s *Supervisor) newRun(spec Spec) *run {
	r := &run{
		sup: s, spec: spec, done: make(chan struct{}), wake: make(chan struct{}, 1),
		log: s.opts.Logger.With("forward", spec.ID, "name", spec.Name, "type", string(spec.Type)),
		st:  Status{State: Starting, Since: time.Now()}, changed: make(chan struct{}),
		meter: new(pipe.Meter), sessions: map[*session]struct{}{},
	}
	r.ctx, r.cancel = context.WithCancel(s.ctx)
	r.line = s.acquire(spec.Server)
	return r
}

// drive is the run's goroutine: it takes one step whenever something changed.
func (r *run) drive() {
	defer close(r.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for r.ctx.Err() == nil {
		view := r.line.view()
		r.step(view)
		var retry <-chan time.Time
		if !r.listensAt.IsZero() {
			timer.Reset(time.Until(r.listensAt))
			retry = timer.C
		}
		select {
		case <-r.ctx.Done():
		case <-view.changed:
		case <-r.wake:
			r.listensAt = time.Time{}
			r.pace.reset()
		case <-retry:
			r.listensAt = time.Time{}
		}
	}
}

// step brings the run in line with what is there.
func (r *run) step(view lineView) {
	if r.wantsYield() {
		r.closeDoor()
		return
	}
	if d := r.currentDoor(); d != nil && d.conn != nil && d.conn != view.conn {
		r.lost(d.conn.Err(), view.retryAt)
		r.closeDoor()
	}
	if view.conn == nil {
		r.down(view)
		return
	}
	r.answered = view.tries
	if r.currentDoor() == nil {
		if !r.listensAt.IsZero() {
			return
		}
		if err := r.openDoor(view.conn); err != nil {
			r.refused(err)
			return
		}
	}
	r.up(view.conn)
}

// up says that traffic can flow.
func (r *run) up(conn *sshsite.Conn) {
	r.pace.reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != conn || r.st.State != Active {
		r.conn, r.trial, r.patient = conn, false, true
		r.st.ConnectionID, r.st.LastError, r.st.NextRetry = conn.ID(), nil, time.Time{}
		r.enterLocked(Active)
	}
	r.answerLocked(nil, anyTry)
}

// lost says that a listener at the SSH server was lost with its connection.
func (r *run) lost(err error, retryAt time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.st.ConnectionID = nil, ""
	if err != nil {
		r.failLocked(Reconnecting, err, retryAt)
	}
}

// down says that the line is down, and why.
func (r *run) down(view lineView) {
	if view.err != nil && r.mayListenAhead(view) {
		if err := r.openDoor(nil); err != nil {
			r.refused(err)
			return
		}
	}
	if !r.spec.listensHere() {
		r.listensAt = time.Time{} // the next connection may claim the port at once
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.st.ConnectionID = nil, ""
	if view.err == nil {
		return // the first try is still under way
	}
	if r.listensAt.IsZero() {
		state := Reconnecting
		if cannotHelp(view.err) {
			state = Failed
		}
		r.failLocked(state, view.err, view.retryAt)
	}
	if view.tries > r.answered {
		r.answered = view.tries
		r.answerLocked(view.err, view.tries)
	}
}

// mayListenAhead reports whether a tunnel that was restored should open its door
// before its line is up, so that clients can wait for it there.
func (r *run) mayListenAhead(view lineView) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spec.listensHere() && r.door == nil && !r.trial && r.adopts == nil && r.listensAt.IsZero() && !cannotHelp(view.err)
}

// refused says that the listener could not be opened, and plans the next try.
func (r *run) refused(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := Failed
	if r.spec.Type == Remote && r.patient || !cannotHelp(err) {
		// The server holds the port until it notices that our last connection is gone.
		state = Reconnecting
	}
	r.listensAt = time.Now().Add(r.pace.next(state == Failed))
	r.conn, r.st.ConnectionID = nil, ""
	r.failLocked(state, err, r.listensAt)
	r.answerLocked(err, anyTry)
}

// failLocked shows a state in which no traffic flows.
func (r *run) failLocked(state State, err error, retryAt time.Time) {
	if r.trial {
		return
	}
	if r.st.LastError == nil || !r.st.NextRetry.Equal(retryAt) {
		r.st.LastError, r.st.NextRetry = failureOf(err), retryAt
	}
	if state == Failed && r.door == nil {
		r.st.TunnelID = ""
	}
	r.enterLocked(state)
}

// enterLocked changes the state and wakes those who follow it.
func (r *run) enterLocked(state State) {
	if r.st.State != state {
		r.st.State, r.st.Since = state, time.Now()
		r.logStateLocked()
	}
	r.broadcastLocked()
}

// broadcastLocked wakes all who wait for a change.
func (r *run) broadcastLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *run) logStateLocked() {
	attrs := []any{"state", string(r.st.State), "tunnel", r.st.TunnelID, "connection", r.st.ConnectionID}
	if f := r.st.LastError; f != nil {
		attrs = append(attrs, "code", string(f.Code), "reason", f.Message)
	}
	r.log.Info("tunnel changed state", attrs...)
}

// answerLocked tells those who wait for the line's try number done, or an earlier one.
func (r *run) answerLocked(err error, done uint64) {
	rest := r.waiters[:0]
	for _, w := range r.waiters {
		if w.try <= done {
			w.outcome <- err // has room for one
		} else {
			rest = append(rest, w)
		}
	}
	r.waiters = rest
}

// await makes a try happen now and returns its outcome: nil when traffic can flow.
func (r *run) await(ctx context.Context) error {
	outcome := make(chan error, 1)
	r.mu.Lock()
	if r.st.State == Active {
		r.mu.Unlock()
		return nil
	}
	r.waiters = append(r.waiters, waiter{try: r.line.tryNow(), outcome: outcome})
	r.mu.Unlock()
	r.nudge()
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// nudge makes drive take a step, and try the listener at once.
func (r *run) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// openDoor opens the listener, or takes the predecessor's when that listens at the same place.
func (r *run) openDoor(conn *sshsite.Conn) error {
	if err := r.sup.permitted(r.ctx, &r.spec); err != nil {
		return err
	}
	d := r.inherited(conn)
	if d == nil {
		ln, err := r.listen(conn)
		if err != nil {
			return err
		}
		if r.spec.listensHere() {
			conn = nil
		}
		d = newDoor(ln, conn, r)
		r.sup.running.Go(d.serve)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.door = d
	r.st.BoundPort = d.port()
	if r.st.TunnelID == "" {
		r.st.TunnelID = uuid.NewString()
		r.meter = new(pipe.Meter)
	}
	return nil
}

func (r *run) listen(conn *sshsite.Conn) (pipe.Listener, error) {
	ctx, cancel := context.WithTimeout(r.ctx, startTimeout)
	defer cancel()
	if r.spec.listensHere() {
		return r.sup.listenHere(ctx, &r.spec)
	}
	return conn.Listen(ctx, "tcp", r.spec.Listen)
}

// closeDoor stops listening. The tunnel stays the same one: it may come back.
func (r *run) closeDoor() {
	r.mu.Lock()
	d := r.door
	if d == nil {
		r.mu.Unlock()
		return
	}
	if r.st.State == Active && !r.ended { // it yields, and somebody may look meanwhile
		r.conn, r.st.ConnectionID = nil, ""
		r.enterLocked(Starting)
	}
	r.mu.Unlock()
	if d.owner.Load() == r {
		d.close()
	}
	// Only now: who waits for the address may have it.
	r.mu.Lock()
	r.door, r.st.BoundPort = nil, 0
	r.broadcastLocked()
	r.mu.Unlock()
}

func (r *run) currentDoor() *door {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.door
}

func (r *run) wantsYield() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.yielding
}

// end stops the run: its door is closed, its connections are reset, its line is given back.
func (r *run) end() {
	r.over.Do(func() {
		r.cancel()
		<-r.done
		r.mu.Lock()
		r.ended = true
		r.mu.Unlock()
		r.closeDoor()
		r.cut()
		r.sup.release(r.line)
	})
}

// cut resets all open connections and takes no more.
func (r *run) cut() {
	r.mu.Lock()
	r.ended = true
	r.broadcastLocked() // those who wait for the line need not
	open := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		open = append(open, s)
	}
	r.mu.Unlock()
	for _, s := range open {
		s.reset()
	}
}

// status is a consistent view of the run.
func (r *run) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.st
	st.Connections = int64(len(r.sessions))
	st.BytesIn, st.BytesOut = r.meter.In.Load(), r.meter.Out.Load()
	return st
}
