package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// counting is a provider that dials nothing and counts what it is asked for.
func counting(n *atomic.Int64) wire.Config {
	return wire.Config{Dial: func(context.Context, string, string) (pipe.Conn, error) {
		n.Add(1)
		return nil, &site.DialError{Reason: site.Refused, Err: errors.New("counted")}
	}}
}

func TestProvidersTakeTurns(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	port := f.reverse("some-reverse-token").Port
	var asked [3]atomic.Int64
	for i := range asked {
		f.providerOf("some-reverse-token", uuid.New(), counting(&asked[i]))
	}
	for range 30 {
		if reply := replyTo(t, port, "target:80"); reply != 5 {
			t.Fatalf("reply %d", reply)
		}
	}
	for i := range asked {
		if n := asked[i].Load(); n != 10 {
			t.Errorf("provider %d was asked %d times of 30", i, n)
		}
	}
}

// socksInMemory asks for a target at a SOCKS port that has no socket.
func (f *fixture) socksInMemory(token, target string) (*memnet.Conn, byte) {
	f.t.Helper()
	near, far := f.net.Pair()
	p := f.hub.newPort(f.token(token), 1)
	f.hub.group.Go(func() { p.carry(far) })
	f.t.Cleanup(func() { _ = near.Close() })
	if !greet(f.t, near, nil) {
		f.t.Fatal("the port asks for a password")
	}
	reply, _ := request(f.t, near, 1, target)
	return near, reply
}

func TestASilentProviderIsNotPreferred(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		var asked atomic.Int64
		mute := f.guest("some-reverse-token", Reverse, uuid.New())
		synctest.Wait()
		whole := f.net
		f.net = memnet.New() // the mute one's network gets a fault of its own
		f.providerOf("some-reverse-token", uuid.New(), counting(&asked))
		whole.BlackHole(true)
		time.Sleep(doubtAfter + linksocksPing)
		for range 4 {
			if _, reply := f.socksInMemory("some-reverse-token", "target:80"); reply != 5 {
				t.Errorf("reply %d", reply)
			}
		}
		if asked.Load() != 4 {
			t.Errorf("the one that lives was asked %d times of 4", asked.Load())
		}
		whole.BlackHole(false)
		_ = mute.conn.Close()
	})
}

// linksocksPing is how often links are asked for signs of life.
const linksocksPing = 10 * time.Second

func TestAUserWaitsTenSecondsForAProvider(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		began := time.Now()
		if _, reply := f.socksInMemory("some-reverse-token", "target:80"); reply != 3 {
			t.Errorf("reply %d", reply)
		}
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("after %v", d)
		}
		if f.count("no_provider") != 1 {
			t.Error("nothing was counted")
		}
	})
}

func TestAUserIsServedByTheProviderThatComesLate(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		began := time.Now()
		var asked atomic.Int64
		late := time.AfterFunc(9*time.Second, func() {
			f.join("some-reverse-token", Reverse, uuid.New(), counting(&asked))
		})
		defer late.Stop()
		if _, reply := f.socksInMemory("some-reverse-token", "target:80"); reply != 5 {
			t.Errorf("reply %d", reply)
		}
		if d := time.Since(began); d != 9*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestAUserWhoMayNotWaitIsToldAtOnce(t *testing.T) {
	inMemory(t, Options{NoWait: true}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		began := time.Now()
		if _, reply := f.socksInMemory("some-reverse-token", "target:80"); reply != 3 || time.Since(began) != 0 {
			t.Errorf("reply %d after %v", reply, time.Since(began))
		}
		var asked atomic.Int64
		f.providerOf("some-reverse-token", uuid.New(), counting(&asked))
		if _, reply := f.socksInMemory("some-reverse-token", "target:80"); reply != 5 {
			t.Errorf("reply %d with a provider", reply)
		}
	})
}

