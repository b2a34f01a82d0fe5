package ws

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/socket"
)

const (
	// pieceSize is how much of a long frame is written under one deadline.
	pieceSize = 256 << 10
	// gatherFrom is from where on a frame is written from where it is. Shorter
	// ones are copied together, which costs less than telling the kernel of
	// several places: measured, 2.1 us against 2.6 for 4 KiB with the other
	// end's share, and the other way round from 16 KiB on.
	gatherFrom = 8 << 10
)

// writer is the writing half of a Conn. Frames go out one by one, each by
// whoever has the turn; who has it writes the control frames that wait, before
// giving it back. No lock is held while the network takes a frame.
type writer struct {
	conn     net.Conn
	to       io.Writer // conn
	client   bool
	vectored bool // the connection takes several pieces of memory in one call
	timeout  time.Duration

	// Of whoever has the turn.
	head     [maxHeader]byte
	pieces   [][]byte // room for vec
	vec      net.Buffers
	keys     keySource
	frame    [maxHeader + MaxControl]byte // a control frame
	born     time.Time
	deadline time.Duration // what is set, since born
	backlog  backlog

	mu       sync.Mutex   // guards below
	free     sync.Cond    // nobody has the turn, or the end of writing came
	busy     bool         // somebody has the turn
	queue    []chan error // messages that wait for it, the first first
	closing  bool         // our close frame waits or was sent: the last frame
	closeBy  time.Time
	stopped  bool // by Close: nobody is started any more
	err      error
	cut      bool // and the connection was closed for it
	waiting  controls
	flushing sync.WaitGroup
}

func (w *writer) init(conn net.Conn, cfg Config) {
	w.conn, w.client, w.timeout = conn, cfg.Client, cfg.WriteTimeout
	w.born = time.Now()
	w.free.L = &w.mu
	w.backlog.init(conn)
	w.to = conn
	switch c := conn.(type) {
	case *net.TCPConn:
		w.to, w.vectored = socket.NewWriter(c), true
	case *net.UnixConn:
		w.vectored = true
	}
}

// WriteMessage writes a message of the kind Text or Binary as a single frame;
// its payload is the parts, one behind the other. It returns when the
// connection has taken it, and the parts are then as they were. Messages of
// several goroutines go out one after the other, each whole.
//
// On a TCP connection a server writes header and parts in one system call from
// where they are, if they are not short; a client masks them into a buffer first.
//
// Errors are final, a message may have been sent in part: ErrCloseSent,
// os.ErrDeadlineExceeded after Config.WriteTimeout (which resets the
// connection), or what the connection says.
func (c *Conn) WriteMessage(op Opcode, parts ...[]byte) error {
	return c.w.message(op, parts, false)
}

// WriteOwned is WriteMessage for parts that the caller does not need any more:
// their bytes are undefined afterwards. A client masks them where they are.
// What that saves grows with the message: little at 64 KiB, a quarter at 256.
func (c *Conn) WriteOwned(op Opcode, parts ...[]byte) error {
	return c.w.message(op, parts, true)
}

// WriteMade is WriteMessage for a message that is made when its turn has come,
// so that what it says of its place among the others is true. build must not
// wait; the bytes that it gives are the Conn's then. Its error is returned, and
// nothing is written.
func (c *Conn) WriteMade(op Opcode, build func() ([]byte, error)) error {
	w := &c.w
	if err := w.takeTurn(); err != nil {
		return err
	}
	msg, refusal := build()
	var err error
	if refusal == nil {
		err = w.writeFrame(op, [][]byte{msg}, true)
	}
	w.giveTurn(err)
	if refusal != nil {
		return refusal
	}
	return err
}

func (w *writer) message(op Opcode, parts [][]byte, owned bool) error {
	if err := w.takeTurn(); err != nil {
		return err
	}
	err := w.writeFrame(op, parts, owned)
	w.giveTurn(err)
	return err
}

// takeTurn waits until it is the caller's turn to write a message. Turns are
// handed over in the order in which they were asked for: who writes one long
// message after the other leaves room for the short ones of others.
func (w *writer) takeTurn() error {
	w.mu.Lock()
	if err := w.endedLocked(); err != nil {
		w.mu.Unlock()
		return err
	}
	if !w.busy {
		w.busy = true
		w.mu.Unlock()
		return nil
	}
	turn := make(chan error, 1)
	w.queue = append(w.queue, turn)
	w.mu.Unlock()
	return <-turn
}

// endedLocked is why no message can be written any more.
func (w *writer) endedLocked() error {
	switch {
	case w.err != nil:
		return w.err
	case w.stopped:
		return net.ErrClosed
	case w.closing:
		return ErrCloseSent
	}
	return nil
}

