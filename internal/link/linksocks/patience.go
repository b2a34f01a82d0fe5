package linksocks

import (
	"sync/atomic"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
)

// The dialect has no credit: the only way to slow a sender is not to read its
// link, which slows all that it sends. So what a slow reader leaves is held for
// it, and when that is too much the link waits for it; but not for long.
const (
	// maxStreamQueue is how many bytes are held for one stream.
	maxStreamQueue = 4 << 20
	// maxLinkQueue is how many bytes are held for all streams of a link.
	maxLinkQueue = 64 << 20
	// maxPatience is how long a link waits for a reader that takes nothing, or
	// that has others wait.
	maxPatience = 10 * time.Second
	// minPatience is how long it waits at least for one that has just begun to
	// take nothing, when many have done so before.
	minPatience = time.Second
	// regain is how many times as long a link must be read freely to get back
	// what patience it has spent: so all stuck readers together slow the others
	// by a tenth, however many there are.
	regain = 10
	// slowRate is below which a reader has others wait, in bytes a second.
	// Above it they share the link with it, which is no waiting.
	slowRate = 2 << 20
	// rateWindow is over what that is measured.
	rateWindow = 250 * time.Millisecond
	// activeFor is how long after its last byte a stream still counts as one
	// that more may come for: longer than patience, or the wait itself would
	// make it seem idle.
	activeFor = 15 * time.Second
	// lookAgain is how often is looked at who waits.
	lookAgain = time.Second
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

// patience is what the reader of a link remembers of those it waited for.
type patience struct {
	left   time.Duration // for readers that take nothing
	at     time.Time     // when that was reckoned last
	pongAt time.Time     // when the peer was last told that we live
}

// begin gives back what was regained since it was spent last.
func (p *patience) begin(now time.Time) {
	p.left = min(maxPatience, p.left+now.Sub(p.at)/regain)
	p.at = now
}

func (p *patience) spend(d time.Duration, now time.Time) {
	p.left = max(0, p.left-d)
	p.at = now
}

// account is what a stream's reader has cost the others. It is for the goroutine
// that reads the link.
type account struct {
	cameAt time.Time     // when the last payload came
	waited time.Duration // how long others waited for it, as far as that is not made good
	at     time.Time     // when that was reckoned last
	slow   bool          // as it was measured last
	// Of what is being measured.
	sinceAt time.Time
	since   int64
	// Of a stream that the peer opened: how long the link waited for it since
	// its reader last took as much as is held for one.
	unheard time.Duration
	mark    int64
}

// measure notes how much the reader has taken by now.
func (a *account) measure(taken int64, now time.Time) {
	if a.sinceAt.IsZero() {
		a.sinceAt, a.since = now, taken
	}
	if d := now.Sub(a.sinceAt); d >= rateWindow {
		a.slow = float64(taken-a.since) < slowRate*d.Seconds()
		a.sinceAt, a.since = now, taken
	}
	if taken-a.mark >= maxStreamQueue {
		a.unheard, a.mark = 0, taken
	}
}

// charge adds what the link waited for the reader.
func (a *account) charge(d time.Duration, others bool, now time.Time) {
	if !a.at.IsZero() {
		a.waited = max(0, a.waited-now.Add(-d).Sub(a.at)/regain)
	}
	a.at = now
	if a.slow && others {
		a.waited += d
	}
	a.unheard += d
}

// await waits until a stream may be offered more, or waits for nothing any
// more. A reader that holds up the link for too long loses its stream.
func (in *inbound) await(st *Stream) {
	in.room.waiting.Store(true)
	defer in.room.waiting.Store(false)
	began := time.Now()
	in.patience.begin(began)
	pong := time.NewTimer(time.Until(in.patience.pongAt.Add(pongInterval)))
	defer pong.Stop()
	slow := in.blocker(st)
	first := slow.State().Taken
	for {
		state, now := slow.State(), time.Now()
		slow.account.measure(state.Taken, now)
		others := in.s.othersWait(slow, now)
		if st.State().Over() || in.room.has(st.State().Waiting) {
			slow.account.charge(now.Sub(began), others, now)
			if state.Taken == first {
				in.patience.spend(now.Sub(began), now)
			}
			return
		}
		left := in.leftFor(slow, state, began, now, others)
		if left <= 0 {
			in.s.cfg.Count("receiver_too_slow")
			slow.kill(ErrTooSlow, ErrTooSlow.Error())
			slow = in.blocker(st)
			continue
		}
		in.waitFor(min(left, lookAgain), st, pong)
	}
}

// waitFor waits until somebody took something, for a while.
func (in *inbound) waitFor(d time.Duration, st *Stream, pong *time.Timer) {
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case <-in.room.freed:
	case <-limit.C:
	case <-pong.C:
		_ = in.s.conn.Pong() // an error ends the link too, which the reader meets next
		in.patience.pongAt = time.Now()
		pong.Reset(pongInterval)
	case <-in.s.closing:
		st.fail(link.ErrLost)
	}
}

// leftFor is how much longer the link waits for a reader that it has waited for
// since began, if things stay as they are.
func (in *inbound) leftFor(st *Stream, state flow.State, began, now time.Time, others bool) time.Duration {
	waited := now.Sub(began)
	// Who takes nothing is stuck, whoever waits. That counts from when its
	// bytes began to wait: many that are stuck at once are so together.
	left := state.MovedAt.Add(maxPatience).Sub(now)
	if !state.MovedAt.After(began) {
		left = min(left, max(in.patience.left, minPatience)-waited)
	}
	if others && st.account.slow {
		left = min(left, maxPatience-st.account.waited-waited)
	}
	// While we do not read, we do not hear of streams that the peer would open.
	if st.served {
		left = min(left, maxPatience-st.account.unheard-waited)
	}
	return left
}

// blocker is the stream that holds up the link: this one or, when it is all of
// them together, the one for which most is held.
func (in *inbound) blocker(st *Stream) *Stream {
	n := st.State().Waiting
	if n >= maxStreamQueue {
		return st
	}
	for _, other := range in.s.allStreams() {
		if state := other.State(); !state.Over() && state.Waiting > n {
			st, n = other, state.Waiting
		}
	}
	return st
}

// othersWait reports whether somebody may be waiting for what is not read: a
// stream for whose reader nothing is held and to which bytes came not long ago,
// one that the peer has not answered yet, or an association.
func (s *Session) othersWait(st *Stream, now time.Time) bool {
	for _, other := range s.allStreams() {
		if other == st {
			continue
		}
		if state := other.State(); state.Over() || state.Waiting > 0 || state.Ended {
			continue
		}
		if now.Sub(other.account.cameAt) < activeFor || other.unanswered() {
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.associations {
		if a.IdleFor(now) < activeFor {
			return true
		}
	}
	return false
}
