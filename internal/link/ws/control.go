package ws

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf8"
)

// control is a control frame that waits for the turn.
type control struct {
	set     bool
	n       int
	payload [MaxControl]byte
}

// put replaces what waits: of pings and pongs only the latest counts
// (section 5.5.3).
func (f *control) put(payload []byte) {
	f.set = true
	f.n = copy(f.payload[:], payload)
}

func (f *control) take() *control {
	f.set = false
	return f
}

// controls are the control frames that wait, at most one of each kind.
type controls struct {
	pong, ping, end control
}

const controlKinds = 3

func (q *controls) any() bool { return q.pong.set || q.ping.set || q.end.set }

// next takes the frame that is to go out next, nil for none. The close frame is
// the last.
func (q *controls) next() (Opcode, *control) {
	switch {
	case q.pong.set:
		return opPong, q.pong.take()
	case q.ping.set:
		return opPing, q.ping.take()
	case q.end.set:
		return opClose, q.end.take()
	}
	return 0, nil
}

// Ping sends a ping (section 5.5.2) and does not wait until it has left: it
// goes out at once or after the message that is being written, and replaces
// one that still waits. OnPong's function is told of the answer, which has the
// same payload. The error is ErrControlTooLong, or what ended writing.
func (c *Conn) Ping(payload []byte) error {
	if len(payload) > MaxControl {
		return ErrControlTooLong
	}
	return c.w.post(&c.w.waiting.ping, payload, true)
}

// Pong sends a pong that nobody asked for (section 5.5.3), empty, in the way of
// Ping. An answer to a ping that still waits does as well and is left alone.
// For peers that take pongs alone for a sign of life while we do not read what
// they ask.
func (c *Conn) Pong() error { return c.w.post(&c.w.waiting.pong, nil, false) }

// post puts a ping or a pong where whoever writes next will find it, and has
// it written if nobody does. It replaces one that waits only if told so.
func (w *writer) post(f *control, payload []byte, replace bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.endedLocked(); err != nil {
		return err
	}
	if replace || !f.set {
		f.put(payload)
	}
	w.flushLocked()
	return nil
}

// postClose does the same with a close frame, and reports whether it is the first.
func (w *writer) postClose(code Code, reason string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.stopped || w.closing {
		return false
	}
	w.closing, w.closeBy = true, time.Now().Add(closeTimeout)
	var payload []byte
	if code != CodeNoStatus {
		payload = binary.BigEndian.AppendUint16(make([]byte, 0, MaxControl), uint16(code))
		payload = append(payload, cutText(reason, MaxControl-len(payload))...)
	}
	w.waiting.end.put(payload)
	w.wakeLocked()
	w.flushLocked()
	return true
}

// flushLocked takes the turn for the control frames that wait, if it is free.
// Their goroutine lives for these few frames; Close waits for it. The caller
// may be the reader, which must not wait for the network itself: the peer may
// be waiting for it to read.
func (w *writer) flushLocked() {
	if w.busy {
		return // who has the turn finds them
	}
	w.busy = true
	w.flushing.Go(w.flush)
}

func (w *writer) flush() { w.giveTurn(nil) }

// nextControlLocked gives the control frame that is to go out now, nil for none.
// It is in memory that belongs to the turn.
func (w *writer) nextControlLocked() []byte {
	op, f := w.waiting.next()
	if f == nil {
		return nil
	}
	h := header{op: op, masked: w.client, length: int64(f.n)}
	if w.client {
		h.key = w.keys.next()
	}
	b := appendHeader(w.frame[:0], h)
	payload := w.frame[len(b) : len(b)+f.n]
	applyMask(payload, f.payload[:f.n], h.key)
	return w.frame[:len(b)+f.n]
}

// stop lets no more be written than what waits, and says how long a close frame
// still has to reach the peer; 0 if there is none.
func (w *writer) stop() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true // who waits for the turn is woken by who has it
	if !w.closing || w.err != nil {
		return 0
	}
	return time.Until(w.closeBy)
}

// flushed waits until nothing is being written or waits for it, and reports
// whether all of it left.
func (w *writer) flushed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.busy && w.err == nil {
		w.free.Wait()
	}
	return w.err == nil
}

// closedBy is the error for which writing closed the connection, if it did.
func (w *writer) closedBy() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.cut {
		return nil
	}
	return w.err
}

// cutText cuts UTF-8 to at most n bytes, and what is not UTF-8 out of it.
func cutText(s string, n int) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
