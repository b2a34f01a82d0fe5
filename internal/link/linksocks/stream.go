package linksocks

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/site"
)

const (
	// causeEOF is what peers say when their side came to an ordinary end.
	causeEOF = "EOF"
	// causeAborted is what we say of a stream that did not come to its end.
	causeAborted = "aborted"

	// forgottenAfter is how long a stream of which one direction has ended may
	// bring nothing on the other. The dialect cannot say whether the peer waits
	// for a reply or is gone.
	forgottenAfter = time.Minute
	// halfLife bounds what is sent to a peer that ended its own direction: it
	// may have closed, and nobody reads.
	halfLife = 10 * time.Minute

	// maxPayload is the longest payload that goes into one message. A stock
	// peer queues 1000 messages and drops what comes beyond: few long ones are
	// better for it than many short.
	maxPayload = 1 << 20
)

var errUnanswered = errors.New("the peer does not answer")

// Stream is one TCP connection over a link. It is a pipe.Conn whose CloseWrite
// the dialect cannot quite carry: the peer is told that this direction has
// ended, and sends what its target still says for as long as it likes.
type Stream struct {
	s       *Session
	id      uuid.UUID
	address string
	served  bool // the peer opened it: the target is on this side
	early   bool // written to before the peer's word came

	openedAt time.Time
	answered chan struct{} // closed with the first word of the peer

	mu       sync.Mutex // guards below
	readable sync.Cond
	queue    queue
	taken    int64 // bytes that its reader took, ever
	refused  error // the peer's word, if it was a no
	heard    bool  // the peer's word came
	eof      bool  // the peer's direction has ended
	err      error // what ended the stream
	shut     bool  // our direction has ended
	closed   bool
	onBreak  func(cause error)
	halfAt   time.Time // when the first direction ended
	movedAt  time.Time // when the other one last moved, after that
	deadline time.Time // of reads
	timer    *time.Timer
}

func newStream(s *Session, id uuid.UUID, address string) *Stream {
	st := &Stream{s: s, id: id, address: address, openedAt: time.Now(), answered: make(chan struct{})}
	st.readable.L = &st.mu
	return st
}

// opened waits for the peer's word on a stream that this end opened.
func (st *Stream) opened(ctx context.Context) error {
	select {
	case <-st.answered:
	case <-ctx.Done():
		return &site.DialError{Reason: site.ReasonOf(ctx.Err()), Address: st.address, Err: ctx.Err()}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.refused != nil {
		return st.refused
	}
	if st.err != nil && !st.heard {
		return &site.DialError{Reason: site.NetworkUnreachable, Address: st.address, Err: st.err}
	}
	return nil
}

// answer is the peer's word on a stream that this end opened.
func (st *Stream) answer(refused error) {
	st.mu.Lock()
	if st.heard || st.served {
		st.mu.Unlock()
		return
	}
	st.heard, st.refused = true, refused
	st.mu.Unlock()
	close(st.answered)
	if refused == nil {
		return
	}
	if st.early {
		st.s.cfg.Count("fast_open_failed")
	}
	st.fail(refused)
}

// Read implements net.Conn.
func (st *Stream) Read(p []byte) (int, error) {
	st.mu.Lock()
	if err := st.waitLocked(); err != nil {
		st.mu.Unlock()
		return 0, err
	}
	n := st.queue.read(p)
	st.tookLocked(n)
	st.mu.Unlock()
	st.s.inbound.room.free(n)
	return n, nil
}

// Next gives the bytes that wait, some of them at least, without copying. They
// are valid until the next call, or Release. The error is that of Read.
func (st *Stream) Next() ([]byte, error) {
	st.mu.Lock()
	if err := st.waitLocked(); err != nil {
		st.mu.Unlock()
		st.Release()
		return nil, err
	}
	chunk, n := st.queue.next()
	st.tookLocked(n)
	st.mu.Unlock()
	st.s.inbound.room.free(n)
	return chunk, nil
}

// tookLocked notes that n bytes were read. What waited for our own user is not
// the peer's delay: its time counts from now.
func (st *Stream) tookLocked(n int) {
	st.taken += int64(n)
	if !st.halfAt.IsZero() {
		st.movedAt = time.Now()
	}
}

// Release gives the memory of Next back.
func (st *Stream) Release() {
	st.mu.Lock()
	st.queue.release()
	st.mu.Unlock()
}

// waitLocked waits until there is something to read. What the peer sent before
// it ended its direction is read first; an error comes at once.
func (st *Stream) waitLocked() error {
	for {
		switch {
		case st.closed:
			return net.ErrClosed
		case st.err != nil:
			return st.err
		case st.queue.bytes > 0:
			return nil
		case st.eof:
			return io.EOF
		case !st.deadline.IsZero() && !time.Now().Before(st.deadline):
			return os.ErrDeadlineExceeded
		}
		st.queue.release() // nothing is held while we wait
		st.readable.Wait()
	}
}

// Write implements net.Conn. Once the peer's user has ended its direction, what
// this end opened takes no more: stock peers would drop it.
func (st *Stream) Write(p []byte) (int, error) {
	written := 0
	for {
		if err := st.writable(); err != nil {
			return written, err
		}
		piece := p[written:min(len(p), written+maxPayload)]
		if len(piece) == 0 {
			return written, nil
		}
		var scratch [dataHeader]byte
		header := Data{Proto: TCP, Channel: st.id, Payload: piece}.appendHeader(scratch[:0])
		if err := st.s.conn.WriteMessage(ws.Binary, header, piece); err != nil {
			return written, st.writeError(err)
		}
		written += len(piece)
		if written == len(p) {
			return written, nil // whatever has become of the stream meanwhile
		}
	}
}

func (st *Stream) writable() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.closed:
		return net.ErrClosed
	case st.err != nil:
		return st.err
	case st.shut, st.eof && !st.served:
		return syscall.EPIPE
	}
	if st.eof {
		st.movedAt = time.Now()
	}
	return nil
}

