package forward

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/sshsite"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// lineRig is a line whose tries are played, inside a synctest bubble, and the
// supervisor that it belongs to. Nothing of it touches the system's network.
type lineRig struct {
	t     *testing.T
	sup   *Supervisor
	line  *line
	begun time.Time

	mu    sync.Mutex // guards below
	code  api.Code   // what tries end with
	takes time.Duration
	tries []time.Duration // when each began
}

// withLine runs a test in a bubble. The first try begins when the test first
// lets time pass; it and the others take as long as this and end with code.
func withLine(t *testing.T, code api.Code, takes time.Duration, test func(t *testing.T, r *lineRig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		allowed, err := policy.New(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		binds, err := policy.NewBind(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &lineRig{t: t, begun: time.Now(), code: code, takes: takes}
		r.sup = New(context.Background(), Options{Here: new(site.Here), Policy: allowed, Binds: binds, Logger: slog.New(slog.DiscardHandler)})
		cfg := sshsite.Config{Owner: "u:1", Address: "192.0.2.1:22", User: "mole", Password: redact.New(password)}
		r.line = newLine(r.sup.ctx, cfg, r.sup.opts.Logger)
		r.line.dial = r.try
		r.sup.lines[cfg.Identity()] = r.line
		r.sup.running.Go(r.line.run)
		test(t, r)
		now, cancel := context.WithCancel(context.Background())
		cancel()
		r.sup.Close(now)
	})
}

// try plays one try.
func (r *lineRig) try(ctx context.Context, _ sshsite.Config) (*sshsite.Conn, error) {
	r.mu.Lock()
	r.tries = append(r.tries, time.Since(r.begun))
	code, takes := r.code, r.takes
	r.mu.Unlock()
	select {
	case <-time.After(takes):
		return nil, &api.Error{Code: code, Message: fmt.Sprintf("played: %s", code)}
	case <-ctx.Done():
		return nil, &api.Error{Code: api.CodeTimeout, Message: "timed out", Err: ctx.Err()}
	}
}

// begins gives when the tries so far began.
func (r *lineRig) begins() []time.Duration {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tries)
}

func (r *lineRig) wantTries(want ...time.Duration) {
	r.t.Helper()
	if got := r.begins(); !slices.Equal(got, want) {
		r.t.Errorf("tries at %v, want %v", got, want)
	}
}

// spec is a forward over the rig's line.
func (r *lineRig) spec(id string) Spec {
	return Spec{ID: id, Name: id, Type: Local, Listen: "127.0.0.1:0", Deliver: "192.0.2.2:80", Server: r.line.cfg}
}

func TestALineTriesAgainAtTheTimeItTells(t *testing.T) {
	withLine(t, api.CodeConnectRefused, 0, func(t *testing.T, r *lineRig) {
		for i := range 30 {
			synctest.Wait()
			v := r.line.view()
			if v.conn != nil || v.err == nil || v.tries != uint64(i+1) {
				t.Fatalf("after try %d: %+v", i+1, v)
			}
			wait := time.Until(v.retryAt)
			if bound := min(30*time.Second, 500*time.Millisecond<<min(i, 10)); wait <= 0 || wait > bound {
				t.Fatalf("after try %d: the next in %v, want at most %v", i+1, wait, bound)
			}
			time.Sleep(wait)
			if begun := r.begins(); len(begun) != i+2 || begun[i+1] != time.Since(r.begun) {
				t.Fatalf("after try %d: tries at %v, and it is %v", i+1, begun, time.Since(r.begun))
			}
		}
	})
}

func TestALineThatAPersonMustMendTriesSlowly(t *testing.T) {
	withLine(t, api.CodeHostKeyChanged, 0, func(t *testing.T, r *lineRig) {
		time.Sleep(3 * time.Hour)
		r.wantTries(0, time.Minute, 6*time.Minute, 21*time.Minute, 81*time.Minute, 141*time.Minute)
	})
}

