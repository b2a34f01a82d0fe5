// Package wire joins two network namespaces by a wire whose delay, loss and
// rate can be changed while packets are on it, so that tests and benchmarks
// meet a long way without leaving the machine. Both ends are the kernel's own
// TCP and UDP on a TUN device each; every IP packet passes through this
// process, and the kernel's traffic shaping is not needed.
//
// The namespaces have no name. They last as long as something is in them or
// holds them open, so a process that is killed leaves nothing behind.
//
// It is for Linux, root, and a machine with /dev/net/tun; elsewhere Open
// returns ErrUnavailable with the reason.
package wire

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

var (
	leftAddr  = netip.MustParseAddr("10.99.0.1")
	rightAddr = netip.MustParseAddr("10.99.0.2")
)

// ErrUnavailable is why there can be no wire on this machine.
var ErrUnavailable = errors.New("no wire can be had here")

// Conditions are how a wire treats packets, the same both ways.
type Conditions struct {
	Delay time.Duration // one way; a round trip takes it twice
	Loss  float64       // the share of packets that vanish, 0 to 1
	Rate  int64         // bytes a second; 0 has no limit
}

// Direction is a way over the wire.
type Direction int

// The directions. They can be added up.
const (
	LeftToRight Direction = 1 << iota
	RightToLeft
	BothWays = LeftToRight | RightToLeft
)

// Wire is a pair of namespaces and what carries packets between them. Its
// methods may be called at any time and together.
type Wire struct {
	Left, Right *End

	line    line
	there   way // from left to right
	back    way
	done    chan struct{} // closed by Close
	carried sync.WaitGroup
}

// Open makes two namespaces and the wire between them. Close must follow.
func Open(c Conditions) (*Wire, error) {
	w := &Wire{done: make(chan struct{})}
	w.Set(c)
	var err error
	if w.Left, err = openEnd(leftAddr); err != nil {
		return nil, err
	}
	if w.Right, err = openEnd(rightAddr); err != nil {
		w.Left.close()
		return nil, err
	}
	w.join(&w.there, w.Left, w.Right)
	w.join(&w.back, w.Right, w.Left)
	return w, nil
}

// For opens a wire for a test, and closes it when the test is over. A test
// that cannot have one is skipped, which is a failure where CI is set: there,
// somebody counts on it.
func For(t testing.TB, c Conditions) *Wire {
	t.Helper()
	w, err := Open(c)
	switch {
	case errors.Is(err, ErrUnavailable) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// Set changes how packets are treated that are not on the wire yet.
func (w *Wire) Set(c Conditions) { w.line.set(c) }

// Cut drops what is sent these ways from now on, without a word to the sender.
func (w *Wire) Cut(d Direction) { w.cut(d, true) }

// Mend ends Cut.
func (w *Wire) Mend(d Direction) { w.cut(d, false) }

func (w *Wire) cut(d Direction, cut bool) {
	if d&LeftToRight != 0 {
		w.there.cut.Store(cut)
	}
	if d&RightToLeft != 0 {
		w.back.cut.Store(cut)
	}
}

// Stats tells what happened to the packets so far.
func (w *Wire) Stats() (leftToRight, rightToLeft Stats) { return w.there.stats(), w.back.stats() }

// Close takes the wire away, with what is on it, and returns when nothing of it
// runs. The namespaces go with the last process in them. It is called once.
func (w *Wire) Close() {
	close(w.done)
	w.Left.close()
	w.Right.close()
	w.carried.Wait()
}

// join carries packets one way until Close.
func (w *Wire) join(way *way, from, to *End) {
	queue := make(chan packet, queueLimit)
	w.carried.Go(func() {
		defer close(queue)
		way.take(&w.line, from.tun, queue)
	})
	w.carried.Go(func() { way.deliver(queue, to.tun, w.done) })
}
