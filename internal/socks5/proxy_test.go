package socks5

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// reached is the answer to a client whose target was reached, from the greeting on.
var reached = replied(Succeeded)

// replied is what a client hears that may do without a password and asks for
// something.
func replied(r Reply) []byte { return []byte{5, 0, 5, byte(r), 0, 1, 0, 0, 0, 0, 0, 0} }

// start serves a client that says these bytes.
func start(t *testing.T, ctx context.Context, p *Proxy, m *pipe.Meter, says ...any) (*memnet.Conn, <-chan error) {
	t.Helper()
	client, server := memnet.New().Pair()
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, server, m) }()
	if _, err := client.Write(join(says...)); err != nil {
		t.Fatal(err)
	}
	return client, done
}

// hears wants a connection to say these bytes next.
func hears(t *testing.T, c io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("heard % x, %v; want % x", got[:n], err, want)
	}
}

// ends wants a connection to end in this way: nil stands for EOF.
func ends(t *testing.T, c io.Reader, want error) {
	t.Helper()
	if rest, err := io.ReadAll(c); len(rest) > 0 || !errors.Is(err, want) {
		t.Errorf("the end is %q, %v; want %v", rest, err, want)
	}
}

// to gives one stream to whoever dials.
func to(c pipe.Conn) func(context.Context, string, string) (pipe.Conn, error) {
	return func(context.Context, string, string) (pipe.Conn, error) { return c, nil }
}

// in fails every dial.
func in(err error) func(context.Context, string, string) (pipe.Conn, error) {
	return func(context.Context, string, string) (pipe.Conn, error) { return nil, err }
}

func TestConnectJoinsTheClientAndItsTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far, near := memnet.New().Pair()
		p := &Proxy{Dial: func(_ context.Context, network, address string) (pipe.Conn, error) {
			if network != "tcp" || address != "192.0.2.7:80" {
				t.Errorf("dialled %s %s", network, address)
			}
			return near, nil
		}}
		var m pipe.Meter
		client, done := start(t, t.Context(), p, &m, greetOpen, toIPv4, "early")
		hears(t, client, reached)
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		hears(t, far, []byte("early"))
		ends(t, far, nil)
		if _, err := far.Write([]byte("the answer")); err != nil {
			t.Fatal(err)
		}
		_ = far.Close()
		hears(t, client, []byte("the answer"))
		ends(t, client, nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if m.In.Load() != 5 || m.Out.Load() != 10 {
			t.Errorf("counted %d in and %d out", m.In.Load(), m.Out.Load())
		}
	})
}

func TestADialThatFailsIsAnsweredWithItsReason(t *testing.T) {
	t.Parallel()
	for reason, want := range map[site.Reason]Reply{
		site.Other:              GeneralFailure,
		site.Refused:            ConnectionRefused,
		site.HostUnreachable:    HostUnreachable,
		site.NetworkUnreachable: NetworkUnreachable,
		site.NameNotFound:       HostUnreachable,
		site.Denied:             NotAllowed,
		site.TimedOut:           TTLExpired,
	} {
		failed := &site.DialError{Reason: reason, Address: "192.0.2.7:80", Err: io.ErrNoProgress}
		for name, p := range map[string]*Proxy{"dial": {Dial: in(failed)}, "early": {DialEarly: in(failed)}} {
			synctest.Test(t, func(t *testing.T) {
				// What the client sent early must not cost it the answer.
				client, done := start(t, t.Context(), p, nil, greetOpen, toIPv4, "early")
				hears(t, client, replied(want))
				ends(t, client, nil)
				_ = client.Close()
				if err := <-done; !errors.Is(err, failed) {
					t.Errorf("%v, %s: Serve ended with %v", reason, name, err)
				}
			})
		}
	}
}

func TestADialIsBoundedInTime(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]time.Duration{0: 15 * time.Second, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p := &Proxy{DialTimeout: timeout, Dial: func(ctx context.Context, _, _ string) (pipe.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			begun := time.Now()
			client, done := start(t, t.Context(), p, nil, greetOpen, toIPv4)
			hears(t, client, replied(TTLExpired))
			if took := time.Since(begun); took != want {
				t.Errorf("it took %v, want %v", took, want)
			}
			_ = client.Close()
			<-done
		})
	}
}

