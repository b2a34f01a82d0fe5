package native

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/adit-tunnel/adit/internal/link/ws"
)

// windows is what a session knows of the way to its peer, and how much credit
// it has given above what every stream begins with.
type windows struct {
	conn    *ws.Conn
	epoch   atomic.Uint64 // of the last pong: the number of the round that it began
	asked   atomic.Uint64 // of the last ping; epoch, or one more while it is not answered
	askedAt atomic.Int64  // when that was first sent, in nanoseconds since 1970
	used    atomic.Int64  // the widest window of which a stream's user took more than half in a round
	granted budget
}

const (
	// maxLinkCredit and maxCredit bound the credit above the initial windows,
	// of a link and of the process.
	maxLinkCredit = 64 << 20
	maxCredit     = 256 << 20
)

// credit is what the links of this process have given above the initial windows.
var credit = budget{limit: maxCredit}

// A budget is an amount of credit, of which each who asks gets half of what is
// left at most: however many have taken theirs, there is some for who comes
// later. So it is never given whole.
type budget struct {
	limit int64
	given atomic.Int64
}

// take takes n bytes, or half of what is left, in whole initial windows. It
// may be nothing.
func (b *budget) take(n int64) int64 {
	for {
		given := b.given.Load()
		share := min(n, (b.limit-given)/2)
		share -= share % initialWindow
		if share <= 0 {
			return 0
		}
		if b.given.CompareAndSwap(given, given+share) {
			return share
		}
	}
}

func (b *budget) give(n int64) { b.given.Add(-n) }

// short reports whether more than half is given.
func (b *budget) short() bool { return b.given.Load() > b.limit/2 }

// ample reports whether at most a quarter is given.
func (b *budget) ample() bool { return b.given.Load() <= b.limit/4 }

func (w *windows) init(conn *ws.Conn) {
	w.conn = conn
	w.granted.limit = maxLinkCredit
	conn.OnPong(func(payload []byte) {
		if len(payload) != 8 {
			return
		}
		// A round that nobody asked for has no length.
		if number := binary.BigEndian.Uint64(payload); number == w.asked.Load() {
			w.epoch.Store(number)
		}
	})
}

// ping asks for a sign of life, which also tells how long a round trip is. If
// one is being measured, the measurement goes on: a second number on its way
// would make a round of the time between two pings.
func (w *windows) ping() error {
	w.begin()
	return w.send()
}

// begin begins to measure, and reports false if somebody else has.
func (w *windows) begin() bool {
	number := w.epoch.Load()
	if !w.asked.CompareAndSwap(number, number+1) {
		return false
	}
	w.askedAt.Store(time.Now().UnixNano())
	return true
}

func (w *windows) send() error {
	var payload [8]byte
	binary.BigEndian.PutUint64(payload[:], w.asked.Load())
	return w.conn.Ping(payload[:])
}

// probe measures a round trip, unless one is being measured.
func (w *windows) probe() {
	if w.begin() {
		_ = w.send() // an error ends the link too
	}
}

// watchInterval is how often rounds are measured for the slow to be found out.
const watchInterval = 10 * time.Millisecond

// watch is probe, but not for every round of a short way.
func (w *windows) watch() {
	if time.Now().UnixNano()-w.askedAt.Load() >= int64(watchInterval) {
		w.probe()
	}
}

// maxRound is the longest round trip that is believed. What a user takes while a
// pong is longer in coming says nothing about the way.
const maxRound = 2 * time.Second

// measured reports whether what was taken since the last pong was taken in one
// round trip.
func (w *windows) measured() bool {
	return w.asked.Load() == w.epoch.Load() || time.Now().UnixNano()-w.askedAt.Load() < int64(maxRound)
}

// use says that a stream has use for a window of n bytes, and gives the widest
// that any had use for: what the way holds, or did. Who then is idle keeps what
// he got, so it is n while more than a quarter of the credit is given.
func (w *windows) use(n int) int {
	used := w.used.Load()
	for int64(n) > used && !w.used.CompareAndSwap(used, int64(n)) {
		used = w.used.Load()
	}
	if w.granted.ample() && credit.ample() {
		return max(n, int(used))
	}
	return n
}

// short reports whether the link or the process has given more than half of
// what it has: then who does not use his window has to give of it.
func (w *windows) short() bool { return w.granted.short() || credit.short() }

// widen takes up to n bytes of credit from what the link and the process have,
// and says how many it got.
func (w *windows) widen(n int) int {
	of := w.granted.take(int64(n))
	got := credit.take(of)
	w.granted.give(of - got)
	return int(got)
}

// release gives back n bytes that widen got.
func (w *windows) release(n int) {
	w.granted.give(int64(n))
	credit.give(int64(n))
}
