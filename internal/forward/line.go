package forward

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/sshsite"
)

const (
	// startTimeout bounds a try that somebody waits for; an answer is owed within 8 s.
	startTimeout = 7 * time.Second
	// retryTimeout bounds a try in the background, where a slow server may take its time.
	retryTimeout = 20 * time.Second
)

// line keeps one SSH connection up for the tunnels that share it. A try and its
// failure count for all of them together.
type line struct {
	cfg  sshsite.Config
	dial func(context.Context, sshsite.Config) (*sshsite.Conn, error) // sshsite.Dial, but for tests
	log  *slog.Logger
	ctx  context.Context
	stop context.CancelFunc
	done chan struct{} // closed when run has ended
	kick chan struct{} // try now

	users int // guarded by Supervisor.mu

	mu      sync.Mutex // guards below
	now     lineView
	waited  bool               // somebody waits for the try that is under way, or the next
	pending bool               // a try is under way or about to begin
	began   time.Time          // the last try
	abort   context.CancelFunc // of the try that is under way
	asked   bool               // somebody waited for the last try, and may have given up after it
	again   bool               // an edit has overtaken the pending try: its failure does not count
}

// lineView is what a line shows at one moment.
type lineView struct {
	conn    *sshsite.Conn // nil while it is down
	tries   uint64        // tries that have ended
	err     error         // why it is down; nil before the end of the first try
	retryAt time.Time
	changed chan struct{} // closed when this view is out of date
}

func newLine(ctx context.Context, cfg sshsite.Config, log *slog.Logger) *line {
	l := &line{cfg: cfg, dial: sshsite.Dial, log: log, done: make(chan struct{}), kick: make(chan struct{}, 1), waited: true, pending: true}
	l.ctx, l.stop = context.WithCancel(ctx)
	l.now.changed = make(chan struct{})
	return l
}

func (l *line) view() lineView {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// tryNow makes a try happen at once, unless one is under way, and returns the
// number of the try that answers. While the line is up there is nothing to try.
func (l *line) tryNow() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited = true
	if !l.pending && l.now.conn == nil {
		l.pending = true
		l.kick <- struct{}{} // never blocks: pending says that it is empty
	}
	return l.now.tries + 1
}

// tryAfresh makes a try happen at once that began after an edit of what it
// depends on, the host key for one. However many tunnels ask for that after
// the same edit, it is one try.
func (l *line) tryAfresh(edited time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.began.Before(edited), l.now.conn != nil:
	case !l.pending:
		l.waited, l.pending = true, true
		l.kick <- struct{}{} // never blocks: pending says that it is empty
	case !l.began.IsZero(): // else the first try has not even begun
		l.waited, l.again = true, true
		if l.abort != nil {
			l.abort()
		}
	}
}

// publish replaces the view and tells all who follow.
func (l *line) publish(change func(v *lineView)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.now.changed
	l.now.changed = make(chan struct{})
	change(&l.now)
	close(old)
}

// run connects and reconnects until the line is stopped.
func (l *line) run() {
	defer close(l.done)
	var p pace
	for {
		conn, err := l.try()
		if err == nil {
			err = l.hold(conn, &p)
		}
		if l.ctx.Err() != nil || !l.rest(&p, err) {
			return
		}
	}
}

// try makes one connection attempt.
func (l *line) try() (*sshsite.Conn, error) {
	ctx, abort := context.WithCancel(l.ctx)
	defer abort()
	l.mu.Lock()
	limit := retryTimeout
	if l.waited {
		limit = startTimeout
	}
	l.asked = l.waited
	l.began, l.abort = time.Now(), abort
	l.waited, l.pending, l.again = false, true, false
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := l.dial(ctx, l.cfg)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abort = nil
	return conn, err
}

// hold shows the connection to the tunnels until it is lost, and returns why.
func (l *line) hold(conn *sshsite.Conn, p *pace) error {
	up := time.Now()
	l.log.Info("connected to SSH server", "server", l.cfg.Address, "connection", conn.ID())
	l.publish(func(v *lineView) {
		v.conn, v.err, v.retryAt = conn, nil, time.Time{}
		v.tries++
		l.pending, l.again = false, false
	})
	select {
	case <-conn.Done():
	case <-l.ctx.Done():
	}
	conn.Close()
	if time.Since(up) >= stableAfter {
		p.reset()
	}
	return conn.Err()
}

// rest shows why the line is down and waits for the next try; false when the line is stopped.
func (l *line) rest(p *pace, err error) bool {
	delay := p.next(cannotHelp(err))
	overtaken, asked := false, false
	l.publish(func(v *lineView) {
		asked = l.asked
		if overtaken = l.again; overtaken {
			return // and nobody is told of a failure that an edit may have mended
		}
		if v.conn == nil {
			v.tries++ // the try failed; a loss is not a try
		}
		v.conn, v.err, v.retryAt = nil, err, time.Now().Add(delay)
		l.pending = false
	})
	if overtaken {
		p.reset()
		return true
	}
	log := l.log.With("server", l.cfg.Address, "error", err)
	if !asked {
		log = log.With("retry_in", delay.Round(time.Millisecond))
	}
	log.Warn("SSH server is not connected")
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-l.ctx.Done():
		return false
	case <-l.kick:
		p.reset()
	case <-timer.C:
		l.drainKick()
	}
	return true
}

// drainKick drops a kick that came together with the timer.
func (l *line) drainKick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = true
	select {
	case <-l.kick:
	default:
	}
}
