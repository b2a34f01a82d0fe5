package test

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/testx/target"
	"github.com/adit-tunnel/adit/internal/testx/wire"
)

const roundTrip = 100 * time.Millisecond

// longWay is a relay and its client with a wire between them.
type longWay struct {
	*wire.Wire
	client proxy // on the left
}

// newLongWay runs a relay on the right and a client of it, with four lanes and
// early data, on the left.
func newLongWay(t *testing.T) *longWay {
	t.Helper()
	w := &longWay{Wire: wire.For(t, wire.Conditions{Delay: roundTrip / 2})}
	h := newHidden(t)
	relay := launchAt(t, w.Right.Do, exec.Command(program, "relay", "serve", "-H", w.Right.Addr.String(), "-P", "0", "-t", forwardToken, "-d", "-d"))
	h.watch(relay)
	client := launchAt(t, w.Left.Do, exec.Command(program, "relay", "client",
		"-u", "ws://"+relay.await(relay.stdout, relayReady)[1], "-t", forwardToken, "-p", "0", "--threads", "4", "--fast-open", "-d", "-d"))
	h.watch(client)
	w.client.address = client.await(client.stdout, socksReady)[1]
	return w
}

// connect has the client connect to an address on the right.
func (w *longWay) connect(address string) (c net.Conn, err error) {
	err = w.Left.Do(func() error {
		c, err = w.client.connect(address)
		return err
	})
	return c, err
}

// onTheRight starts something that listens there, and gives its address.
func (w *longWay) onTheRight(t *testing.T, start func() string) (address string) {
	t.Helper()
	if err := w.Right.Do(func() error { address = start(); return nil }); err != nil {
		t.Fatal(err)
	}
	return address
}

func TestStreamsOverALongWireThatLosesPacketsArriveWhole(t *testing.T) {
	t.Parallel()
	w := newLongWay(t)
	to := w.onTheRight(t, func() string { return target.Start(t) })
	w.Set(wire.Conditions{Delay: roundTrip / 2, Loss: 0.01})
	var all sync.WaitGroup
	for i := range 4 {
		for name, exchange := range map[string]func(net.Conn, int64) error{
			"download": target.Download, "upload": target.Upload, "half-close": target.HalfClose,
		} {
			all.Go(func() {
				c, err := w.connect(to)
				if err == nil {
					err = errors.Join(c.SetDeadline(time.Now().Add(time.Minute)), exchange(c, 1<<20-int64(i)), c.Close())
				}
				if err != nil {
					t.Errorf("%s %d: %v", name, i, err)
				}
			})
		}
	}
	all.Wait()
	there, back := w.Stats()
	if there.Lost == 0 || back.Lost == 0 {
		t.Errorf("the wire lost %d packets there and %d back", there.Lost, back.Lost)
	}
}

// Asked for one after the other, a connection and its first answer take two
// round trips. A machine may be busy, but not so that it takes less time.
func TestTheFirstBytesOfAnEarlyConnectionTakeOneRoundTrip(t *testing.T) {
	t.Parallel()
	w := newLongWay(t)
	to := w.onTheRight(t, func() string { return target.EchoServer(t) })
	best := time.Hour
	for range 10 {
		begun := time.Now()
		c, err := w.connect(to)
		if err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1)
		if _, err = c.Write([]byte("?")); err == nil {
			_, err = io.ReadFull(c, answer)
		}
		best = min(best, time.Since(begun))
		if err = errors.Join(err, c.Close()); err != nil || answer[0] != '?' {
			t.Fatalf("%q came back, %v", answer, err)
		}
	}
	if best < roundTrip || best > roundTrip*3/2 {
		t.Errorf("the first byte came back after %v, the way there and back takes %v", best, roundTrip)
	}
}

// A wire that is cut says nothing. Each end finds out by itself, and mended, the
// client finds the relay again.
func TestAWireThatIsCutEndsStreamsOnBothSidesAndMendedItServesNewOnes(t *testing.T) {
	t.Parallel()
	w := newLongWay(t)
	const streams = 4
	far := make(chan error, streams)
	var to, next string
	to = w.onTheRight(t, func() string {
		return listen(t, func(c net.Conn) {
			_, err := c.Read(make([]byte, 1)) // what says 'E' to a target
			if err == nil {
				_, err = io.Copy(c, c)
			}
			far <- err
		})
	})
	next = w.onTheRight(t, func() string { return target.Start(t) })
	var transfers []*transfer
	for range streams {
		c, err := w.connect(to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Time{}) // a link may be silent for longer than our patience
		transfers = append(transfers, begin(t, c))
	}
	w.Cut(wire.BothWays)
	limit := time.After(link.DeadAfter + link.CheckInterval + 3*time.Second)
	for i, tr := range transfers {
		for side, ended := range map[string]<-chan error{"near": tr.ended, "far": far} {
			select {
			case err := <-ended:
				if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("stream %d came to a clean end on the %s side: %v", i, side, err)
				}
			case <-limit:
				t.Fatalf("stream %d goes on on the %s side", i, side)
			}
		}
	}
	w.Mend(wire.BothWays)
	if err := w.soonServes(next); err != nil {
		t.Errorf("after the wire was mended: %v", err)
	}
}

// soonServes demands that a new connection works before the patience ends.
func (w *longWay) soonServes(to string) error {
	for limit := time.Now().Add(patience); ; {
		c, err := w.connect(to)
		if err == nil {
			err = errors.Join(target.Echo(c, small), c.Close())
		}
		if err == nil || time.Now().After(limit) {
			return err
		}
	}
}