// writeError is the error of a write that the link did not take. The reader
// finds out what became of the link.
func (st *Stream) writeError(err error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err != nil {
		return st.err
	}
	return errors.Join(ErrLinkLost, err)
}

// CloseWrite tells the peer that no more will come.
func (st *Stream) CloseWrite() error {
	st.mu.Lock()
	if st.closed || st.err != nil || st.shut {
		st.mu.Unlock()
		return net.ErrClosed
	}
	st.shut = true
	st.halfLocked()
	said := st.eof
	st.mu.Unlock()
	err := st.disconnect(causeEOF)
	if said && err != nil {
		return net.ErrClosed // the peer has said all, and waited for nothing
	}
	return err
}

// halfLocked notes that a direction has ended.
func (st *Stream) halfLocked() {
	if st.halfAt.IsZero() {
		st.halfAt = time.Now()
		st.movedAt = st.halfAt
	}
}

func (st *Stream) disconnect(cause string) error {
	var scratch [1 + 1 + 16 + 1 + 32]byte
	msg, err := Disconnect{Channel: st.id, Cause: cause}.Append(scratch[:0])
	if err != nil {
		return err
	}
	if err := st.s.conn.WriteMessage(ws.Binary, msg); err != nil {
		return st.writeError(err)
	}
	return nil
}

// The answers of offer.
const (
	offerTaken = iota
	offerRefused
	offerWait
)

// offer queues what came for the stream, unless it has ended or there is no room.
func (st *Stream) offer(b *buffer, room *room) int {
	st.mu.Lock()
	if st.err != nil || st.closed || st.eof {
		st.mu.Unlock()
		return offerRefused
	}
	if !room.has(st.queue.bytes) {
		st.mu.Unlock()
		return offerWait
	}
	room.take(b.end)
	st.queue.push(b)
	if !st.halfAt.IsZero() {
		st.movedAt = time.Now()
	}
	first := !st.heard && !st.served
	st.readable.Signal()
	st.mu.Unlock()
	if first {
		st.answer(nil) // stock servers let data overtake their word
	}
	return offerTaken
}

// held is how much waits for the stream's reader, and how much it took so far;
// over says that it waits for nothing any more.
func (st *Stream) held() (waiting int, taken int64, over bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.queue.bytes, st.taken, st.err != nil || st.closed
}

// Close ends the stream. A peer that has not come to its end, or has not been
// told of ours, is told that it was given up.
func (st *Stream) Close() error {
	st.mu.Lock()
	if st.closed {
		st.mu.Unlock()
		return net.ErrClosed
	}
	st.closed = true
	abort := st.err == nil && !(st.eof && st.shut)
	lost := st.eof && st.shut && st.queue.bytes > 0
	n := st.dropLocked()
	st.mu.Unlock()
	st.s.inbound.room.free(n)
	st.s.forget(st)
	if abort || lost {
		_ = st.s.Send(Disconnect{Channel: st.id, Cause: causeAborted}) // short: it cannot fail
	}
	return nil
}

// dropLocked forgets what is queued, and wakes who waits.
func (st *Stream) dropLocked() (freed int) {
	freed = st.queue.drop()
	if st.timer != nil {
		st.timer.Stop()
	}
	st.readable.Broadcast()
	return freed
}

