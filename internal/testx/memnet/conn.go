package memnet

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// half is one direction of a connection. What is sent has a time at which it
// arrives, and arrives in order.
type half struct {
	n       *Network
	bytes   []chunk // sent and not yet read
	size    int
	last    time.Time // when the latest of what was sent arrives
	end     mark      // by CloseWrite or Close
	reset   mark      // by a reset of the sender
	cut     bool      // by Network.Cut: what is left is lost
	refused bool      // the reader has closed
	deaf    bool      // the reader takes nothing, see Conn.StopReading
}

type chunk struct {
	b  []byte
	at time.Time
}

// mark is something that is sent at most once.
type mark struct {
	sent bool
	at   time.Time
}

// sendLocked gives the time at which what is sent now arrives.
func (h *half) sendLocked() time.Time {
	if at := time.Now().Add(h.n.latency); at.After(h.last) {
		h.last = at
	}
	if time.Now().Before(h.last) {
		h.n.wakeAt(h.last)
	}
	h.n.changed.Broadcast()
	return h.last
}

// hereLocked reports whether what arrives at this time has arrived.
func (h *half) hereLocked(at time.Time) bool {
	return !h.n.hole && !at.After(time.Now())
}

func (h *half) hasLocked(m mark) bool { return m.sent && h.hereLocked(m.at) }

// dropLocked forgets what is on its way, as TCP does for a reset. What has
// arrived can still be read.
func (h *half) dropLocked() {
	for i, c := range h.bytes {
		if !h.hereLocked(c.at) {
			h.bytes = h.bytes[:i]
			break
		}
	}
	h.size = 0
	for _, c := range h.bytes {
		h.size += len(c.b)
	}
}

// takeLocked moves what has arrived to p. ok is false when there is nothing to tell yet.
func (h *half) takeLocked(p []byte) (n int, err error, ok bool) {
	if h.cut {
		return 0, syscall.ECONNRESET, true
	}
	for n < len(p) && len(h.bytes) > 0 && !h.deaf && h.hereLocked(h.bytes[0].at) {
		first := &h.bytes[0]
		moved := copy(p[n:], first.b)
		n, h.size, first.b = n+moved, h.size-moved, first.b[moved:]
		if len(first.b) == 0 {
			h.bytes = h.bytes[1:]
		}
	}
	switch {
	case n > 0 || len(p) == 0:
		h.n.changed.Broadcast() // there is room for a writer
		return n, nil, true
	case h.deaf:
		return 0, nil, false
	case h.hasLocked(h.reset):
		return 0, syscall.ECONNRESET, true
	case h.hasLocked(h.end) && len(h.bytes) == 0:
		return 0, io.EOF, true
	}
	return 0, nil, false
}

// Conn is one end of a connection. It is a net.Conn with CloseWrite and
// SetLinger, as a *net.TCPConn is.
type Conn struct {
	n             *Network
	in, out       *half
	local, remote addr

	abort       bool // Close resets
	closed      bool
	read, write deadline
}

// deadline is a time after which waiting ends, and what wakes those who wait.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) setLocked(n *Network, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = t, nil
	if !t.IsZero() {
		d.timer = n.wakeAt(t)
	}
	n.changed.Broadcast()
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// Read waits for bytes. After a reset it gives what came before that, and then
// syscall.ECONNRESET.
func (c *Conn) Read(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.read.over():
			return 0, os.ErrDeadlineExceeded
		}
		if n, err, ok := c.in.takeLocked(p); ok {
			return n, err
		}
		c.n.changed.Wait()
	}
}

// Write waits until all of p is on its way. A peer that has closed is
// syscall.EPIPE, one that has reset syscall.ECONNRESET.
func (c *Conn) Write(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for n := 0; ; {
		switch {
		case c.closed:
			return n, net.ErrClosed
		case c.write.over():
			return n, os.ErrDeadlineExceeded
		case c.in.cut, c.in.hasLocked(c.in.reset):
			return n, syscall.ECONNRESET
		case c.out.end.sent, c.out.refused && !c.n.hole:
			return n, syscall.EPIPE
		}
		if room := min(c.n.buffer-c.out.size, len(p)-n); room > 0 {
			c.out.bytes = append(c.out.bytes, chunk{b: append([]byte(nil), p[n:n+room]...), at: c.out.sendLocked()})
			c.out.size += room
			n += room
		}
		if n == len(p) {
			return n, nil
		}
		c.n.changed.Wait()
	}
}

// CloseWrite ends the direction away from this end.
func (c *Conn) CloseWrite() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case c.in.cut, c.in.hasLocked(c.in.reset):
		return syscall.ENOTCONN
	}
	c.endLocked()
	return nil
}

func (c *Conn) endLocked() {
	if !c.out.end.sent {
		c.out.end = mark{sent: true, at: c.out.sendLocked()}
	}
}

// SetLinger with 0 makes Close a reset; other values change nothing.
func (c *Conn) SetLinger(sec int) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.abort = sec == 0
	return nil
}

// Close ends both directions: by an end, or by a reset when bytes are unread or
// SetLinger(0) was called.
func (c *Conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closeLocked()
	return nil
}

func (c *Conn) closeLocked() {
	if c.abort || c.in.size > 0 {
		c.out.dropLocked()
		c.out.reset = mark{sent: true, at: c.out.sendLocked()}
	}
	c.endLocked()
	c.closed, c.in.refused = true, true
	c.in.bytes, c.in.size = nil, 0
	c.read.setLocked(c.n, time.Time{})
	c.write.setLocked(c.n, time.Time{})
	delete(c.n.conns, c)
}

// StopReading makes this end take in nothing, as a program that hangs, so that
// what its peer writes stalls when the buffer is full. Nothing is lost: off reads on.
func (c *Conn) StopReading(on bool) { c.n.change(func() { c.in.deaf = on }) }

// LocalAddr is the name of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the name of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; the zero time is none.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.read, &c.write)
}

// SetReadDeadline ends reads that wait at this time with os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.read) }

// SetWriteDeadline ends writes that wait at this time with os.ErrDeadlineExceeded.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *Conn) setDeadlines(t time.Time, list ...*deadline) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	for _, d := range list {
		d.setLocked(c.n, t)
	}
	return nil
}
