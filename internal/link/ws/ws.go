// Package ws is the framing of WebSocket (RFC 6455, sections 5 and 7) on a
// connection whose handshake is done: messages in and out, control frames
// answered, the closing handshake. It knows no HTTP and negotiates no extension.
// Nothing runs between calls but, for the time of a write, what answers a ping
// while nobody else writes.
//
// It is made for carrying streams fast and for many peers at once:
//
//   - long frames are read straight into the caller's memory, and written from
//     it in one system call with their headers;
//   - an idle connection holds little more than 5 KiB, and so does one whose
//     peer has not yet proved who it is (SetMaxMessage);
//   - nothing is allocated because a header claims that it will be needed;
//   - pings are answered between any two frames, whoever is writing, and the
//     reader never waits for the network to take something.
//
// One goroutine reads (Next, Read, ReadMessage, SetMaxMessage, OnPong). Everything else
// may be called from any goroutine.
package ws

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

const (
	// DefaultMaxMessage is the longest message taken when Config says nothing.
	DefaultMaxMessage = 32 << 20
	// DefaultWriteTimeout is how long a peer may take no bytes when Config says nothing.
	DefaultWriteTimeout = 10 * time.Second
	// MaxControl is the longest payload of a ping, in bytes (section 5.5).
	MaxControl = 125

	// closeTimeout bounds the closing handshake (section 7.1.1), all of it.
	closeTimeout = time.Second
)

// Config is what the two ends of a connection may differ in.
type Config struct {
	// Client is set at the end that asked for the connection. It masks what it
	// sends and refuses what is masked; a server does the opposite (section 5.1).
	Client bool
	// MaxMessage bounds the payload of a message that is read, all fragments
	// together, in bytes. 0 is DefaultMaxMessage.
	MaxMessage int64
	// WriteTimeout is how long the peer may take nothing of what is written
	// before the connection is given up. Long frames have it for each 256 KiB.
	// The clock is not started anew for every frame: up to an eighth may be
	// missing. 0 is DefaultWriteTimeout.
	WriteTimeout time.Duration
}

// Conn is one end of a WebSocket connection after its handshake.
type Conn struct {
	conn net.Conn
	r    reader
	w    writer
	// closed is set by Close: what is read from then on belongs to nobody.
	closed atomic.Bool
}

// New makes a Conn of a connection whose opening handshake is done. buffered is
// what the handshake has read beyond its own end, nil for nothing; it is copied.
//
// The connection should be a *net.TCPConn itself, not something around it, for
// then header and payload leave without being copied. It must honour deadlines.
// The caller may still set its read deadline, and close it to end everything at
// once; writing to it and its write deadline are the Conn's own.
func New(conn net.Conn, buffered []byte, cfg Config) *Conn {
	if cfg.MaxMessage == 0 {
		cfg.MaxMessage = DefaultMaxMessage
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = DefaultWriteTimeout
	}
	c := &Conn{conn: conn}
	c.r.init(c, buffered, cfg)
	c.w.init(conn, cfg)
	return c
}

// SendClose begins the closing handshake (section 7.1.2) and does not wait for
// it: the close frame is the last that goes out, and behind a blocked message it
// waits. No more messages can be written. The reader goes on for at most a
// second: it ends with the peer's own close frame, or os.ErrDeadlineExceeded.
// reason is cut to 123 bytes. Only the first close frame counts, also if it was the answer to the
// peer's or to what the peer did wrong; later calls do nothing.
//
// CodeNoStatus sends a close frame without a code and a reason.
func (c *Conn) SendClose(code Code, reason string) {
	if c.w.postClose(code, reason) {
		_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout)) // a dead socket ends the reader by itself
	}
}

// Close ends the connection and waits until nothing of it runs on. Without a
// close frame sent before it cuts the connection at once. With one it lets the
// frame leave and the peer read it, which takes a second at most from when it
// was sent: what the peer still sends is dropped, because closing a socket with
// bytes unread destroys what was written to it last.
//
// A Read or a write under way ends with an error. Later calls give net.ErrClosed.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	if left := c.w.stop(); left > 0 {
		c.farewell(left)
	}
	err := c.conn.Close()
	c.w.flushing.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil // for a deadline, or by the caller
	}
	return err
}

// farewell waits until the close frame has left and the peer has ended too.
func (c *Conn) farewell(limit time.Duration) {
	cut := time.AfterFunc(limit, func() { _ = c.conn.Close() })
	defer cut.Stop()
	if !c.w.flushed() {
		return
	}
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	var scratch [512]byte
	for {
		if _, err := c.conn.Read(scratch[:]); err != nil {
			return
		}
	}
}

// LastReceived is when the peer's bytes last came, at first when the Conn was
// made. A frame that takes long to arrive is a sign of life all along.
func (c *Conn) LastReceived() time.Time {
	return c.r.born.Add(time.Duration(c.r.lastAt.Load()))
}

// Silence is how long the reader has been waiting for the next byte. It is zero
// while nobody reads: a peer is not dead because we do not listen.
func (c *Conn) Silence() time.Duration {
	since := c.r.waitingSince.Load()
	if since == notWaiting {
		return 0
	}
	return time.Since(c.r.born) - time.Duration(since)
}