// giveTurn ends a turn that brought err: it writes the control frames that
// wait, and lets others write.
func (w *writer) giveTurn(err error) {
	w.mu.Lock()
	// One frame of each kind and no more: a peer that sends pings faster than
	// we answer them must not keep a message's writer here.
	for n := 0; err == nil && (n < controlKinds || w.stopped); n++ {
		frame := w.nextControlLocked()
		if frame == nil {
			break
		}
		w.mu.Unlock()
		err = w.write(frame)
		w.mu.Lock()
	}
	if err != nil {
		w.err, w.cut = err, errors.Is(err, os.ErrDeadlineExceeded)
	}
	cut := w.cut
	w.passTurnLocked()
	w.mu.Unlock()
	if cut {
		// The frame stays unfinished, so the peer can make nothing of what
		// would follow. Other errors come to the reader by themselves, after
		// what the peer said last.
		w.reset()
	}
}

// reset closes the connection and has the system drop what it still holds for a
// peer that does not take it.
func (w *writer) reset() {
	if l, ok := w.conn.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0) // a socket that is gone already holds nothing
	}
	_ = w.conn.Close()
}

// passTurnLocked hands the turn to the message that has waited longest, which
// takes the control frames along that wait.
func (w *writer) passTurnLocked() {
	w.wakeLocked()
	if len(w.queue) > 0 {
		next := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		next <- nil
		return
	}
	w.queue = nil
	w.busy = false
	if w.err == nil && !w.stopped && w.waiting.any() {
		w.flushLocked()
	}
	w.free.Broadcast()
}

// wakeLocked tells all who wait that no message will be written any more, if
// that is so.
func (w *writer) wakeLocked() {
	err := w.endedLocked()
	if err == nil {
		return
	}
	for _, turn := range w.queue {
		turn <- err
	}
	w.queue = nil
}

// writeFrame writes one message. The caller has the turn.
func (w *writer) writeFrame(op Opcode, parts [][]byte, owned bool) error {
	h := header{op: op, masked: w.client}
	for _, part := range parts {
		h.length += int64(len(part))
	}
	if w.client {
		h.key = w.keys.next()
	}
	w.backlog.wrote(h.length)
	head := appendHeader(w.head[:0], h)
	if !w.vectored || h.length < gatherFrom || w.client && !owned {
		return w.copyOut(head, parts, h.key)
	}
	if w.client {
		key := h.key
		for _, part := range parts {
			key = applyMask(part, part, key)
		}
	}
	return w.gather(head, parts)
}

// gather writes header and parts from where they are.
func (w *writer) gather(head []byte, parts [][]byte) error {
	pieces, size := append(w.pieces[:0], head), len(head)
	for _, part := range parts {
		for len(part) > 0 {
			n := min(len(part), pieceSize-size)
			pieces, size = append(pieces, part[:n]), size+n
			part = part[n:]
			if size < pieceSize {
				continue
			}
			if err := w.writePieces(pieces); err != nil {
				return err
			}
			pieces, size = pieces[:0], 0
		}
	}
	w.pieces = pieces[:0]
	if size == 0 {
		return nil
	}
	return w.writePieces(pieces)
}

// writePieces writes all pieces with as few system calls as the connection
// needs.
func (w *writer) writePieces(pieces [][]byte) error {
	if err := w.extendDeadline(); err != nil {
		return err
	}
	w.vec = pieces // a field, or it would be allocated
	_, err := w.vec.WriteTo(w.conn)
	return w.explain(err)
}

// copyOut writes header and parts by way of a buffer, masked for a server, so
// that they are few writes where the connection takes one piece a call: over
// TLS, each is a record.
func (w *writer) copyOut(head []byte, parts [][]byte, key uint32) error {
	buf := takeSend()
	defer giveSend(buf)
	size := copy(buf[:], head)
	for _, part := range parts {
		for len(part) > 0 {
			n := min(len(part), len(buf)-size)
			if w.client {
				key = applyMask(buf[size:size+n], part[:n], key)
			} else {
				copy(buf[size:], part[:n])
			}
			size += n
			part = part[n:]
			if size < len(buf) {
				continue
			}
			if err := w.write(buf[:size]); err != nil {
				return err
			}
			size = 0
		}
	}
	if size == 0 {
		return nil
	}
	return w.write(buf[:size])
}

// write writes b, whole.
func (w *writer) write(b []byte) error {
	if err := w.extendDeadline(); err != nil {
		return err
	}
	_, err := w.to.Write(b)
	return w.explain(err)
}

// extendDeadline gives the peer the time-out anew, unless most of it is left:
// setting a deadline costs more than looking.
func (w *writer) extendDeadline() error {
	now := time.Since(w.born)
	if w.deadline-now > w.timeout-w.timeout/8 {
		return nil
	}
	w.deadline = now + w.timeout
	return w.explain(w.conn.SetWriteDeadline(w.born.Add(w.deadline)))
}

func (w *writer) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write websocket frame: %w", err)
}
