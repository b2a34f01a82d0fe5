package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
)

var (
	_ pipe.Conn    = (*Conn)(nil)
	_ net.Listener = (*Listener)(nil)
)

// must fails the test for any error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := c.Write([]byte(text))
	must(t, err)
}

// read wants exactly these bytes.
func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// fails wants the next read to end with this error.
func fails(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
		t.Fatalf("read %d, %v, want %v", n, err, want)
	}
}

// took wants f to take exactly this long.
func took(t *testing.T, want time.Duration, f func()) {
	t.Helper()
	begun := time.Now()
	f()
	if d := time.Since(begun); d != want {
		t.Errorf("it took %v, want %v", d, want)
	}
}

func TestEveryByteArrivesThroughASmallBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		n.SetBuffer(100)
		a, b := n.Pair()
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1000)
		go func() { a.Write(sent); a.CloseWrite() }()
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
		}
		write(t, b, "the reply after the half-close")
		must(t, b.Close())
		if got, err := io.ReadAll(a); err != nil || string(got) != "the reply after the half-close" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestAListenerIsFoundByItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, err := n.Listen("ssh:22")
		must(t, err)
		if _, err := n.Listen("ssh:22"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listening twice: %v", err)
		}
		if _, err := n.Dial(t.Context(), "ssh:23"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		a, err := n.Dial(t.Context(), "ssh:22")
		must(t, err)
		waiting, err := n.Dial(t.Context(), "ssh:22")
		must(t, err)
		b, err := l.Accept()
		must(t, err)
		write(t, a, "hello")
		read(t, b, "hello")

		must(t, l.Close())
		fails(t, waiting, syscall.ECONNRESET)
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accepting after Close: %v", err)
		}
		_, err = n.Listen("ssh:22")
		must(t, err)
	})
}

func TestCloseWakesAcceptReadAndWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, err := n.Listen("name")
		must(t, err)
		a, _ := n.Pair()
		ends := make(chan error, 3)
		go func() { _, err := l.Accept(); ends <- err }()
		go func() { _, err := a.Read(make([]byte, 1)); ends <- err }()
		go func() { _, err := a.Write(make([]byte, defaultBuffer+1)); ends <- err }()
		synctest.Wait()
		must(t, l.Close(), a.Close())
		for range 3 {
			if err := <-ends; !errors.Is(err, net.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		}
	})
}

func TestDeadlinesEndWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := New().Pair()
		must(t, a.SetDeadline(time.Now().Add(3*time.Second)))
		took(t, 3*time.Second, func() { fails(t, a, os.ErrDeadlineExceeded) })
		took(t, 0, func() {
			if _, err := a.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write after the deadline: %v", err)
			}
		})
		must(t, a.SetDeadline(time.Time{}), a.SetWriteDeadline(time.Now().Add(time.Second)))
		took(t, time.Second, func() {
			if n, err := a.Write(make([]byte, 2*defaultBuffer)); n != defaultBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("wrote %d, %v", n, err)
			}
		})
	})
}

func TestAResetIsSeenAfterWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := New().Pair()
		write(t, a, "half of an answ")
		pipe.Reset(a)
		read(t, b, "half of an answ")
		fails(t, b, syscall.ECONNRESET)
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestClosingWithBytesUnreadIsAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := New().Pair()
		write(t, a, "never read")
		must(t, b.Close())
		fails(t, a, syscall.ECONNRESET)
	})
}

func TestLatencyDelaysBytesAndEndsButNoneOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		n.SetLatency(3 * time.Second)
		a, b := n.Pair()
		write(t, a, "slow")
		n.SetLatency(time.Second)
		write(t, a, "fast")
		must(t, a.CloseWrite())
		took(t, 3*time.Second, func() { read(t, b, "slowfast") })
		took(t, 0, func() { fails(t, b, io.EOF) })
		pipe.Reset(b)
		took(t, time.Second, func() { fails(t, a, syscall.ECONNRESET) })

		_, err := n.Listen("name")
		must(t, err)
		took(t, time.Second, func() { _, err = n.Dial(t.Context(), "name") })
		must(t, err)
	})
}

func TestAReaderThatStopsBlocksTheWriterUntilItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := New().Pair()
		b.StopReading(true)
		var readers sync.WaitGroup
		readers.Go(func() { read(t, b, string(make([]byte, 3*defaultBuffer))) })
		done := make(chan error, 1)
		go func() { _, err := a.Write(make([]byte, 3*defaultBuffer)); done <- err }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the write ended: %v", err)
		default:
		}
		write(t, b, "the other way flows")
		read(t, a, "the other way flows")
		b.StopReading(false)
		must(t, <-done)
		readers.Wait()
	})
}

func TestACutResetsBothEndsThroughABlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Pair()
		n.BlackHole(true)
		write(t, a, "lost")
		n.Cut()
		fails(t, a, syscall.ECONNRESET)
		fails(t, b, syscall.ECONNRESET)
	})
}

func TestNothingLeavesABlackHoleUntilItIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Pair()
		c, d := n.Pair()
		n.BlackHole(true)
		write(t, a, "late") // a buffer takes it
		must(t, a.CloseWrite())
		pipe.Reset(c)
		for _, end := range []*Conn{b, d} {
			must(t, end.SetReadDeadline(time.Now().Add(time.Hour)))
			fails(t, end, os.ErrDeadlineExceeded)
			must(t, end.SetReadDeadline(time.Time{}))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		took(t, time.Minute, func() {
			if _, err := n.Dial(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("dial: %v", err)
			}
		})
		n.BlackHole(false)
		read(t, b, "late")
		fails(t, b, io.EOF)
		fails(t, d, syscall.ECONNRESET)
	})
}

// The copy loop of the product treats these connections as it treats TCP.
func TestJoinRunsOverIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, nearA := n.Pair()
		nearB, b := n.Pair()
		joined := make(chan error, 1)
		go func() { joined <- pipe.Join(nearA, nearB, nil) }()
		write(t, a, "question")
		must(t, a.CloseWrite())
		read(t, b, "question")
		fails(t, b, io.EOF)
		write(t, b, "answer")
		pipe.Reset(b)
		read(t, a, "answer")
		fails(t, a, syscall.ECONNRESET)
		if err := <-joined; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Join: %v", err)
		}
	})
}
