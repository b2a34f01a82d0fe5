package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

func TestTheSOCKSPortOpensWithTheFirstLinkUnlessToldNotToWait(t *testing.T) {
	t.Parallel()
	for _, nowait := range []bool{false, true} {
		inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
			r.set(func(m *manner) { m.status = 503 })
			o.NoWait = nowait
			p := start(t, o)
			time.Sleep(time.Minute)
			synctest.Wait()
			c, err := n.Dial(t.Context(), "socks")
			if listening := err == nil; listening != nowait || len(p.ready) == 1 != nowait {
				t.Errorf("listening is %v without a link, told not to wait: %v", listening, nowait)
			}
			if err == nil {
				_ = c.Close()
			}
			r.set(func(m *manner) { m.status = 0 })
			time.Sleep(time.Minute)
			if got := len(p.ready); got != 1 {
				t.Errorf("ready %d times", got)
			}
		})
	}
}

func TestASOCKSClientWaitsTenSecondsForALink(t *testing.T) {
	t.Parallel()
	for _, fast := range []bool{false, true} {
		inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
			r.set(func(m *manner) { m.status = 503 })
			o.NoWait, o.FastOpen = true, fast
			p := start(t, o)
			<-p.ready
			began := time.Now()
			for _, command := range []byte{1, 3} {
				c, err := n.Dial(t.Context(), "socks")
				if err != nil {
					t.Fatal(err)
				}
				reply, _, err := ask(c, command, "any", 80)
				if took := time.Since(began); err != nil || reply != 3 || took != linkWait {
					t.Errorf("command %d: reply %d, %v, after %v", command, reply, err, took)
				}
				_ = c.Close()
				began = time.Now()
			}
		})
	}
}

func TestASOCKSClientThatWaitsIsServedWhenALinkComesUp(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		var group sync.WaitGroup
		r.set(func(m *manner) { m.config.Dial = echo(n, &group) })
		o.NoWait = true
		n.SetLatency(time.Second) // so that the first link takes a while
		p := start(t, o)
		<-p.ready
		if len(r.up) != 0 {
			t.Fatal("the link is up already")
		}
		memThrough(t, n)
		_ = p.stop()
		group.Wait()
	})
}

func TestWhyTheRelayDidNotDialIsTheReply(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		r.set(func(m *manner) {
			m.config.Dial = func(_ context.Context, _, address string) (pipe.Conn, error) {
				return nil, &site.DialError{Reason: site.Refused, Address: address, Err: errAsked}
			}
		})
		p := start(t, o)
		<-p.ready
		c, err := n.Dial(t.Context(), "socks")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if reply, _, err := ask(c, 1, "any", 80); err != nil || reply != 5 {
			t.Errorf("reply %d, %v", reply, err)
		}
	})
}

func TestFastOpenAnswersBeforeTheTargetIsReached(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		r.set(func(m *manner) {
			m.config.Dial = func(ctx context.Context, _, address string) (pipe.Conn, error) {
				<-ctx.Done()
				return nil, &site.DialError{Reason: site.TimedOut, Address: address, Err: ctx.Err()}
			}
		})
		o.FastOpen = true
		p := start(t, o)
		<-p.ready
		c, err := n.Dial(t.Context(), "socks")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began := time.Now()
		if reply, _, err := ask(c, 1, "any", 80); err != nil || reply != 0 || time.Since(began) != 0 {
			t.Errorf("reply %d, %v, after %v", reply, err, time.Since(began))
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || time.Since(began) > 11*time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(began))
		}
	})
}

func TestTheSOCKSPortAsksForItsPassword(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		o.SOCKS.Username, o.SOCKS.Password = "u", redact.New("p")
		p := start(t, o)
		<-p.ready
		c, err := n.Dial(t.Context(), "socks")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if reply, _, err := ask(c, 1, "any", 80); err == nil {
			t.Errorf("without a password the reply is %d", reply)
		}
	})
}

func TestASOCKSPortThatCannotBeOpenedIsTheEnd(t *testing.T) {
	t.Parallel()
	known := &api.Error{Code: api.CodeInvalid, Message: "known"}
	for code, cause := range map[api.Code]error{
		api.CodeListenInUse:  &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE},
		api.CodeListenDenied: errAsked,
		api.CodeInvalid:      known,
	} {
		r := hostRelay(t)
		o := client(r)
		o.Listen = func(context.Context) (pipe.Listener, error) { return nil, cause }
		p := start(t, o)
		<-p.ended
		if e, ok := errors.AsType[*api.Error](p.err); !ok || e.Code != code || len(p.ready) != 0 {
			t.Errorf("ended with %v", p.err)
		}
	}
}

func TestAnErrorOfReadyIsTheEnd(t *testing.T) {
	t.Parallel()
	r := hostRelay(t)
	for _, o := range []Options{client(r), provider(r)} {
		o.Ready = func(net.Addr) error { return errAsked }
		p := start(t, o)
		<-p.ended
		if !errors.Is(p.err, errAsked) {
			t.Errorf("ended with %v", p.err)
		}
	}
}

// poorListener runs out of file descriptors for a while, and is then closed.
type poorListener struct {
	memListener
	left, asked int
}

func (l *poorListener) Accept() (pipe.Conn, error) {
	l.asked++
	if l.left--; l.left >= 0 {
		return nil, syscall.EMFILE
	}
	return nil, net.ErrClosed
}

func TestAcceptPausesWhenTheSystemHasNoMore(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		listen := o.Listen
		poor := &poorListener{left: 30}
		o.Listen = func(ctx context.Context) (pipe.Listener, error) {
			ln, err := listen(ctx)
			poor.memListener = ln.(memListener)
			return poor, err
		}
		began := time.Now()
		p := start(t, o)
		<-p.ended
		if took := time.Since(began); took < 20*time.Second || poor.asked != 31 {
			t.Errorf("asked %d times in %v", poor.asked, took)
		}
		if e, ok := errors.AsType[*api.Error](p.err); !ok || e.Code != api.CodeListenDenied {
			t.Errorf("ended with %v", p.err)
		}
	})
}
