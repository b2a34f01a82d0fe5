package tunnel

import (
	"io"
	"net"
	"sync"
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
	pipe.Conn
	c    *Client
	once sync.Once
}

func (c *Client) conn(s pipe.Conn) net.Conn { return &conn{Conn: s, c: c} }

// Close ends the direction away from the program, and the stream when the other
// side has ended, too.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = nil
		_ = c.Conn.SetReadDeadline(time.Now()) // who reads gives up
		c.c.closing.Go(c.finish)
	})
	return err
}

func (c *conn) finish() {
	reset := time.AfterFunc(closeTimeout, func() { pipe.Reset(c.Conn) })
	defer reset.Stop()
	if c.Conn.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Time{})
		_, _ = io.CopyN(io.Discard, c.Conn, closeTaken) // an error is the end, too
	}
	_ = c.Conn.Close()
}
