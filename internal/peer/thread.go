package peer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
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
	conn, err := t.connect(ctx)
	if err != nil {
		return 0, err
	}
	upAt := time.Now()
	err = t.serve(ctx, conn)
	return max(time.Since(upAt), 1), err
}

// serve carries streams over an authenticated connection, to its end.
func (t *thread) serve(ctx context.Context, conn *ws.Conn) error {
	l := &link{answers: make(chan linksocks.ConnectorResponse, 4)}
	cfg := linksocks.Config{Control: t.control(l), UDPIdle: t.o.UDPIdle}
	if t.o.Role == Provider {
		cfg.Dial, cfg.UDP = t.o.Dial, t.o.UDP
	}
	l.Session = linksocks.New(conn, cfg)
	running, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var closing sync.WaitGroup
	closing.Go(func() {
		select {
		case <-l.Done():
			return
		case <-ctx.Done():
		}
		l.Shut(ws.CodeGoingAway, "")
		select {
		case <-l.Done():
		case <-time.After(shutTimeout):
			cut()
		}
	})
	t.links.add(l)
	t.log.Info("the link to the relay is up")
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
