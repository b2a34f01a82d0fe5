package native

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/site"
)

// Stream is one TCP connection over a link. It is a site.Pending, a pipe.Source
// and a pipe.Breaker.
type Stream struct {
	flow.Inbox
	s        *Session
	id       uint32
	address  string
	served   bool // the peer opened it: the target is on this side
	early    bool // this end did not wait for the answer
	openedAt time.Time
	answered chan struct{} // closed with the peer's word, of a stream that this end opened
	answers  sync.Once     // our word, of a stream that the peer opened

	mu       sync.Mutex // guards below
	writable sync.Cond
	credit   int   // bytes that may be sent
	refused  error // the peer's word, if it was a no
	heard    bool  // the word was given, by the peer or to it
	sending  int   // writes that have credit and are not yet done
	shut     bool  // our direction has ended
	ended    bool  // the peer's direction has ended
	over     error // what ended the stream
	closed   bool
	parting  verdict // why it was closed
	writeBy  time.Time
	timer    *time.Timer // for writeBy

	window  int    // credit that is open when nothing waits; see credit.go
	allowed int    // bytes that may still come
	pending int    // bytes that the user took and no credit was given for
	absorb  int    // bytes of the window for which none is to be given
	round   uint64 // the windows' epoch when the user last took something
	taken   int    // in this round
	before  int    // in the last one in which something was
	widened bool   // in this round
	watched bool   // credit is short, and the window is wider than it began
}

// BrokenError is how a stream ends that the peer reset.
type BrokenError struct {
	Reason Reason
	Text   string // the peer's words, may be empty
}

func (e *BrokenError) Error() string {
	if e.Text == "" {
		return "the stream was reset: " + e.Reason.String()
	}
	return fmt.Sprintf("the stream was reset: %s (%q)", e.Reason, e.Text)
}

func newStream(s *Session, address string) *Stream {
	st := &Stream{
		s: s, address: address, openedAt: time.Now(), answered: make(chan struct{}),
		credit: initialWindow, window: initialWindow, allowed: initialWindow,
	}
	st.writable.L = &st.mu
	st.Inbox.Init(st.grant)
	return st
}

// Opened implements site.Pending.
func (st *Stream) Opened(ctx context.Context) error {
	select {
	case <-st.answered:
	case <-ctx.Done():
		return &site.DialError{Reason: site.ReasonOf(ctx.Err()), Address: st.address, Err: ctx.Err()}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.refused
}

// answer is the peer's word on a stream that this end opened. It reports false
// if there was one already.
func (st *Stream) answer(refused error) bool {
	st.mu.Lock()
	first := !st.heard && !st.served
	if first {
		st.heard, st.refused = true, refused
	}
	st.mu.Unlock()
	if first {
		close(st.answered)
	}
	return first
}

// answerOverdue ends a stream that the peer has not answered for long.
func (st *Stream) answerOverdue() {
	err := &site.DialError{Reason: site.TimedOut, Address: st.address, Err: link.ErrUnanswered}
	if st.answer(err) {
		st.s.cfg.Count("fast_open_failed")
		st.kill(err, TimedOut)
	}
}

// Write implements net.Conn.
func (st *Stream) Write(p []byte) (int, error) { return st.write(p, false) }

// WriteOwned implements pipe.Owner: the bytes of p are undefined afterwards.
func (st *Stream) WriteOwned(p []byte) (int, error) { return st.write(p, true) }

func (st *Stream) write(p []byte, owned bool) (int, error) {
	st.accept()
	written := 0
	for written < len(p) {
		n, err := st.reserve(min(len(p)-written, maxData))
		if err != nil {
			return written, err
		}
		var scratch [headerSize]byte
		head := appendHeader(scratch[:0], typeData, st.id, n)
		if piece := p[written : written+n]; owned {
			err = st.s.conn.WriteOwned(ws.Binary, head, piece)
		} else {
			err = st.s.conn.WriteMessage(ws.Binary, head, piece)
		}
		st.sent()
		if err != nil {
			return written, st.writeError(err)
		}
		written += n
	}
	return written, nil
}

// reserve waits for credit, and takes as much of it as there is, n at most. sent
// must follow when the bytes have left: our FIN waits for that.
func (st *Stream) reserve(n int) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for {
		switch {
		case st.closed:
			return 0, net.ErrClosed
		case st.over != nil:
			return 0, st.over
		case st.shut:
			return 0, syscall.EPIPE
		case !st.writeBy.IsZero() && !time.Now().Before(st.writeBy): // whatever credit there is, as with net.Conn
			return 0, os.ErrDeadlineExceeded
		case st.credit > 0:
			n = min(n, st.credit)
			st.credit -= n
			st.sending++
			return n, nil
		}
		st.writable.Wait()
	}
}

func (st *Stream) sent() {
	st.mu.Lock()
	st.sending--
	if st.shut {
		st.writable.Broadcast()
	}
	st.mu.Unlock()
}

// credited is the peer's WINDOW (4.3).
func (st *Stream) credited(n uint32) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if n == 0 || int64(st.credit)+int64(n) > maxWindow {
		return wrong("4.3", "a WINDOW of %d bytes on top of %d", n, st.credit)
	}
	st.credit += int(n)
	st.writable.Broadcast()
	return nil
}

