package peer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/native"
	"github.com/adit-tunnel/adit/internal/link/ws"
)

// shutTimeout is how long the relay has to take note of our end.
const shutTimeout = time.Second

// thread keeps one link up.
type thread struct {
	*peer
	log *slog.Logger
}

// run makes links, one after the other, until ctx ends or another try is of no use.
func (t *thread) run(ctx context.Context) {
	var pace pace
	for {
		lived, err := t.link(ctx)
		if ctx.Err() != nil {
			return
		}
		if lived > 0 {
			pace.up(lived)
		}
		if final := t.final(err, lived > 0); final != nil {
			t.fail(ctx, final)
			return
		}
		pause := max(pace.next(), wanted(err))
		last := t.clean(err.Error())
		t.lastTry.Store(&last)
		t.logRetry(err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// wanted is the pause that a relay asked for, as far as we grant it.
func wanted(err error) time.Duration {
	if status, ok := errors.AsType[*handshake.StatusError](err); ok {
		return min(status.RetryAfter, maxPause)
	}
	return 0
}

// link makes one link and serves it to its end. lived is how long it was up, 0
// if it never was.
func (t *thread) link(ctx context.Context) (lived time.Duration, err error) {
	conn, dialect, err := t.connect(ctx)
	if err != nil {
		return 0, err
	}
	upAt := time.Now()
	err = t.serve(ctx, conn, dialect)
	return max(time.Since(upAt), 1), err
}

// errGoingAway is how a link ends for its thread that the relay takes no more
// on: what is open on it goes on.
var errGoingAway = errors.New("the relay is about to end, and takes no more on this link")

// serve carries streams over an authenticated connection, until it ends or the
// relay takes no more on it.
func (t *thread) serve(ctx context.Context, conn *ws.Conn, dialect string) error {
	l := &link{away: make(chan struct{})}
	l.Session = t.session(l, conn, dialect)
	t.links.add(l)
	t.log.Info("the link to the relay is up", "dialect", dialectName(dialect))
	ended := make(chan error, 1)
	t.group.Go(func() { ended <- t.runLink(ctx, l) })
	select {
	case err := <-ended:
		return err
	case <-l.away:
		t.links.remove(l)
		if t.o.NoReconnect {
			return <-ended // there will be no other: what is open has its time
		}
		return errGoingAway
	}
}

// session makes a session of a connection, in the dialect that was chosen.
func (t *thread) session(l *link, conn *ws.Conn, dialect string) wire.Session {
	cfg := wire.Config{
		UDPIdle: t.o.UDPIdle, Log: t.logWords, GoAway: func() { close(l.away) },
		Partners: func(n int) { t.log.Debug("the relay counts our partners", "count", n) },
	}
	if t.o.Role == Provider || t.o.Role == Either {
		cfg.Dial, cfg.UDP, cfg.Accept = t.o.Dial, t.o.UDP, t.o.Accept
	}
	if dialect == native.Subprotocol {
		return native.New(conn, true, cfg)
	}
	return linksocks.New(conn, cfg)
}

func dialectName(subprotocol string) string {
	if subprotocol == "" {
		return "linksocks"
	}
	return subprotocol
}

// runLink runs a link to its end. When ctx ends the relay is told first.
func (t *thread) runLink(ctx context.Context, l *link) error {
	running, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var closing sync.WaitGroup
	closing.Go(func() {
		select {
		case <-l.Done():
			return
		case <-ctx.Done():
		}
		l.Shut()
		select {
		case <-l.Done():
		case <-time.After(shutTimeout):
			cut()
		}
	})
	err := l.Run(running)
	t.links.remove(l)
	closing.Wait()
	if why := l.why.Load(); why != nil {
		err = *why
	}
	t.log.Info("the link to the relay has ended", "reason", t.reason(ctx, err))
	return err
}

func (t *thread) reason(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "this end closed it"
	}
	return t.clean(err.Error())
}
