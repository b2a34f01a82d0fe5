package sshserver

import (
	"io"
	"net"
	"sync"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// faultConn is a connection whose reads and writes faults can hold up.
type faultConn struct {
	net.Conn
	faults *Faults
	hello  kexSniffer // touched by Read alone
	done   chan struct{}
	once   sync.Once
}

// wrap puts a connection under the faults; without any it is nc itself.
func (f *Faults) wrap(nc net.Conn) net.Conn {
	if f == nil {
		return nc
	}
	c := &faultConn{Conn: nc, faults: f, done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		f.conns = make(map[*faultConn]struct{})
	}
	f.conns[c] = struct{}{}
	return c
}

// open gives the connections that are open now.
func (f *Faults) open() []*faultConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	conns := make([]*faultConn, 0, len(f.conns))
	for c := range f.conns {
		conns = append(conns, c)
	}
	return conns
}

// Read gives nothing while a gate is shut, not even what a read that had begun
// before that got.
func (c *faultConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for _, g := range []*gate{&c.faults.deaf, &c.faults.hole} {
		if !g.wait(c.done) {
			return 0, net.ErrClosed
		}
	}
	if asked := c.hello.feed(p[:n]); asked != nil {
		c.faults.mu.Lock()
		c.faults.asked = asked
		c.faults.mu.Unlock()
	}
	return n, err
}

func (c *faultConn) Write(p []byte) (int, error) {
	if !c.faults.hole.wait(c.done) {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// CloseWrite is forwarded for say.
func (c *faultConn) CloseWrite() error {
	if half, ok := c.Conn.(pipe.Conn); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

func (c *faultConn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.faults.mu.Lock()
		delete(c.faults.conns, c)
		c.faults.mu.Unlock()
	})
	return c.Conn.Close()
}

// drop closes the connection with a reset where it can.
func (c *faultConn) drop() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// say sends text and an end, and waits for the client to close: closing first,
// with what it sent unread, would destroy the text on its way.
func say(w *wire, text string) {
	_, _ = w.Write([]byte(text))
	if half, ok := w.Conn.(*faultConn); ok {
		_ = half.CloseWrite()
	}
	hang(w)
}

// hang takes in and drops what comes until the connection is closed.
func hang(w *wire) { _, _ = io.Copy(io.Discard, w) }

// gate holds up who passes while it is shut. The zero value is open.
type gate struct {
	mu   sync.Mutex    // guards below
	shut chan struct{} // nil when open, closed on opening
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.shut == nil:
		g.shut = make(chan struct{})
	case !shut && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

// wait passes when the gate is open, and gives false when done comes first.
func (g *gate) wait(done <-chan struct{}) bool {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return true
	}
	select {
	case <-shut:
		return true
	case <-done:
		return false
	}
}
