package ws

import (
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/adit-tunnel/adit/internal/socket"
)

const (
	// longFrame is from where on a frame's payload is read straight into the
	// caller's memory, which takes a system call for the header and at least one
	// for the payload. Measured, 32 KiB cost the same either way, 16 KiB less
	// through the buffer, and 64 KiB less straight.
	longFrame = 48 << 10
	// firstGrowth is what ReadMessage allocates before the first byte came.
	firstGrowth = 4 << 10
	// maxEmptyReads is how often a connection may say "nothing, but no error".
	maxEmptyReads = 100

	notWaiting = -1
)

// reader is the reading half of a Conn. One goroutine uses it; only the atomics
// are read by others.
type reader struct {
	c          *Conn
	from       io.Reader // the connection
	max        int64
	onPong     func([]byte)
	err        error // final: how reading ended
	start, end int   // what is unread of buf
	client     bool
	filled     bool // the last fill left no room in buf: more is there
	buf        []byte
	large      *[largeSize]byte // what buf is in, nil for small or for what the handshake left
	small      [smallSize]byte

	// The message that is being read.
	size   int64 // payload of its frames so far
	length int64 // payload of this frame
	left   int64 // what of it is unread
	key    uint32
	fin    bool // this frame is its last
	open   bool // it has begun, and its end was not yet found

	born         time.Time
	lastAt       atomic.Int64 // when bytes last came, since born
	waitingSince atomic.Int64 // since born; notWaiting
}

func (r *reader) init(c *Conn, buffered []byte, cfg Config) {
	r.c, r.client, r.max = c, cfg.Client, cfg.MaxMessage
	r.from = c.conn
	if t, ok := c.conn.(*net.TCPConn); ok {
		r.from = socket.NewReader(t)
	}
	r.born = time.Now()
	r.waitingSince.Store(notWaiting)
	r.buf = r.small[:]
	if len(buffered) > len(r.buf) {
		r.buf = make([]byte, len(buffered))
	}
	r.end = copy(r.buf, buffered)
}

// SetMaxMessage changes the limit of Config.MaxMessage, for the messages from
// the next on: little before a peer has proved who it is, and more after. A
// connection whose limit is below 64 KiB reads through 4 KiB and holds no more.
func (c *Conn) SetMaxMessage(bytes int64) { c.r.max = bytes }

// OnPong has f told of every pong from now on. It runs on the reading goroutine,
// which waits for it; the payload is valid until it returns.
func (c *Conn) OnPong(f func(payload []byte)) { c.r.onPong = f }

// Next waits for the next message and gives its kind. What is unread of the one
// before is dropped. Its payload is then read with Read.
//
// Errors are final: *CloseError, *ProtocolError, ErrAbrupt, what the connection
// says, or what ended the writing half if that closed the connection.
func (c *Conn) Next() (Opcode, error) {
	r := &c.r
	for r.err == nil && r.open {
		if r.left > 0 {
			r.dropSome()
		} else {
			r.advance()
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	r.size = 0
	return r.dataFrame()
}

// Read reads payload of the message that Next began, its fragments joined, as a
// stream: io.EOF is the message's end. Long frames are read straight into p.
// Errors are those of Next.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := c.r.advance(); err != nil {
		return 0, err
	}
	return c.r.take(p)
}

// Whole gives the payload of the message that Next began, if it is one frame
// that has come already, all of it: the message is read then, and the payload is
// valid until the next call. It is nil otherwise, and of an empty message.
func (c *Conn) Whole() []byte {
	r := &c.r
	n := int(min(r.left, int64(r.end-r.start)))
	if n == 0 || r.err != nil || !r.fin || r.size != int64(n) {
		return nil
	}
	p := r.buf[r.start : r.start+n]
	r.start += n
	r.left = 0
	if !r.client {
		r.key = applyMask(p, p, r.key)
	}
	return p
}

// ReadMessage reads the next message whole into buf, from its beginning, and
// returns the part of it that holds the message. A buf that is too short is
// grown as the bytes come, never for what is merely announced. It is returned
// with an error too, with what came of the message, so that it can be used again.
// Errors are those of Next.
func (c *Conn) ReadMessage(buf []byte) (Opcode, []byte, error) {
	r := &c.r
	buf = buf[:0]
	op, err := c.Next()
	if err != nil {
		return 0, buf, err
	}
	for {
		err := r.advance()
		if err == io.EOF {
			return op, buf, nil
		}
		if err != nil {
			return 0, buf, err
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, r.growth(len(buf)))
		}
		n, err := r.take(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return 0, buf, err
		}
	}
}

