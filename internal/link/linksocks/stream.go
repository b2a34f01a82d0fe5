package linksocks

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
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

// Stream is one TCP connection over a link. It is a pipe.Conn whose CloseWrite
// the dialect cannot quite carry: the peer is told that this direction has
// ended, and sends what its target still says for as long as it likes. What the
// peer sends is in its inbox, and so is what ended it.
type Stream struct {
	flow.Inbox
	s        *Session
	id       uuid.UUID
	address  string
	served   bool // the peer opened it: the target is on this side
	early    bool // this end did not wait for the answer
	openedAt time.Time
	answered chan struct{} // closed with the word on its opening: when the peer's came, or ours has left
	account  account       // of the goroutine that reads the link

	mu       sync.Mutex // guards below
	word     word
	refused  error     // the peer's word, if it was a no
	farewell string    // why the peer is to be told that it is over, as soon as our word has left
	shut     bool      // our direction has ended
	halfAt   time.Time // when the first direction ended
	movedAt  time.Time // when the other one last moved, after that
	seen     int64     // bytes that the user had taken when that was last looked at
	writeBy  time.Time
}

// word is that on a stream's opening: of the peer, or ours if the peer opened it.
type word int

const (
	unsaid word = iota
	saying      // ours is on its way out
	yes
	no
)

var (
	_ site.Pending = (*Stream)(nil)
	_ pipe.Source  = (*Stream)(nil)
	_ pipe.Breaker = (*Stream)(nil)
	_ pipe.Pusher  = (*Stream)(nil)
	_ pipe.Owner   = (*Stream)(nil)
)

func newStream(s *Session, id uuid.UUID, address string) *Stream {
	st := &Stream{s: s, id: id, address: address, openedAt: time.Now(), answered: make(chan struct{})}
	st.Inbox.Init(s.inbound.room.free)
	return st
}

// Opened implements site.Pending.
func (st *Stream) Opened(ctx context.Context) error {
	select {
	case <-st.answered:
	case <-ctx.Done():
		select {
		case <-st.answered: // a word that was given counts
		default:
			return &site.DialError{Reason: site.ReasonOf(ctx.Err()), Address: st.address, Err: ctx.Err()}
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.refused
}

// unanswered reports whether the peer has still to say if it opened the stream.
func (st *Stream) unanswered() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.word == unsaid && !st.served
}

// answer is the word on a stream that this end opened. It reports false if there
// was one already.
func (st *Stream) answer(refused error) bool {
	st.mu.Lock()
	first := st.word == unsaid && !st.served
	if first {
		st.word, st.refused = yes, refused
		if refused != nil {
			st.word = no
		}
	}
	st.mu.Unlock()
	if first {
		close(st.answered)
	}
	return first
}

// refuse is the peer's no. The stream fails first: who waits for the word might
// close it, and tell the peer what it knows.
func (st *Stream) refuse(err error) {
	st.mu.Lock()
	news := st.word == unsaid && !st.served
	st.mu.Unlock()
	if !news {
		return
	}
	if st.early {
		st.s.cfg.Count("fast_open_failed")
	}
	st.fail(err)
}

// offer gives the stream what came for it, unless there is no room.
func (st *Stream) offer(b *flow.Buffer, room *room) int {
	n := b.Len()
	result := st.Offer(b, func(waiting int) bool { return room.take(waiting, n) })
	if result == flow.Took {
		st.answer(nil) // stock servers let data overtake their word
	}
	return result
}

// Write implements net.Conn. Once the peer's user has ended its direction, what
// this end opened takes no more: stock peers would drop it.
func (st *Stream) Write(p []byte) (int, error) { return st.write(p, false) }

// WriteOwned implements pipe.Owner.
func (st *Stream) WriteOwned(p []byte) (int, error) { return st.write(p, true) }

func (st *Stream) write(p []byte, owned bool) (int, error) {
	st.accept()
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
		var err error
		if owned {
			err = st.s.conn.WriteOwned(ws.Binary, header, piece)
		} else {
			err = st.s.conn.WriteMessage(ws.Binary, header, piece)
		}
		if err != nil {
			return written, st.writeError(err)
		}
		written += len(piece)
		if written == len(p) {
			return written, nil // whatever has become of the stream meanwhile
		}
	}
}

func (st *Stream) writable() error {
	in := st.State()
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case in.Err != nil:
		return in.Err
	case in.Closed:
		return net.ErrClosed
	case st.shut, in.Ended && !st.served:
		return syscall.EPIPE
	case !st.writeBy.IsZero() && !time.Now().Before(st.writeBy):
		return os.ErrDeadlineExceeded
	}
	if in.Ended {
		st.movedAt = time.Now()
	}
	return nil
}

// writeError is the error of a write that the link did not take. The reader
// finds out what became of the link.
func (st *Stream) writeError(err error) error {
	if in := st.State(); in.Err != nil {
		return in.Err
	}
	return errors.Join(link.ErrLost, err)
}

