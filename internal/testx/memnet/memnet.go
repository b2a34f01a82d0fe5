// Package memnet is a network in memory, for tests inside testing/synctest:
// stream connections with half-close, reset and deadlines, listeners by name,
// and faults that are switched while it runs. Nobody who waits in it holds a
// lock or sits in a system call, so that a bubble's clock goes on.
//
// It behaves as TCP does where the tests of a tunnel can tell the difference:
// buffers are bounded, a Close with bytes unread is a reset, and what a peer
// sent before its reset can still be read.
package memnet

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// defaultBuffer is how many bytes of one direction may be on their way or wait
// to be read. It is small, so that a writer soon notices that nobody reads.
const defaultBuffer = 64 << 10

// backlog is how many connections wait for Accept; more are refused.
const backlog = 128

// Network connects listeners and dialers, and has the faults of all its
// connections. A network made inside a bubble is used inside it alone.
type Network struct {
	mu        sync.Mutex // guards below, and the state of listeners and connections
	changed   *sync.Cond // anything changed, or a time that somebody waits for has come
	listeners map[string]*Listener
	conns     map[*Conn]struct{}
	buffer    int
	latency   time.Duration
	hole      bool
}

// New makes a network without faults.
func New() *Network {
	n := &Network{listeners: map[string]*Listener{}, conns: map[*Conn]struct{}{}, buffer: defaultBuffer}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// SetBuffer bounds what each direction of a connection holds, in bytes.
func (n *Network) SetBuffer(bytes int) { n.change(func() { n.buffer = bytes }) }

// SetLatency makes what is sent from now on, ends and resets included, take this
// long to arrive. Nothing overtakes what was sent before.
func (n *Network) SetLatency(d time.Duration) { n.change(func() { n.latency = d }) }

// BlackHole stops all traffic without a word: nothing arrives, ends and resets
// neither, and dialling waits. Nothing is lost: off lets everything go on.
func (n *Network) BlackHole(on bool) { n.change(func() { n.hole = on }) }

// Cut resets all connections at both ends, through a black hole too. What was on
// its way is lost.
func (n *Network) Cut() {
	n.change(func() {
		for c := range n.conns {
			c.in.cut = true
		}
	})
}

func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	n.changed.Broadcast()
}

// wakeAt makes all who wait look again at this time.
func (n *Network) wakeAt(t time.Time) *time.Timer {
	return time.AfterFunc(time.Until(t), func() { n.change(func() {}) })
}

// Listen accepts connections to a name. A taken name is syscall.EADDRINUSE.
func (n *Network) Listen(name string) (*Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[name] != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: addr(name), Err: syscall.EADDRINUSE}
	}
	l := &Listener{n: n, name: name}
	n.listeners[name] = l
	return l, nil
}

// Dial connects to a listener. Without one, or with a full one, the error is
// syscall.ECONNREFUSED.
func (n *Network) Dial(ctx context.Context, name string) (*Conn, error) {
	defer context.AfterFunc(ctx, func() { n.change(func() {}) })()
	n.mu.Lock()
	defer n.mu.Unlock()
	arrives := time.Now().Add(n.latency)
	defer n.wakeAt(arrives).Stop()
	for n.hole || time.Now().Before(arrives) {
		if ctx.Err() != nil {
			return nil, &net.OpError{Op: "dial", Net: "mem", Addr: addr(name), Err: ctx.Err()}
		}
		n.changed.Wait()
	}
	l := n.listeners[name]
	if l == nil || len(l.waiting) == backlog {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: addr(name), Err: syscall.ECONNREFUSED}
	}
	near, far := n.pairLocked(addr("dialer of "+name), addr(name))
	l.waiting = append(l.waiting, far)
	n.changed.Broadcast()
	return near, nil
}

// Pair makes a connection without a listener.
func (n *Network) Pair() (a, b *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pairLocked("a", "b")
}

func (n *Network) pairLocked(near, far addr) (a, b *Conn) {
	to, from := &half{n: n}, &half{n: n}
	a = &Conn{n: n, in: from, out: to, local: near, remote: far}
	b = &Conn{n: n, in: to, out: from, local: far, remote: near}
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	return a, b
}

// addr is the name of one end.
type addr string

func (addr) Network() string  { return "mem" }
func (a addr) String() string { return string(a) }

// Listener is a net.Listener whose connections are *Conn.
type Listener struct {
	n       *Network
	name    string
	waiting []*Conn
	closed  bool
}

// Accept waits for the next connection; after Close it fails with net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	for len(l.waiting) == 0 || l.closed {
		if l.closed {
			return nil, net.ErrClosed
		}
		l.n.changed.Wait()
	}
	c := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	return c, nil
}

// Close stops listening, and resets what was not accepted.
func (l *Listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	maps.DeleteFunc(l.n.listeners, func(_ string, other *Listener) bool { return other == l })
	for _, c := range l.waiting {
		c.abort = true
		c.closeLocked()
	}
	l.n.changed.Broadcast()
	return nil
}

// Addr is the listener's name.
func (l *Listener) Addr() net.Addr { return addr(l.name) }
