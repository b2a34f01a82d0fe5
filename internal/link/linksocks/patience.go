package linksocks

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
)

// The dialect has no credit: the only way to slow a sender is not to read its
// link, which slows all that it sends. So what a slow reader leaves is held for
// it, and when that is too much the link waits for it; but not for long.
const (
	// maxStreamQueue is how many bytes are held for one stream.
	maxStreamQueue = 4 << 20
	// maxLinkQueue is how many bytes are held for all streams of a link.
	maxLinkQueue = 64 << 20
	// maxPatience is how long a link waits for slow readers, in all.
	maxPatience = 10 * time.Second
	// regain is how many times as long a link must be read freely to get back
	// what patience it has spent: so all slow readers together slow the others
	// by a tenth, however many there are.
	regain = 10
	// pongInterval is how often the peer is told that we live while its pings
	// are not read.
	pongInterval = 5 * time.Second
)

// room is how much more may be held.
type room struct {
	held    atomic.Int64
	waiting atomic.Bool
	freed   chan struct{} // one element says that there may be room again
}

// has reports whether a stream for which so much is held already may be given more.
func (r *room) has(queued int) bool {
	return queued < maxStreamQueue && r.held.Load() < maxLinkQueue
}

// take takes room for n bytes, if such a stream may be given more.
func (r *room) take(queued, n int) bool {
	if !r.has(queued) {
		return false
	}
	r.held.Add(int64(n))
	return true
}

// free gives room for n bytes back. Who waits looks again, also if n is 0.
func (r *room) free(n int) {
	r.held.Add(int64(-n))
	if r.waiting.Load() {
		r.wake()
	}
}

func (r *room) wake() {
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// patience is how long a link may still wait for slow readers.
type patience struct {
	left   time.Duration
	at     time.Time // when it was reckoned last
	pongAt time.Time // when the peer was last told that we live
	// The stream that was waited for last, and how much its reader had taken
	// when that was last taken account of. A slow reader is waited for many
	// times, each time until there is room for one buffer.
	stream uuid.UUID
	mark   int64
}

// begin gives back what was regained since it was spent last.
func (p *patience) begin(now time.Time) {
	p.left = min(maxPatience, p.left+now.Sub(p.at)/regain)
	p.at = now
}

func (p *patience) spend(now time.Time) {
	p.left -= now.Sub(p.at)
	p.at = now
}

// renew gives all patience back when the reader of a link's only stream has
// made progress, and reports whether it did.
func (p *patience) renew(st *Stream, taken int64, alone bool) bool {
	if p.stream != st.id || !alone {
		p.stream, p.mark = st.id, taken
		return false
	}
	if taken-p.mark < st.progress() {
		return false
	}
	p.mark, p.left = taken, maxPatience
	return true
}

// await waits until a stream may be offered more, or waits for nothing any
// more. When patience is at an end it ends the stream that holds up the link.
func (in *inbound) await(st *Stream) {
	in.room.waiting.Store(true)
	defer in.room.waiting.Store(false)
	in.patience.begin(time.Now())
	pong := time.NewTimer(time.Until(in.patience.pongAt.Add(pongInterval)))
	defer pong.Stop()
	limit := time.NewTimer(in.patience.left)
	defer limit.Stop()
	for {
		state := st.State()
		if state.Over() || in.room.has(state.Waiting) {
			return
		}
		if in.patience.renew(st, state.Taken, in.s.alone()) {
			limit.Reset(in.patience.left)
		}
		select {
		case <-in.room.freed:
		case <-pong.C:
			_ = in.s.conn.Pong() // an error ends the link too, which the reader meets next
			in.patience.pongAt = time.Now()
			pong.Reset(pongInterval)
		case <-in.s.closing:
			st.fail(link.ErrLost)
		case <-limit.C:
			in.giveUp(st, state.Waiting)
		}
		in.patience.spend(time.Now())
	}
}

// progress is what the reader of a link's only stream must take within the
// link's patience, so that it is waited for on and on. While we do not read, we
// do not hear of streams that the peer would open: those may have to wait, too.
func (st *Stream) progress() int64 {
	if st.served {
		return maxStreamQueue
	}
	return 1
}

// giveUp ends the stream that holds up the link: this one or, when it is all of
// them together, the one for which most is held.
func (in *inbound) giveUp(st *Stream, queued int) {
	if queued < maxStreamQueue {
		st = in.s.fullest(st)
	}
	in.s.cfg.Count("receiver_too_slow")
	st.kill(ErrTooSlow, ErrTooSlow.Error())
}

// alone reports whether the link carries one stream.
func (s *Session) alone() bool { return s.Streams() == 1 }

// fullest finds the stream for which most is held.
func (s *Session) fullest(most *Stream) *Stream {
	n := most.State().Waiting
	for _, st := range s.allStreams() {
		if state := st.State(); !state.Over() && state.Waiting > n {
			most, n = st, state.Waiting
		}
	}
	return most
}