func TestAConnectorWaitsForAProviderAsLongAsTold(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 20 * time.Second: 20 * time.Second, -1: 0} {
		t.Run(want.String(), func(t *testing.T) {
			inMemory(t, Options{ConnectorWait: wait}, func(t *testing.T, f *fixture) {
				f.autonomy("some-reverse-token")
				f.connector("some-connector-token", "some-reverse-token")
				began := time.Now()
				_, err := f.user("some-connector-token", Connector).Dial(t.Context(), "tcp", "target:80")
				if site.ReasonOf(err) != site.NetworkUnreachable || time.Since(began) != want {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
}

// A provider that takes a Connect and is lost before its answer gave no answer:
// another one is asked.
func TestALinkThatIsLostWhileItDialsIsNoAnswer(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		dying := f.guest("some-reverse-token", Reverse, uuid.New())
		synctest.Wait()
		go func() {
			<-dying.heard
			_ = dying.conn.Close()
		}()
		var asked atomic.Int64
		time.AfterFunc(time.Second, func() { f.join("some-reverse-token", Reverse, uuid.New(), counting(&asked)) })
		if _, reply := f.socksInMemory("some-reverse-token", "target:80"); reply != 5 || asked.Load() != 1 {
			t.Errorf("reply %d, the second was asked %d times", reply, asked.Load())
		}
	})
}

func TestAProviderThatDoesNotAnswerIsATimeOut(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		f.guest("some-reverse-token", Reverse, uuid.New())
		synctest.Wait()
		began := time.Now()
		if _, reply := f.socksInMemory("some-reverse-token", "target:80"); reply != 6 || time.Since(began) != reachTimeout {
			t.Errorf("reply %d after %v", reply, time.Since(began))
		}
		synctest.Wait()
		if n := f.hub.streams(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// endsWithError wants a connection that was sending to end within a second, and
// not cleanly.
func endsWithError(t testing.TB, what string, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(soon)))
	_, err := io.Copy(io.Discard, c)
	var late net.Error
	if err == nil || errors.As(err, &late) && late.Timeout() {
		t.Errorf("%s ended with %v", what, err)
	}
}

func TestAProviderThatDiesEndsItsUsersConnections(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	address := target.Start(t)
	port := f.reverse("some-reverse-token").Port
	f.connector("some-connector-token", "some-reverse-token")
	provider := f.provider("some-reverse-token")
	connector := f.user("some-connector-token", Connector)
	byHand := f.guest("some-connector-token", Connector, uuid.New())
	channel := uuid.New()
	user, stream := through(t, port, address), connector.dial(t, address)
	for _, c := range []net.Conn{user, stream} {
		must(t, target.Echo(c, 100_000)) // and then nothing is said
	}
	host, port80, err := net.SplitHostPort(address)
	must(t, err)
	n, err := strconv.Atoi(port80)
	must(t, err)
	byHand.say(linksocks.Connect{Proto: linksocks.TCP, Channel: channel, Host: host, Port: uint16(n)})
	heardEnd := make(chan error, 1)
	go func() {
		for m := range byHand.heard {
			switch m := m.(type) {
			case *linksocks.ConnectResponse:
				provider.Close()
			case *linksocks.Disconnect:
				if m.Channel != channel || m.Cause == "" || m.Cause == "EOF" {
					heardEnd <- errors.New("told of an ordinary end: " + m.Cause)
				}
				heardEnd <- nil
				return
			}
		}
		heardEnd <- errors.New("the link ended")
	}()
	must(t, <-heardEnd)
	endsWithError(t, "the SOCKS user", user)
	endsWithError(t, "the connector's stream", stream)
	eventually(t, "nothing is left", func() bool { return f.hub.streams() == 0 })
}

func TestAConnectorThatDiesEndsTheProvidersConnections(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.autonomy("some-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	ended := make(chan error, 1)
	ln, _ := occupy(t, 0)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, err = io.Copy(io.Discard, c)
			_ = c.Close()
		}
		ended <- err
	}()
	provider := f.provider("some-reverse-token")
	connector := f.user("some-connector-token", Connector)
	connector.dial(t, ln.Addr().String())
	connector.leave()
	if !within(soon, func() bool { return len(ended) > 0 }) {
		t.Fatal("the target's connection lives on")
	}
	if err := <-ended; err == nil {
		t.Error("the target sees a clean end")
	}
	eventually(t, "the provider forgets the stream", func() bool { return provider.Streams() == 0 })
}
