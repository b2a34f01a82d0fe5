//go:build unix

package socket

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pair gives both ends of a loopback connection.
func pair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	t.Cleanup(func() { near.Close() })
	far, err := ln.Accept()
	must(t, err)
	t.Cleanup(func() { far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestEveryByteArrivesInOrder(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"short": 100, "the longest short one": short, "long": short + 1} {
		a, b := pair(t)
		sent := noise(4 << 20)
		done := make(chan error, 1)
		go func() {
			w := NewWriter(a)
			for p := sent; len(p) > 0; {
				n := min(size, len(p))
				if m, err := w.Write(p[:n]); m != n || err != nil {
					done <- err
					return
				}
				p = p[n:]
			}
			done <- a.CloseWrite()
		}()
		got, err := io.ReadAll(NewReader(b))
		must(t, err)
		must(t, <-done)
		if !bytes.Equal(got, sent) {
			t.Errorf("%s: %d bytes of %d, or others", name, len(got), len(sent))
		}
		if n, err := NewReader(b).Read(nil); n != 0 || err != nil {
			t.Errorf("reading nothing gives %d, %v", n, err)
		}
	}
}

// Each turn is one wait and one read behind it, on either end.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	go func() {
		r, w := NewReader(b), NewWriter(b)
		for buf := make([]byte, 100); ; {
			n, err := r.Read(buf)
			if err != nil {
				b.Close()
				return
			}
			_, _ = w.Write(buf[:n])
		}
	}()
	r, w := NewReader(a), NewWriter(a)
	for i := range 1000 {
		sent := noise(100)[:1+i%100]
		_, err := w.Write(sent)
		must(t, err)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%x came back of %x, %v", got, sent, err)
		}
	}
}

// An error is the one that the connection itself would give.
func TestErrorsAreThoseOfTheConnection(t *testing.T) {
	t.Parallel()
	var buf [10]byte
	past := time.Unix(1, 0)
	for name, c := range map[string]struct {
		do   func(a, b *net.TCPConn) error
		want error
	}{
		"a read beyond its deadline": {func(a, _ *net.TCPConn) error {
			must(t, a.SetReadDeadline(past))
			_, err := NewReader(a).Read(buf[:])
			return err
		}, os.ErrDeadlineExceeded},
		"a read of what is closed": {func(a, _ *net.TCPConn) error {
			a.Close()
			_, err := NewReader(a).Read(buf[:])
			return err
		}, net.ErrClosed},
		"a read of what is closed meanwhile": {func(a, b *net.TCPConn) error {
			_, err := b.Write(buf[:1]) // the reader waits when it has this, or is about to
			must(t, err)
			ended, r := make(chan error), NewReader(a)
			go func() {
				_, err := r.Read(buf[:])
				ended <- err
				_, err = r.Read(buf[:])
				ended <- err
			}()
			must(t, <-ended)
			a.Close()
			return <-ended
		}, net.ErrClosed},
		"a read of what was reset": {func(a, b *net.TCPConn) error {
			must(t, b.SetLinger(0))
			b.Close()
			_, err := NewReader(a).Read(buf[:])
			return err
		}, syscall.ECONNRESET},
		"a write beyond its deadline": {func(a, _ *net.TCPConn) error {
			must(t, a.SetWriteDeadline(past))
			_, err := NewWriter(a).Write(buf[:])
			return err
		}, os.ErrDeadlineExceeded},
		"a write to what is closed": {func(a, _ *net.TCPConn) error {
			a.Close()
			_, err := NewWriter(a).Write(buf[:])
			return err
		}, net.ErrClosed},
		"a write behind the end": {func(a, _ *net.TCPConn) error {
			must(t, a.CloseWrite())
			_, err := NewWriter(a).Write(buf[:])
			return err
		}, syscall.EPIPE},
	} {
		a, b := pair(t)
		err := c.do(a, b)
		op, ok := err.(*net.OpError)
		if !ok || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
			continue
		}
		if verb, _, _ := strings.Cut(strings.TrimPrefix(name, "a "), " "); op.Op != verb || op.Net != "tcp" || op.Source == nil || op.Addr == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A peer that takes nothing holds a write up, for as long as the deadline says.
func TestAWriteWaitsForRoom(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	w := NewWriter(a)
	sum := 0
	must(t, a.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	for {
		n, err := w.Write(noise(short))
		if sum += n; err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		break
	}
	must(t, a.SetWriteDeadline(time.Time{}))
	done := make(chan error, 1)
	go func() {
		_, err := w.Write([]byte("the end"))
		done <- errors.Join(err, a.CloseWrite())
	}()
	got, err := io.ReadAll(NewReader(b))
	must(t, err)
	must(t, <-done)
	if len(got) != sum+7 || !bytes.HasSuffix(got, []byte("the end")) {
		t.Errorf("%d bytes came of %d", len(got), sum+7)
	}
}

// Or who only writes would keep the processor for as long as it likes.
func TestSomeWritesAreAnnounced(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	go func() { _, _ = io.Copy(io.Discard, b) }()
	w := NewWriter(a).(*writer)
	write := func(n int) {
		_, err := w.Write(noise(n))
		must(t, err)
	}
	for i := range 3 * announceEvery {
		if want := i % announceEvery; w.out.quiet != want {
			t.Fatalf("%d writes since one was announced, want %d", w.out.quiet, want)
		}
		write(10)
	}
	write(10)
	must(t, w.raw.Write(func(fd uintptr) bool {
		_, err := w.out.Write(fd, noise(short+1))
		must(t, err)
		return true
	}))
	if w.out.quiet != 0 {
		t.Error("a long write was not announced")
	}
}

func TestNothingIsAllocated(t *testing.T) {
	a, b := pair(t)
	w, r := NewWriter(a), NewReader(b)
	p := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		_, err := w.Write(p)
		must(t, err)
		_, err = io.ReadFull(r, p)
		must(t, err)
	}); n != 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}
