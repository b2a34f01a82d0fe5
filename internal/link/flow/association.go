package flow

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adit-tunnel/adit/internal/site"
)

const (
	// MaxDatagram is the longest payload of a UDP datagram.
	MaxDatagram = 65507
	// arrivedQueue is how many datagrams wait for their reader; more are lost.
	arrivedQueue = 64
)

// Wire is what an association needs of its link. Its methods do not wait for
// the network.
type Wire struct {
	// Send sends a datagram to the other end, and reports false for one that is
	// lost. On the end that opened the association the address is where it is
	// to go, on the other where it came from.
	Send func(p []byte, host string, port uint16) bool
	// Bye tells the other end that the association is over.
	Bye func()
	// Forget is called once, when it is.
	Forget func()
	// Count is told of what becomes of datagrams, as one of a few fixed words.
	Count func(event string)
}

// Association is one UDP association over a link. On the end that opened it, it
// is a site.Association; on the other, Serve exchanges its datagrams.
type Association struct {
	wire     Wire
	movedAt  atomic.Int64 // nanoseconds since 1970 of the last datagram
	answered chan error   // the peer's word, for who opened it
	came     chan datagram
	first    chan datagram // what Await took
	once     sync.Once
	ended    chan struct{}
	served   bool
	target   atomic.Pointer[site.Association] // on the end that serves it, once it is open
}

type datagram struct {
	payload []byte
	source  netip.AddrPort
}

// NewAssociation makes an association; served says that the peer opened it.
func NewAssociation(wire Wire, served bool) *Association {
	a := &Association{
		wire: wire, served: served, answered: make(chan error, 1), ended: make(chan struct{}),
		came: make(chan datagram, arrivedQueue), first: make(chan datagram, 1),
	}
	a.moved()
	return a
}

func (a *Association) moved() { a.movedAt.Store(time.Now().UnixNano()) }

// Served reports whether the peer opened the association.
func (a *Association) Served() bool { return a.served }

// IdleFor is how long nothing has moved.
func (a *Association) IdleFor(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - a.movedAt.Load())
}

// Opened waits for the peer's word. The error is a *site.DialError, but for
// net.ErrClosed: the link ended, or the peer gave it up.
func (a *Association) Opened(ctx context.Context) error {
	var err error
	select {
	case err := <-a.answered:
		return err
	case <-a.ended:
		err = net.ErrClosed
	case <-ctx.Done():
		err = &site.DialError{Reason: site.ReasonOf(ctx.Err()), Address: "udp", Err: ctx.Err()}
	}
	select {
	case err := <-a.answered: // a word that was given counts, whatever followed it
		return err
	default:
		return err
	}
}

// Answer is the peer's word on an association that this end opened.
func (a *Association) Answer(err error) {
	select {
	case a.answered <- err:
	default: // it has been heard already
	}
}

// Send implements site.Association.
func (a *Association) Send(p []byte, host string, port uint16) error {
	select {
	case <-a.ended:
		return net.ErrClosed
	default:
	}
	a.send(p, host, port)
	return nil
}

func (a *Association) send(p []byte, host string, port uint16) {
	if len(p) > MaxDatagram || !a.wire.Send(p, host, port) {
		a.wire.Count("udp_lost")
		return
	}
	a.moved()
}

// Arrived takes a datagram that the peer sent. It runs on the link's reading
// goroutine.
func (a *Association) Arrived(p []byte, host string, port uint16) {
	if len(p) > MaxDatagram { // no network gave it that
		a.wire.Count("udp_malformed")
		return
	}
	a.moved()
	if a.served {
		target := a.target.Load()
		if target == nil {
			a.wire.Count("udp_lost")
			return
		}
		if err := (*target).Send(p, host, port); err != nil {
			a.wire.Count("udp_unsent") // lost, like any that a network cannot deliver
		}
		return
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		a.wire.Count("udp_malformed")
		return
	}
	select {
	case a.came <- datagram{append([]byte(nil), p...), netip.AddrPortFrom(ip.Unmap(), port)}:
	default:
		a.wire.Count("udp_lost")
	}
}

// Await implements site.Association.
func (a *Association) Await() error {
	if len(a.first) > 0 {
		return nil
	}
	select {
	case d := <-a.came:
		a.first <- d
		return nil
	case <-a.ended:
		return net.ErrClosed
	}
}

// Receive implements site.Association.
func (a *Association) Receive(p []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-a.first:
		return copy(p, d.payload), d.source, nil
	default:
	}
	select {
	case d := <-a.came:
		return copy(p, d.payload), d.source, nil
	case <-a.ended:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// Close implements site.Association.
func (a *Association) Close() error {
	a.end(a.wire.Bye)
	return nil
}

// End ends the association; the peer is not told.
func (a *Association) End() { a.end(func() {}) }

func (a *Association) end(tell func()) {
	a.once.Do(func() {
		close(a.ended)
		tell()
		a.wire.Forget()
	})
}

// Serve opens the association for the peer, answers, and exchanges datagrams
// until it ends or ctx does. A peer that gives it up meanwhile is not told that
// it was opened. answer must send by the same way as Wire.Send, so that it is
// there first.
func (a *Association) Serve(ctx context.Context, open site.Associator, timeout time.Duration, answer func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		select {
		case <-a.ended:
			cancel()
		case <-ctx.Done():
			a.End()
		}
	})
	opening, stop := context.WithTimeout(ctx, timeout)
	target, err := open.Associate(opening)
	stop()
	if err != nil {
		answer(err)
		a.End()
		return
	}
	a.target.Store(&target)
	select {
	case <-a.ended:
		target.Close()
		return
	default:
	}
	answer(nil)
	running.Go(func() {
		<-a.ended
		target.Close()
	})
	for target.Await() == nil && a.carryOne(target) == nil {
	}
	a.Close()
}

var datagramBuffers = sync.Pool{New: func() any { return new([MaxDatagram]byte) }}

// carryOne sends the peer what a target says.
func (a *Association) carryOne(target site.Association) error {
	buf := datagramBuffers.Get().(*[MaxDatagram]byte)
	defer datagramBuffers.Put(buf)
	n, source, err := target.Receive(buf[:])
	if err == nil {
		a.send(buf[:n], source.Addr().Unmap().WithZone("").String(), source.Port())
	}
	return err
}
