package flow

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// directMax is the longest payload that the link's reader writes out itself.
// Handing over to another goroutine costs more than writing so little; of what
// is longer, the reader had better take in the next.
const directMax = 16 << 10

// Inbox is the receiving half of a stream: what came for it and its user has
// not yet taken. One goroutine fills it, one reads it; everything else may be
// called from any goroutine.
type Inbox struct {
	// Taken is called, without a lock held, when the user took n bytes, or
	// they were dropped. It is set before the first use.
	Taken func(n int)

	mu       sync.Mutex // guards below
	readable sync.Cond
	queue    queue
	taken    int64 // bytes that the user took, ever
	movedAt  time.Time
	parked   bool // the user waits for more
	direct   pipe.Direct
	eof      bool  // no more will come
	err      error // what ended the stream
	closed   bool
	onBreak  func(cause error)
	deadline time.Time
	timer    *time.Timer
}

// Init makes an Inbox ready.
func (in *Inbox) Init(taken func(n int)) {
	in.Taken = taken
	in.readable.L = &in.mu
}

// The answers of Offer.
const (
	Took    = iota // the buffer belongs to the inbox now
	Refused        // the stream is over, and nobody wants it
	Full           // there is no room yet
)

// Offer gives a buffer to the inbox, unless room, which is told how many bytes
// wait already, says no. When it says yes the buffer is taken, so that room may
// charge for it what Taken gives back.
func (in *Inbox) Offer(b *Buffer, room func(waiting int) bool) int {
	in.mu.Lock()
	if in.err != nil || in.closed || in.eof {
		in.mu.Unlock()
		return Refused
	}
	if !room(in.queue.bytes) {
		in.mu.Unlock()
		return Full
	}
	n := in.pushLocked(b.Bytes())
	b.start += n
	if b.Len() > 0 {
		if in.queue.bytes == 0 {
			in.movedAt = time.Now()
		}
		in.queue.push(b)
		in.readable.Signal()
	} else {
		b.Give()
	}
	in.mu.Unlock()
	if n > 0 {
		in.Taken(n)
	}
	return Took
}

// Push writes what it can of p to where PushTo said, and reports how much: none
// unless the user waits. It is Offer for what need not be kept, and Taken is not
// called for it.
func (in *Inbox) Push(p []byte) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil || in.closed || in.eof {
		return 0
	}
	return in.pushLocked(p)
}

func (in *Inbox) pushLocked(p []byte) int {
	if !in.parked || in.direct == nil || in.queue.bytes > 0 || len(p) > directMax {
		return 0
	}
	n := in.direct.TryWrite(p)
	in.taken += int64(n)
	return n
}

// PushTo implements pipe.Pusher: short payload is written to d when the user
// waits anyway.
func (in *Inbox) PushTo(d pipe.Direct) {
	in.mu.Lock()
	in.direct = d
	in.mu.Unlock()
}

// Read reads like a net.Conn. What came before the end is read first; an error
// comes at once.
func (in *Inbox) Read(p []byte) (int, error) {
	in.mu.Lock()
	if err := in.waitLocked(); err != nil {
		in.mu.Unlock()
		return 0, err
	}
	n := in.queue.read(p)
	in.tookLocked(n)
	in.mu.Unlock()
	in.Taken(n)
	return n, nil
}

// Next gives the bytes that wait, some of them at least, without copying. They
// are valid until the next call, or Release. The error is that of Read.
func (in *Inbox) Next() ([]byte, error) {
	in.mu.Lock()
	if err := in.waitLocked(); err != nil {
		in.queue.release()
		in.mu.Unlock()
		return nil, err
	}
	chunk, n := in.queue.next()
	in.tookLocked(n)
	in.mu.Unlock()
	in.Taken(n)
	return chunk, nil
}

func (in *Inbox) tookLocked(n int) {
	in.taken += int64(n)
	in.movedAt = time.Now()
}

// Release gives the memory of Next back.
func (in *Inbox) Release() {
	in.mu.Lock()
	in.queue.release()
	in.mu.Unlock()
}

func (in *Inbox) waitLocked() error {
	for {
		switch {
		case in.err != nil: // first: who closes it for that must not hide why from who reads
			return in.err
		case in.closed:
			return net.ErrClosed
		case !in.deadline.IsZero() && !time.Now().Before(in.deadline): // whatever waits, as with net.Conn
			return os.ErrDeadlineExceeded
		case in.queue.bytes > 0:
			return nil
		case in.eof:
			return io.EOF
		}
		in.queue.release() // nothing is held while we wait
		in.parked = true
		in.readable.Wait()
		in.parked = false
	}
}

// SetReadDeadline is that of net.Conn.
func (in *Inbox) SetReadDeadline(t time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.deadline = t
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	if !t.IsZero() {
		left := time.Until(t)
		in.deadline = time.Now().Add(left) // by the timer's clock, which nobody sets
		in.timer = time.AfterFunc(left, in.wakeReader)
	}
	in.readable.Broadcast()
	return nil
}

// wakeReader holds the lock, or a reader that has just looked at the time and
// is about to wait would miss it.
func (in *Inbox) wakeReader() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.readable.Broadcast()
}

// OnBreak implements pipe.Breaker.
func (in *Inbox) OnBreak(f func(cause error)) {
	in.mu.Lock()
	err := in.err
	if err == nil && !in.closed {
		in.onBreak = f
	}
	in.mu.Unlock()
	if err != nil && f != nil {
		f(err)
	}
}

// End says that no more will come. It reports whether that is news.
func (in *Inbox) End() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.eof || in.err != nil || in.closed {
		return false
	}
	in.eof = true
	in.readable.Broadcast()
	return true
}

// Fail ends the stream with an error: what waits is dropped, who reads is told,
// and so is who asked by OnBreak. It reports whether that is news.
func (in *Inbox) Fail(err error) bool {
	in.mu.Lock()
	if in.err != nil || in.closed {
		in.mu.Unlock()
		return false
	}
	in.err = err
	f := in.onBreak
	n := in.dropLocked()
	in.mu.Unlock()
	in.Taken(n)
	if f != nil {
		f(err)
	}
	return true
}

// Close drops what waits. It reports how much that was, and whether the inbox
// was open.
func (in *Inbox) Close() (dropped int, first bool) {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return 0, false
	}
	in.closed = true
	n := in.dropLocked()
	in.mu.Unlock()
	in.Taken(n)
	return n, true
}

func (in *Inbox) dropLocked() int {
	n := in.queue.drop()
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	in.direct, in.onBreak = nil, nil // they hold what the stream was joined to
	in.readable.Broadcast()
	return n
}

// State is what an Inbox is at a moment.
type State struct {
	Waiting int // bytes that the user has not taken
	// MovedAt is when it last took some, or when they began to wait.
	MovedAt time.Time
	Taken   int64 // bytes that it took, ever
	Ended   bool  // no more will come
	Err     error // what ended the stream
	Closed  bool
}

// Over reports whether the inbox waits for nothing any more.
func (s State) Over() bool { return s.Err != nil || s.Closed }

// State gives the state.
func (in *Inbox) State() State {
	in.mu.Lock()
	defer in.mu.Unlock()
	return State{Waiting: in.queue.bytes, MovedAt: in.movedAt, Taken: in.taken, Ended: in.eof, Err: in.err, Closed: in.closed}
}