// CloseWrite tells the peer that no more will come.
func (st *Stream) CloseWrite() error {
	st.accept()
	over := st.State().Over()
	st.mu.Lock()
	if over || st.shut {
		st.mu.Unlock()
		return net.ErrClosed
	}
	st.shut = true
	st.halfLocked()
	st.mu.Unlock()
	said := st.State().Ended
	var scratch [1 + 1 + 16 + 1 + len(causeEOF)]byte
	msg, _ := Disconnect{Channel: st.id, Cause: causeEOF}.Append(scratch[:0]) // short: it cannot fail
	err := st.s.conn.WriteMessage(ws.Binary, msg)
	switch {
	case err == nil:
		return nil
	case said:
		return net.ErrClosed // the peer has said all, and waited for nothing
	}
	return st.writeError(err)
}

// halfLocked notes that a direction has ended.
func (st *Stream) halfLocked() {
	if st.halfAt.IsZero() {
		st.halfAt = time.Now()
		st.movedAt = st.halfAt
	}
}

// Close ends the stream. A peer that has not come to its end, or has not been
// told of ours, is told that it was given up.
func (st *Stream) Close() error {
	dropped, first := st.Inbox.Close()
	if !first {
		return net.ErrClosed
	}
	in := st.State()
	st.mu.Lock()
	whole := in.Ended && st.shut && dropped == 0
	st.mu.Unlock()
	st.answer(st.unopened(in.Err)) // as whoever broke it would, who may come second
	st.s.forget(st)
	if in.Err == nil && !whole {
		st.tell(causeAborted)
	}
	return nil
}

// fail ends the stream with an error, now. The peer is not told. It reports
// false if the stream has ended already.
func (st *Stream) fail(err error) bool {
	first := st.Inbox.Fail(err)
	if first {
		st.answer(st.unopened(err))
	}
	return first
}

// unopened is the word on a stream that ended with err before there was one:
// nil if this end closed it.
func (st *Stream) unopened(err error) error {
	if dial, ok := errors.AsType[*site.DialError](err); ok {
		return dial
	}
	if err == nil {
		return &site.DialError{Reason: site.Other, Address: st.address, Err: net.ErrClosed}
	}
	return &site.DialError{Reason: site.NetworkUnreachable, Address: st.address, Err: err}
}

// linkLost ends the stream with its link. A peer that has said all has its say,
// unless we had something to say to it.
func (st *Stream) linkLost() {
	if st.served || !st.State().Ended {
		st.fail(link.ErrLost)
	}
}

// disconnected is the peer's Disconnect. Its first one, if it is an ordinary
// end, ends the peer's direction; anything else ends the stream.
func (st *Stream) disconnected(cause string) {
	ended := st.State().Ended
	st.mu.Lock()
	ordinary := (cause == "" || cause == causeEOF) && !ended && (st.word == yes || st.served)
	if ordinary {
		st.halfLocked()
	}
	done := ended && st.shut
	st.mu.Unlock()
	switch {
	case ordinary:
		st.End()
	case done:
		// A second word on what has ended both ways: nothing new.
	default:
		st.fail(link.ErrAborted)
	}
}

// endIfForgotten ends a stream of which one direction ended long ago, or that
// the peer has not answered. What waits for our own user is not the peer's
// delay: its time counts from when that was seen to be taken.
func (st *Stream) endIfForgotten(now time.Time) {
	in := st.State()
	if in.Over() {
		return
	}
	st.mu.Lock()
	if in.Taken != st.seen {
		st.seen, st.movedAt = in.Taken, now
	}
	unanswered := st.early && st.word == unsaid && now.Sub(st.openedAt) >= link.AnswerTimeout
	half := st.shut != in.Ended
	forgotten := half && in.Waiting == 0 && now.Sub(st.movedAt) >= forgottenAfter
	forgotten = forgotten || half && st.served && in.Ended && now.Sub(st.halfAt) >= halfLife
	if in.Ended && !st.served {
		forgotten = false // our user goes on reading or writing as it likes
	}
	st.mu.Unlock()
	switch {
	case unanswered:
		st.s.cfg.Count("fast_open_failed")
		st.kill(&site.DialError{Reason: site.TimedOut, Address: st.address, Err: link.ErrUnanswered}, causeAborted)
	case forgotten:
		st.s.cfg.Count("half_close_lost")
		st.kill(link.ErrAborted, causeAborted)
	}
}

// LocalAddr implements net.Conn.
func (st *Stream) LocalAddr() net.Addr { return streamAddr("") }

// RemoteAddr is the address that was asked for.
func (st *Stream) RemoteAddr() net.Addr { return streamAddr(st.address) }

// SetDeadline implements net.Conn.
func (st *Stream) SetDeadline(t time.Time) error {
	_ = st.SetReadDeadline(t) // it cannot fail
	return st.SetWriteDeadline(t)
}

// SetWriteDeadline implements net.Conn, between two messages. What the link is
// just sending it does not interrupt: a link that takes no bytes ends after
// link.WriteTimeout, with all its streams.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.mu.Lock()
	st.writeBy = t
	st.mu.Unlock()
	return nil
}

type streamAddr string

func (a streamAddr) Network() string { return "linksocks" }
func (a streamAddr) String() string  { return string(a) }