// growth is by how much a buffer grows that is full with this many bytes: it
// doubles at most, and no further than what is known to be missing.
func (r *reader) growth(have int) int {
	more := int64(max(have, firstGrowth))
	if r.fin {
		return int(min(more, r.left))
	}
	return int(min(more, r.max-int64(have)))
}

// advance goes to the next frame of the message if this one is read. It returns
// io.EOF behind the last.
func (r *reader) advance() error {
	for r.err == nil && r.left == 0 {
		if r.fin || !r.open {
			r.open = false
			return io.EOF
		}
		if _, err := r.dataFrame(); err != nil {
			return err
		}
	}
	return r.err
}

// take reads some of the frame's payload, of which there is some, into p.
func (r *reader) take(p []byte) (int, error) {
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	if r.start == r.end && r.length >= longFrame && len(p) >= smallSize {
		n, err := r.readConn(p)
		if err != nil {
			return 0, err
		}
		if !r.client {
			r.key = applyMask(p[:n], p[:n], r.key)
		}
		r.left -= int64(n)
		return n, nil
	}
	from, err := r.some(len(p))
	if err != nil {
		return 0, err
	}
	if r.client {
		copy(p, from)
	} else {
		r.key = applyMask(p[:len(from)], from, r.key)
	}
	r.left -= int64(len(from))
	return len(from), nil
}

// some takes up to n bytes from the buffer, and fills it if it is empty.
func (r *reader) some(n int) ([]byte, error) {
	if r.start == r.end {
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	from := r.buf[r.start:min(r.end, r.start+n)]
	r.start += len(from)
	return from, nil
}

// dropSome reads some of the frame's payload and forgets it.
func (r *reader) dropSome() {
	from, err := r.some(int(min(r.left, largeSize)))
	if err == nil {
		r.left -= int64(len(from))
	}
}

// fill reads more behind what is unread in the buffer, of which there is less
// than one control frame.
func (r *reader) fill() error {
	r.chooseBuffer()
	n, err := r.readConn(r.buf[r.end:])
	r.end += n
	r.filled = r.end == len(r.buf)
	return err
}

// chooseBuffer moves what is unread to the beginning of the buffer that suits
// what comes: the large one from when short frames filled the small one until
// the message is whole and reads leave room again. So a connection that waits
// for the next message holds the small one, and one that may send only short
// messages never gets another.
func (r *reader) chooseBuffer() {
	large := r.length < longFrame && r.max >= largeSize && (r.filled || r.open && r.large != nil)
	to := r.small[:]
	if large {
		if r.large == nil {
			r.large = takeLarge()
		}
		to = r.large[:]
	}
	r.start, r.end = 0, copy(to, r.buf[r.start:r.end])
	r.buf = to
	if !large {
		r.dropLarge()
	}
}

func (r *reader) dropLarge() {
	if r.large != nil {
		giveLarge(r.large)
		r.large = nil
	}
}

// readConn reads from the connection and keeps account of when. It returns
// bytes or an error, not both.
func (r *reader) readConn(p []byte) (int, error) {
	for range maxEmptyReads {
		r.waitingSince.Store(int64(time.Since(r.born)))
		n, err := r.from.Read(p)
		r.waitingSince.Store(notWaiting)
		if r.c.closed.Load() {
			return 0, r.fail(net.ErrClosed)
		}
		if n > 0 {
			// An error that came along comes again with the next read.
			r.lastAt.Store(int64(time.Since(r.born)))
			return n, nil
		}
		if err != nil {
			return 0, r.fail(r.explain(err))
		}
	}
	return 0, r.fail(io.ErrNoProgress)
}

// explain says why the connection cannot be read any more.
func (r *reader) explain(err error) error {
	if cause := r.c.w.closedBy(); cause != nil {
		return cause
	}
	if err == io.EOF {
		return ErrAbrupt
	}
	return err
}

// fail ends reading for good.
func (r *reader) fail(err error) error {
	r.err = err
	r.start, r.end, r.buf = 0, 0, nil
	r.dropLarge()
	return err
}
