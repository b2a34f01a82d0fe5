package tunnel_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/adit-tunnel/adit/internal/testx/target"
	"github.com/adit-tunnel/adit/tunnel"
)

// ends are the two ends of a stream through a relay.
type ends struct{ user, provider net.Conn }

// between gives streams between two programs, as dial makes them.
func between(t *testing.T, dial func(*tunnel.Client) (net.Conn, error)) func() (ends, error) {
	t.Helper()
	url := startRelay(t)
	ln, err := dialRelay(t, url, "reverse-token").Listen()
	if err != nil {
		t.Fatal(err)
	}
	user := dialRelay(t, url, "connector-token")
	return func() (e ends, err error) {
		if e.user, err = dial(user); err != nil {
			return e, err
		}
		e.provider, err = ln.Accept()
		return e, err
	}
}

func plainly(c *tunnel.Client) (net.Conn, error) {
	return c.DialContext(context.Background(), "tcp", "some.name:80")
}

func early(c *tunnel.Client) (net.Conn, error) {
	return c.DialEarly(context.Background(), "tcp", "some.name:80", nil)
}

// What programs expect of a connection, by the tests that package net is held to.
func TestAStreamIsAConnection(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]func(*tunnel.Client) (net.Conn, error){"dialled": plainly, "dialled early": early} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := between(t, dial)
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				e, err := stream()
				return e.user, e.provider, func() { _, _ = e.user.Close(), e.provider.Close() }, err
			})
		})
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	stream := between(t, plainly)
	for _, said := range []string{"", "something"} {
		for range 100 {
			e, err := stream()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(e.provider, said); err != nil {
				t.Fatal(err)
			}
			var running sync.WaitGroup
			running.Go(func() {
				var err error
				for err == nil {
					_, err = e.user.Read(make([]byte, 1))
				}
				wantClosed(t, "read", err)
			})
			running.Go(func() {
				var err error
				for err == nil { // until no credit is left, and then the Close
					_, err = e.user.Write(make([]byte, 100<<10))
				}
				wantClosed(t, "write", err)
			})
			if err := e.user.Close(); err != nil {
				t.Error(err)
			}
			running.Wait()
			_ = e.provider.Close()
		}
	}
}

// wantClosed wants an error to say that this end closed the connection, as those
// of a TCP connection do.
func wantClosed(t *testing.T, what string, err error) {
	t.Helper()
	if _, ok := errors.AsType[*net.OpError](err); !ok || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestAClosedStreamTakesAndGivesNothing(t *testing.T) {
	t.Parallel()
	e, err := between(t, plainly)()
	if err != nil {
		t.Fatal(err)
	}
	defer e.provider.Close()
	if _, err := io.WriteString(e.provider, "something"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(e.user, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if err := e.user.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := e.user.Read(make([]byte, 10))
	if n > 0 {
		t.Errorf("read %d bytes", n)
	}
	wantClosed(t, "read", err)
	_, err = e.user.Write([]byte("x"))
	wantClosed(t, "write", err)
	wantClosed(t, "close", e.user.Close())
	wantClosed(t, "close write", e.user.(tunnel.Conn).CloseWrite())
	wantClosed(t, "deadline", e.user.SetDeadline(time.Now()))
}

// As web servers end a connection.
func TestWhatWasWrittenArrivesBehindACloseWriteAndAClose(t *testing.T) {
	t.Parallel()
	e, err := between(t, plainly)()
	if err != nil {
		t.Fatal(err)
	}
	words := make([]byte, 50<<10) // less than the other side may be sent before it reads
	if _, err := rand.Read(words); err != nil {
		t.Fatal(err)
	}
	if _, err := e.provider.Write(words); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.provider.(tunnel.Conn).CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	if err := e.provider.Close(); err != nil {
		t.Error(err)
	}
	// Whatever else the Close says has arrived when this has come back.
	other, err := e.user.Write([]byte("still heard"))
	if other == 0 || err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(iotest.OneByteReader(e.user))
	if err != nil || !bytes.Equal(got, words) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(words), err)
	}
	_ = e.user.Close()
}

// The race detector must see nothing wrong in a program that ends so.
func TestStreamsMayBeClosedWhileTheClientIs(t *testing.T) {
	t.Parallel()
	url := startRelay(t)
	provider := dialRelay(t, url, "reverse-token")
	ln, err := provider.Listen()
	if err != nil {
		t.Fatal(err)
	}
	user := dialRelay(t, url, "connector-token")
	var running sync.WaitGroup
	for range 20 {
		conn, err := user.DialContext(t.Context(), "tcp", "some.name:80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ln.Accept(); err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	if err := user.Close(); err != nil {
		t.Error(err)
	}
	running.Wait()
}

func TestWhyATargetIsNotReachedIsToldAsNetTellsIt(t *testing.T) {
	t.Parallel()
	url := startRelay(t)
	c := dialRelay(t, url, "forward-token")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := closed.Addr().String()
	_ = closed.Close()

	_, err = c.DialContext(t.Context(), "tcp", at)
	if !errors.Is(err, syscall.ECONNREFUSED) || isTimeout(err) {
		t.Errorf("dial: %v", err)
	}
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" || op.Addr.String() != at {
		t.Errorf("dial: %#v", err)
	}
	conn, err := c.DialEarly(t.Context(), "tcp", at, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "read" || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("read: %v", err)
	}
	_, err = c.DialContext(t.Context(), "tcp", "169.254.169.254:80") // which relays refuse
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("dial: %v", err)
	}

	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	nobody := dialRelay(t, url, "connector-token")
	for name, dial := range map[string]func() (net.Conn, error){
		"dial":       func() (net.Conn, error) { return nobody.DialContext(over, "tcp", "some.name:80") },
		"dial early": func() (net.Conn, error) { return nobody.DialEarly(over, "tcp", "some.name:80", nil) },
	} {
		if _, err := dial(); !errors.Is(err, context.DeadlineExceeded) || !isTimeout(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func TestEarlyDataWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	url := startRelay(t)
	ln, err := dialRelay(t, url, "reverse-token").Listen() // and nobody accepts, nor reads
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	user := dialRelay(t, url, "connector-token")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if conn, err := user.DialEarly(ctx, "tcp", "some.name:80", make([]byte, 64<<20)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a connection %v, %v", conn, err)
	}
}

func TestAStreamThatIsCutWasReset(t *testing.T) {
	t.Parallel()
	url := startRelay(t)
	provider := dialRelay(t, url, "reverse-token")
	ln, err := provider.Listen()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialRelay(t, url, "connector-token").DialContext(t.Context(), "tcp", "some.name:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := ln.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = provider.Close()
	_, err = conn.Read(make([]byte, 1))
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "read" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
}

// What waits is not read once the deadline has passed, and is not lost either.
func TestADeadlineEndsWhatIsAskedAndNotTheStream(t *testing.T) {
	t.Parallel()
	c := dialRelay(t, startRelay(t), "forward-token")
	conn, err := c.DialContext(t.Context(), "tcp", target.EchoServer(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("some bytes")); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(nil); n != 0 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if n, err := conn.Read(make([]byte, 9)); n != 0 || !isTimeout(err) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if n, err := conn.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 9)
	if _, err := io.ReadFull(conn, rest); err != nil || !bytes.Equal(append(first, rest...), []byte("some bytes")) {
		t.Errorf("read %q and %q, %v", first, rest, err)
	}
}