func TestAKickTriesAtOnceAndBeginsTheSlowPaceAgain(t *testing.T) {
	withLine(t, api.CodeAuthFailed, 0, func(t *testing.T, r *lineRig) {
		time.Sleep(2 * time.Minute) // the next try would be at 6 minutes, and then one at 21
		if n := r.line.tryNow(); n != 3 {
			t.Errorf("try %d answers, want 3", n)
		}
		r.wantTries(0, time.Minute, 2*time.Minute)
		if v := r.line.view(); v.tries != 3 {
			t.Errorf("%d tries have ended", v.tries)
		}
		time.Sleep(19 * time.Minute)
		r.wantTries(0, time.Minute, 2*time.Minute, 3*time.Minute, 8*time.Minute)
	})
}

func TestKicksDuringATryAreThatTry(t *testing.T) {
	withLine(t, api.CodeAuthFailed, 3*time.Second, func(t *testing.T, r *lineRig) {
		for range 3 {
			time.Sleep(time.Second - 1)
			if n := r.line.tryNow(); n != 1 {
				t.Errorf("try %d answers, want 1", n)
			}
		}
		time.Sleep(time.Minute)
		r.wantTries(0)
	})
}

func TestAnEditGivesUpTheTryUnderWayAndItsOutcomeIsNotTold(t *testing.T) {
	withLine(t, api.CodeHostKeyChanged, 5*time.Second, func(t *testing.T, r *lineRig) {
		time.Sleep(2 * time.Second)
		r.line.tryAfresh(time.Now())
		r.wantTries(0, 2*time.Second)
		if v := r.line.view(); v.tries != 0 || v.err != nil {
			t.Errorf("%d tries are told, and %v", v.tries, v.err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if v := r.line.view(); v.tries != 1 || codeOf(v.err) != api.CodeHostKeyChanged || time.Until(v.retryAt) != time.Minute {
			t.Errorf("%+v", v)
		}
		time.Sleep(time.Second)
		r.line.tryAfresh(time.Now()) // none is under way: it is a kick
		r.wantTries(0, 2*time.Second, 8*time.Second)
	})
}

func TestATryThatSomebodyWaitsForIsShorter(t *testing.T) {
	withLine(t, api.CodeAuthFailed, time.Hour, func(t *testing.T, r *lineRig) {
		lasts := func(want time.Duration) {
			t.Helper()
			n := len(r.begins())
			time.Sleep(want - 1)
			synctest.Wait()
			if v := r.line.view(); v.tries != uint64(n-1) {
				t.Errorf("try %d was given up too soon", n)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if v := r.line.view(); v.tries != uint64(n) {
				t.Errorf("try %d goes on after %v", n, want)
			}
		}
		lasts(7 * time.Second) // a line is made because somebody wants it
		time.Sleep(time.Until(r.line.view().retryAt))
		lasts(20 * time.Second)
		r.line.tryNow()
		lasts(7 * time.Second)
	})
}

// slowLog takes its time, so that a connection is up for so long.
type slowLog struct {
	slog.Handler
	takes time.Duration
}

func (l slowLog) Enabled(context.Context, slog.Level) bool { return true }

func (l slowLog) Handle(context.Context, slog.Record) error {
	time.Sleep(l.takes)
	return nil
}

func TestOnlyAStableMinuteForgetsTheFailuresBefore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	conn, err := sshsite.Dial(t.Context(), f.spec(Local, "").Server)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close() // lost, when the line comes to look
	for lived, want := range map[time.Duration]pace{
		0:               {fast: 4, slow: 2},
		time.Minute - 1: {fast: 4, slow: 2},
		time.Minute:     {},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLine(t.Context(), sshsite.Config{}, slog.New(slowLog{takes: lived}))
			p := pace{fast: 4, slow: 2}
			l.hold(conn, &p)
			if p != want {
				t.Errorf("after %v: %+v, want %+v", lived, p, want)
			}
			if v := l.view(); v.conn != conn || v.tries != 1 || v.err != nil || !v.retryAt.IsZero() {
				t.Errorf("the view while it was up: %+v", v)
			}
			l.stop()
		})
	}
}