// CloseWrite ends our direction.
func (st *Stream) CloseWrite() error {
	st.accept()
	st.mu.Lock()
	if st.closed || st.over != nil || st.shut {
		st.mu.Unlock()
		return net.ErrClosed
	}
	st.shut = true
	st.writable.Broadcast()
	for st.sending > 0 {
		st.writable.Wait()
	}
	said := st.ended
	st.mu.Unlock()
	var scratch [headerSize]byte
	if err := st.s.conn.WriteMessage(ws.Binary, appendHeader(scratch[:0], typeFin, st.id, 0)); err != nil {
		if said {
			return net.ErrClosed // the peer has said all, and waited for nothing
		}
		return st.writeError(err)
	}
	return nil
}

// writeError is the error of a write that the link did not take.
func (st *Stream) writeError(err error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over != nil {
		return st.over
	}
	return errors.Join(link.ErrLost, err)
}

// Close ends the stream. A peer that has not come to its end, or has not been
// told of ours, is told that it was given up.
func (st *Stream) Close() error { return st.closeFor(GivenUp, "") }

// CloseWithError is Close that tells the peer why: a stream behind this one broke.
func (st *Stream) CloseWithError(err error) error {
	var broken *BrokenError
	switch {
	case errors.As(err, &broken):
		return st.closeFor(broken.Reason.passed(), broken.Text)
	case errors.Is(err, link.ErrLost):
		return st.closeFor(LinkLost, "")
	}
	return st.closeFor(GivenUp, "")
}

func (st *Stream) closeFor(reason Reason, text string) error {
	dropped, first := st.Inbox.Close()
	if !first {
		return net.ErrClosed
	}
	st.mu.Lock()
	st.closed, st.parting = true, verdict{reason, text}
	st.writable.Broadcast()
	if st.timer != nil {
		st.timer.Stop()
	}
	extra := st.window - initialWindow
	// Of a stream that was not answered, who answers tells the peer.
	tell := st.over == nil && (!st.ended || !st.shut || dropped > 0) && !(st.served && !st.heard)
	st.mu.Unlock()
	st.answer(&site.DialError{Reason: site.Other, Address: st.address, Err: net.ErrClosed})
	st.s.forget(st, extra)
	if tell {
		st.s.out.Send(verdict{reason, text}.append(nil, typeReset, st.id))
	}
	return nil
}

// overLocked reports whether the stream is over: what comes for it is ignored (4.7).
func (st *Stream) overLocked() bool {
	return st.over != nil || st.closed || st.shut && st.ended
}

// unansweredLocked: the peer, which was asked to open the stream, has not said a word.
func (st *Stream) unansweredLocked() bool { return !st.served && !st.heard }

func (st *Stream) isOver() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.overLocked()
}

// fail ends the stream with an error, now. The peer is not told.
func (st *Stream) fail(err error) {
	st.mu.Lock()
	if st.over == nil {
		st.over = err
	}
	st.writable.Broadcast()
	st.mu.Unlock()
	word := err
	if _, ok := errors.AsType[*site.DialError](err); !ok {
		word = &site.DialError{Reason: site.NetworkUnreachable, Address: st.address, Err: err}
	}
	st.answer(word) // before a Join hears of it, whose Close would be another word
	st.Inbox.Fail(err)
}

// kill ends the stream with an error and tells the peer, without waiting.
func (st *Stream) kill(err error, reason Reason) {
	st.fail(err)
	st.s.out.Send(verdict{reason: reason}.append(nil, typeReset, st.id))
}

// reset is the peer's RESET.
func (st *Stream) reset(m verdict) {
	st.mu.Lock()
	asked := st.unansweredLocked()
	st.mu.Unlock()
	if !asked {
		st.fail(&BrokenError{m.reason, m.text})
		return
	}
	if st.early {
		st.s.cfg.Count("fast_open_failed")
	}
	st.fail(m.dialError(st.address))
}

// linkLost ends the stream with its link, unless the peer had said all and this
// end opened it: then it has its say.
func (st *Stream) linkLost() {
	st.mu.Lock()
	said := st.ended && !st.served && st.over == nil
	if said {
		st.over = link.ErrLost
		st.writable.Broadcast()
	}
	st.mu.Unlock()
	if !said {
		st.fail(link.ErrLost)
	}
}

// LocalAddr implements net.Conn.
func (st *Stream) LocalAddr() net.Addr { return addr("") }

// RemoteAddr is the address that was asked for.
func (st *Stream) RemoteAddr() net.Addr { return addr(st.address) }

// SetDeadline implements net.Conn.
func (st *Stream) SetDeadline(t time.Time) error {
	_ = st.SetReadDeadline(t) // it cannot fail
	return st.SetWriteDeadline(t)
}

// SetWriteDeadline implements net.Conn, between two frames and for the wait for
// credit. What the link is just sending it does not interrupt: a link that takes
// no bytes ends.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.writeBy = t
	if st.timer != nil {
		st.timer.Stop()
		st.timer = nil
	}
	if !t.IsZero() && !st.closed {
		left := time.Until(t)
		st.writeBy = time.Now().Add(left) // by the timer's clock, which nobody sets
		st.timer = time.AfterFunc(left, st.wakeWriters)
	}
	st.writable.Broadcast()
	return nil
}

// wakeWriters holds the lock, or a writer that has just looked at the time and is
// about to wait would miss it.
func (st *Stream) wakeWriters() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.writable.Broadcast()
}

type addr string

func (a addr) Network() string { return Subprotocol }
func (a addr) String() string  { return string(a) }
