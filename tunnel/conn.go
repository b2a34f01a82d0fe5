package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
)

const (
	// closeTimeout is how long the other side may take to come to its end.
	closeTimeout = 2 * time.Minute
	// closeTaken is how much of what it still sends is taken in and dropped.
	closeTaken = 1 << 20
)

// conn is a stream for programs, which close it as they would a TCP connection.
// Inside, closing a stream that has not come to its end resets it.
type conn struct {
	stream  pipe.Conn
	client  *Client
	reads   sync.WaitGroup // those under way; none begins once closed is set
	endOnce sync.Once
	endErr  error // of the direction away from the program

	mu     sync.Mutex // guards below, and who sets a deadline
	closed bool
}

func (c *Client) conn(s pipe.Conn) net.Conn { return &conn{stream: s, client: c} }

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	err := c.unlessClosed(func() error { c.reads.Add(1); return nil })
	if err != nil {
		return 0, c.explain("read", err)
	}
	defer c.reads.Done()
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.stream.Read(p)
	return n, c.explain("read", err)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	err := c.unlessClosed(func() error { return nil })
	if err != nil {
		return 0, c.explain("write", err)
	}
	n, err := c.stream.Write(p) // which CloseWrite ends
	return n, c.explain("write", err)
}

// CloseWrite implements Conn.
func (c *conn) CloseWrite() error {
	if err := c.unlessClosed(func() error { return nil }); err != nil {
		return c.explain("close", err)
	}
	return c.explain("close", c.endWrites())
}

// endWrites ends the direction away from the program, once.
func (c *conn) endWrites() error {
	c.endOnce.Do(func() { c.endErr = c.stream.CloseWrite() })
	return c.endErr
}

// Close ends the direction away from the program, and the stream when the other
// side has ended, too.
func (c *conn) Close() error {
	err := c.unlessClosed(func() error {
		c.closed = true
		return c.stream.SetReadDeadline(time.Now()) // who reads gives up
	})
	if err != nil {
		return c.explain("close", err)
	}
	if !c.client.finishing(c.finish) {
		_ = c.stream.Close() // it ended with the client
	}
	return nil
}

// finish sees what was written arrive.
func (c *conn) finish() {
	reset := time.AfterFunc(closeTimeout, func() { pipe.Reset(c.stream) })
	defer reset.Stop()
	if c.endWrites() == nil {
		c.reads.Wait()
		_ = c.stream.SetReadDeadline(time.Time{})
		_, _ = io.CopyN(io.Discard, c.stream, closeTaken) // an error is the end, too
	}
	_ = c.stream.Close()
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadline(c.stream.SetDeadline, t) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadline(c.stream.SetReadDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(c.stream.SetWriteDeadline, t)
}

func (c *conn) setDeadline(set func(time.Time) error, t time.Time) error {
	return c.explain("set", c.unlessClosed(func() error { return set(t) }))
}

// unlessClosed does what must not happen behind a Close.
func (c *conn) unlessClosed(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return do()
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.stream.LocalAddr() }

// RemoteAddr is the target that was asked for.
func (c *conn) RemoteAddr() net.Addr { return c.stream.RemoteAddr() }

// explain gives an error the form that those of a TCP connection have.
func (c *conn) explain(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	switch {
	case closed:
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.EPIPE):
	default:
		err = asNet(err, true)
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: c.stream.RemoteAddr(), Err: err}
}