// OnBreak implements pipe.Breaker: f is called once when the stream fails while
// nobody may be reading or writing it.
func (st *Stream) OnBreak(f func(cause error)) {
	st.mu.Lock()
	st.onBreak = f
	err := st.err
	st.mu.Unlock()
	if err != nil && f != nil {
		f(err)
	}
}

// fail ends the stream with an error, now. The peer is not told.
func (st *Stream) fail(err error) {
	st.mu.Lock()
	if st.err != nil || st.closed {
		st.mu.Unlock()
		return
	}
	st.err = err
	f := st.onBreak
	n := st.dropLocked()
	unanswered := !st.heard && !st.served
	st.mu.Unlock()
	st.s.inbound.room.free(n)
	if unanswered {
		st.answerLost()
	}
	if f != nil {
		f(err)
	}
}

// answerLost wakes a dial that will get no answer.
func (st *Stream) answerLost() {
	st.mu.Lock()
	first := !st.heard
	if first {
		st.heard = true
		st.refused = &site.DialError{Reason: site.NetworkUnreachable, Address: st.address, Err: st.err}
	}
	st.mu.Unlock()
	if first {
		close(st.answered)
	}
}

// linkLost ends the stream with its link. A peer that has said all has its say,
// unless we had something to say to it.
func (st *Stream) linkLost() {
	st.mu.Lock()
	said := st.eof && !st.served
	st.mu.Unlock()
	if !said {
		st.fail(ErrLinkLost)
	}
}

// disconnected is the peer's Disconnect. Its first one, if it is an ordinary
// end, ends the peer's direction; anything else ends the stream.
func (st *Stream) disconnected(cause string) {
	st.mu.Lock()
	ordinary := (cause == "" || cause == causeEOF) && !st.eof && (st.heard || st.served)
	if ordinary {
		st.eof = true
		st.halfLocked()
		st.readable.Broadcast()
	}
	done := st.eof && st.shut
	st.mu.Unlock()
	switch {
	case ordinary:
	case done:
		// A second word on what has ended both ways: nothing new.
	default:
		st.fail(ErrAborted)
	}
}

// endIfForgotten ends a stream of which one direction ended long ago, or that
// the peer has not answered.
func (st *Stream) endIfForgotten(now time.Time) {
	st.mu.Lock()
	unanswered := st.early && !st.heard && now.Sub(st.openedAt) >= answerTimeout
	half := st.shut != st.eof
	forgotten := half && st.queue.bytes == 0 && now.Sub(st.movedAt) >= forgottenAfter
	forgotten = forgotten || half && st.served && st.eof && now.Sub(st.halfAt) >= halfLife
	if st.eof && !st.served {
		forgotten = false // our user goes on reading or writing as it likes
	}
	st.mu.Unlock()
	switch {
	case unanswered:
		st.s.cfg.Count("fast_open_failed")
		st.kill(&site.DialError{Reason: site.TimedOut, Address: st.address, Err: errUnanswered}, causeAborted)
	case forgotten:
		st.s.cfg.Count("half_close_lost")
		st.kill(ErrAborted, causeAborted)
	}
}

// kill ends the stream with an error and tells the peer, without waiting.
func (st *Stream) kill(err error, cause string) {
	st.fail(err)
	_ = st.s.Send(Disconnect{Channel: st.id, Cause: cause}) // short: it cannot fail
}

// LocalAddr implements net.Conn.
func (st *Stream) LocalAddr() net.Addr { return streamAddr("") }

// RemoteAddr is the address that was asked for.
func (st *Stream) RemoteAddr() net.Addr { return streamAddr(st.address) }

// SetDeadline is for reads alone: a write waits for the link, which has its own.
func (st *Stream) SetDeadline(t time.Time) error { return st.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.deadline = t
	if st.timer != nil {
		st.timer.Stop()
		st.timer = nil
	}
	if !t.IsZero() {
		st.timer = time.AfterFunc(time.Until(t), st.wakeReader)
	}
	st.readable.Broadcast()
	return nil
}

// wakeReader holds the lock, or a reader that has just looked at the time and
// is about to wait would miss it.
func (st *Stream) wakeReader() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.readable.Broadcast()
}

// SetWriteDeadline does nothing: a link that takes no bytes ends after
// WriteTimeout, with all its streams.
func (st *Stream) SetWriteDeadline(time.Time) error { return nil }

type streamAddr string

func (a streamAddr) Network() string { return "linksocks" }
func (a streamAddr) String() string  { return string(a) }