func TestTunnelsThatShareALineShareEachTry(t *testing.T) {
	withLine(t, api.CodeAuthFailed, time.Second, func(t *testing.T, r *lineRig) {
		const tunnels = 10
		ids := make([]string, tunnels)
		for i := range ids {
			ids[i] = fmt.Sprint("f", i)
			if err := r.sup.Do(t.Context(), ids[i], func(tunnel *Tunnel) error { tunnel.Restart(r.spec(ids[i]), time.Time{}); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		all := func(state State) {
			t.Helper()
			synctest.Wait()
			retryAt := r.line.view().retryAt
			for _, id := range ids {
				st := r.sup.Status(id)
				if st.State != state {
					t.Errorf("%s is %s, want %s", id, st.State, state)
				}
				if state == Failed && (st.LastError.Code != api.CodeAuthFailed || !st.NextRetry.Equal(retryAt) || st.TunnelID != "" || st.BoundPort != 0) {
					t.Errorf("%s: %+v", id, st)
				}
			}
		}
		all(Starting)
		time.Sleep(time.Second)
		all(Failed)
		time.Sleep(2 * time.Hour)
		all(Failed)
		const m, s = time.Minute, time.Second // each pace begins when the try before has ended
		r.wantTries(0, m+s, 6*m+2*s, 21*m+3*s, 81*m+4*s)
	})
}

func TestALineEndsWithItsLastTunnel(t *testing.T) {
	withLine(t, api.CodeAuthFailed, time.Second, func(t *testing.T, r *lineRig) {
		ids := []string{"f1", "f2", "f3"}
		do := func(id string, f func(*Tunnel)) {
			if err := r.sup.Do(t.Context(), id, func(tunnel *Tunnel) error { f(tunnel); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range ids {
			do(id, func(tunnel *Tunnel) { tunnel.Restart(r.spec(id), time.Time{}) })
		}
		for i, id := range ids {
			select {
			case <-r.line.done:
				t.Fatalf("the line has ended before %s was stopped", id)
			default:
			}
			if i == len(ids)-1 {
				time.Sleep(time.Minute + 3*time.Second/2) // a try under way must not hold up the last
			}
			do(id, (*Tunnel).Stop)
		}
		select {
		case <-r.line.done:
		default:
			t.Error("the line goes on without a tunnel")
		}
		if len(r.sup.lines) != 0 {
			t.Error("the line is still known")
		}
		r.wantTries(0, time.Minute+time.Second) // the second was given up
	})
}

func TestAConnectionThatWaitsForTheLinkIsClosedAfterEightSeconds(t *testing.T) {
	withLine(t, api.CodeConnectRefused, 0, func(t *testing.T, r *lineRig) {
		run := r.sup.newRun(r.spec("f1"))
		run.trial = true // so that it opens no listener ahead of its line
		r.sup.running.Go(run.drive)
		client, accepted := memnet.New().Pair()
		d := &door{slots: make(chan struct{}, 1)}
		d.slots <- struct{}{}
		run.admit(d, accepted)
		if n := run.status().Connections; n != 1 {
			t.Errorf("%d connections", n)
		}
		begun := time.Now()
		if _, err := io.ReadAll(client); err != syscall.ECONNRESET {
			t.Errorf("it ended with %v, want a reset", err)
		}
		if d := time.Since(begun); d != 8*time.Second {
			t.Errorf("it was kept for %v", d)
		}
		synctest.Wait()
		if n := run.status().Connections; n != 0 || len(d.slots) != 0 {
			t.Errorf("%d connections and %d slots are taken", n, len(d.slots))
		}
		run.end()
	})
}
