package wire_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/testx/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is far more than anything here takes.
const patience = 30 * time.Second

// connected gives both ends of a TCP connection over the wire, the left one dialled.
func connected(t *testing.T, w *wire.Wire) (left, right *net.TCPConn) {
	t.Helper()
	ln := listening(t, w.Right)
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	left = dialled(t, w.Left, ln.Addr().String())
	c, ok := <-accepted
	if !ok {
		t.Fatal("nothing was accepted")
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return left, c.(*net.TCPConn)
}

func listening(t *testing.T, at *wire.End) (ln net.Listener) {
	t.Helper()
	err := at.Do(func() (err error) {
		ln, err = net.Listen("tcp", at.Addr.String()+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func dialled(t *testing.T, from *wire.End, address string) *net.TCPConn {
	t.Helper()
	var c net.Conn
	err := from.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", address, patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// trip is how long a byte takes there and back.
func trip(t *testing.T, there, back *net.TCPConn) time.Duration {
	t.Helper()
	start := time.Now()
	var b [1]byte
	for _, c := range []struct{ from, to *net.TCPConn }{{there, back}, {back, there}} {
		if _, err := c.from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.to, b[:]); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(start)
}

// quickest is the shortest of several round trips: a busy machine makes single ones longer.
func quickest(t *testing.T, there, back *net.TCPConn) time.Duration {
	t.Helper()
	least := patience
	for range 5 {
		least = min(least, trip(t, there, back))
	}
	return least
}

func TestARoundTripTakesTheDelayTwice(t *testing.T) {
	w := wire.For(t, wire.Conditions{Delay: 20 * time.Millisecond})
	there, back := connected(t, w)
	if took := quickest(t, there, back); took < 40*time.Millisecond || took > 80*time.Millisecond {
		t.Errorf("a round trip takes %v, with a delay of 20ms", took)
	}
	w.Set(wire.Conditions{})
	if took := quickest(t, there, back); took > 30*time.Millisecond {
		t.Errorf("a round trip takes %v, with no delay any more", took)
	}
}

func TestBytesArriveAsTheyWereSentThoughPacketsAreLost(t *testing.T) {
	w := wire.For(t, wire.Conditions{Delay: time.Millisecond, Loss: 0.01})
	there, back := connected(t, w)
	sent := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{1}).Read(sent)
	written := make(chan error, 1)
	go func() {
		_, err := there.Write(sent)
		written <- errors.Join(err, there.CloseWrite())
	}()
	got := sha256.New()
	n, err := io.Copy(got, back)
	if err := errors.Join(err, <-written); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(sent); n != int64(len(sent)) || !bytes.Equal(got.Sum(nil), want[:]) {
		t.Errorf("%d bytes arrived of %d, or other ones", n, len(sent))
	}
	forth, _ := w.Stats()
	if forth.Lost == 0 || forth.Bytes < int64(len(sent)) {
		t.Errorf("with a loss of 1 %%: %+v", forth)
	}
}

func TestACutWireCarriesNothingThatWay(t *testing.T) {
	w := wire.For(t, wire.Conditions{})
	there, back := connected(t, w)
	w.Cut(wire.RightToLeft)
	for _, c := range []*net.TCPConn{there, back} {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	var b [1]byte
	if _, err := io.ReadFull(back, b[:]); err != nil {
		t.Fatalf("the way that is not cut: %v", err)
	}
	there.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := there.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the way that is cut: %v", err)
	}
	w.Mend(wire.RightToLeft)
	there.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(there, b[:]); err != nil {
		t.Fatalf("mended: %v", err)
	}
	if _, forth := w.Stats(); forth.Cut == 0 {
		t.Errorf("nothing is counted: %+v", forth)
	}
}

func TestARateHoldsBack(t *testing.T) {
	w := wire.For(t, wire.Conditions{Rate: 2e6})
	there, back := connected(t, w)
	written := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := there.Write(make([]byte, 1e6))
		written <- err
	}()
	_, err := io.ReadFull(back, make([]byte, 1e6))
	if err := errors.Join(err, <-written); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("1 MB at 2 MB/s took %v, of which the queue hides 200ms at most", took)
	}
}

func TestAProcessStartedAtAnEndIsThere(t *testing.T) {
	w := wire.For(t, wire.Conditions{})
	seen := func(at *wire.End) string {
		var out []byte
		err := at.Do(func() (err error) {
			out, err = exec.Command("cat", "/proc/self/net/fib_trie").Output()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, at := range []*wire.End{w.Left, w.Right} {
		if got := seen(at); !strings.Contains(got, at.Addr.String()+"\n           /32 host LOCAL") {
			t.Errorf("%v is no address of the process's:\n%s", at.Addr, got)
		}
	}
	if out, err := exec.Command("cat", "/proc/self/net/fib_trie").Output(); err != nil || strings.Contains(string(out), w.Left.Addr.String()) {
		t.Errorf("what is started afterwards is there too: %v\n%s", err, out)
	}
}