func TestFastOpenAnswersAtOnceAndResetsWhenTheDialFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far, near := memnet.New().Pair()
		var lives context.Context
		p := &Proxy{DialEarly: func(ctx context.Context, _, _ string) (pipe.Conn, error) {
			lives = ctx
			return near, nil
		}}
		client, done := start(t, t.Context(), p, nil, greetOpen, toIPv4, "early")
		hears(t, client, reached)
		hears(t, far, []byte("early"))
		time.Sleep(time.Minute)
		if lives.Err() != nil {
			t.Errorf("the dial behind was ended: %v", lives.Err())
		}
		pipe.Reset(far)
		ends(t, client, syscall.ECONNRESET)
		if err := <-done; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Serve ended with %v", err)
		}
	})
}

func TestTheEndOfTheContextResetsTheClientWhateverItWaitsFor(t *testing.T) {
	t.Parallel()
	hangs := func(ctx context.Context, _, _ string) (pipe.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, c := range map[string]struct {
		p     *Proxy
		says  []byte
		hears []byte
	}{
		"the handshake":    {new(Proxy), []byte{5}, nil},
		"the dial":         {&Proxy{Dial: hangs}, join(greetOpen, toIPv4), []byte{5, 0}},
		"the client's end": {&Proxy{Dial: in(io.EOF)}, join(greetOpen, toIPv4), replied(GeneralFailure)},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			client, done := start(t, ctx, c.p, nil, c.says)
			hears(t, client, c.hears)
			synctest.Wait()
			begun := time.Now()
			cancel()
			if err := <-done; err == nil {
				t.Errorf("%s: Serve ended without an error", name)
			}
			if took := time.Since(begun); took != 0 {
				t.Errorf("%s: it took %v", name, took)
			}
			if _, err := io.ReadAll(client); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: the client sees %v", name, err)
			}
		})
	}
}

func TestTheEndOfTheContextResetsBothStreams(t *testing.T) {
	t.Parallel()
	for _, halfClosed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			far, near := memnet.New().Pair()
			client, done := start(t, ctx, &Proxy{Dial: to(near)}, nil, greetOpen, toIPv4)
			hears(t, client, reached)
			if halfClosed {
				_ = client.CloseWrite()
				ends(t, far, nil)
			}
			synctest.Wait()
			begun := time.Now()
			cancel()
			if err := <-done; !pipe.IsEnd(err) || err == nil {
				t.Errorf("Serve ended with %v", err)
			}
			ends(t, client, syscall.ECONNRESET)
			if _, err := far.Write([]byte("x")); err == nil {
				t.Error("the target's stream is open")
			}
			if !halfClosed {
				ends(t, far, syscall.ECONNRESET)
			}
			if took := time.Since(begun); took != 0 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestWhatIsNotServedIsAnsweredSo(t *testing.T) {
	t.Parallel()
	for command, name := range map[int]string{2: "BIND", 3: "UDP ASSOCIATE without UDP"} {
		synctest.Test(t, func(t *testing.T) {
			client, done := start(t, t.Context(), new(Proxy), nil, greetOpen, 5, command, 0, 1, 0, 0, 0, 0, 0, 0)
			hears(t, client, replied(CommandNotSupported))
			ends(t, client, nil)
			_ = client.Close()
			if err := <-done; !errors.Is(err, ErrNotServed) {
				t.Errorf("%s: Serve ended with %v", name, err)
			}
		})
	}
}

func TestConnectLeavesTheJoiningToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, near := memnet.New().Pair()
		client, server := memnet.New().Pair()
		if _, err := client.Write(join(greetOpen, toIPv4, "early")); err != nil {
			t.Fatal(err)
		}
		target, err := (&Proxy{Dial: to(near)}).Connect(t.Context(), server)
		if err != nil || target != near {
			t.Fatalf("got %v, %v", target, err)
		}
		hears(t, client, reached)
		hears(t, server, []byte("early"))
	})
}

func TestRefusedClientsAreCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says []byte
		want string
	}{
		{join(greetOpen), "socks_auth"},
		{join(greetAuth, auth("ann", "guess")), "socks_auth"},
		{[]byte("GET / HTTP/1.1\r\n\r\n"), "socks_version"},
		{[]byte{5}, "socks_timeout"},
		{join(greetAuth, auth("ann", "s3cret"), 5, 9, 0, 1, 192, 0, 2, 7, 0, 80), "socks_request"},
		{join(greetAuth, auth("ann", "s3cret"), 5, 1, 0, 3, 1, " ", 0, 80), "socks_request"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var events []string
			p := &Proxy{Server: *locked(), Count: func(event string) { events = append(events, event) }}
			client, done := start(t, t.Context(), p, nil, c.says)
			if err := <-done; err == nil {
				t.Errorf("%q is served", c.says)
			}
			if len(events) != 1 || events[0] != c.want {
				t.Errorf("%q: counted %q, want %s", c.says, events, c.want)
			}
			_ = client.Close()
		})
	}
}
