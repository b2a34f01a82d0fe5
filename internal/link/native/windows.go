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
	epoch   atomic.Uint64 // of the last pong that told of a round trip
	asked   atomic.Uint64 // of the last ping
	askedAt atomic.Int64  // when that was, in nanoseconds since 1970
	granted atomic.Int64
}

const (
	// maxLinkCredit and maxCredit bound the credit above the initial windows,
	// of a link and of the process.
	maxLinkCredit = 64 << 20
	maxCredit     = 256 << 20
)

// credit is what the links of this process have given above the initial windows.
var credit atomic.Int64

func (w *windows) init(conn *ws.Conn) {
	w.conn = conn
	conn.OnPong(func(payload []byte) {
		if len(payload) == 8 {
			w.epoch.Store(binary.BigEndian.Uint64(payload))
		}
	})
}

// ping asks for a sign of life, which also tells how long a round trip is.
func (w *windows) ping() error {
	var payload [8]byte
	binary.BigEndian.PutUint64(payload[:], w.asked.Add(1))
	w.askedAt.Store(time.Now().UnixNano())
	return w.conn.Ping(payload[:])
}

// probe measures a round trip, unless one is being measured.
func (w *windows) probe() {
	if w.asked.Load() == w.epoch.Load() {
		_ = w.ping() // an error ends the link too
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

// widen takes n bytes of credit from what the link and the process have, and
// reports whether there are so many.
func (w *windows) widen(n int) bool {
	if w.granted.Add(int64(n)) > maxLinkCredit {
		w.granted.Add(int64(-n))
		return false
	}
	if credit.Add(int64(n)) > maxCredit {
		credit.Add(int64(-n))
		w.granted.Add(int64(-n))
		return false
	}
	return true
}

// release gives back what a stream had above its initial window.
func (w *windows) release(window int) {
	n := int64(window - initialWindow)
	w.granted.Add(-n)
	credit.Add(-n)
}
