package ws

import (
	"crypto/tls"
	"math"
	"net"
)

// What is written and not yet sent waits in the kernel, where no frame overtakes
// another: a round trip beside a bulk transfer waits for all of it. The kernel
// would let it become twice what is under way. So it is bounded; but not where
// packets are lost, since what was sent behind a lost one stays in the same
// buffer, and a bound would leave nothing to send while it is repaired.

const (
	// maxUnsent is how many bytes wait in the kernel where nothing is lost.
	maxUnsent = 128 << 10
	// unbounded leaves it to the kernel.
	unbounded = math.MaxInt32
	// lookEvery is after how many bytes written losses are looked for.
	lookEvery = 512 << 10
	// manyLost is how many packets sent again between two looks, which are some
	// hundred packets apart, are not by the way.
	manyLost = 2
	// calmLooks is how many looks without many losses end the time of losses.
	calmLooks = 32
)

// backlog bounds what waits in the kernel. Whoever has the writer's turn uses it.
// The zero value does nothing.
type backlog struct {
	queue   *sendQueue // nil where it cannot be bounded
	written int        // since the last look
	lost    uint32     // packets sent again, at the last look
	calm    int        // looks since one that saw many losses; calmLooks at most
	bounded bool
}

// look is what a backlog sees of its socket.
type look struct {
	lost   uint32 // packets sent again since the connection began
	unsent uint32 // bytes that wait
}

func (b *backlog) init(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	t, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if b.queue = sendQueueOf(t); b.queue == nil {
		return
	}
	if seen, ok := b.queue.look(); ok {
		b.lost = seen.lost // by the handshake
	}
	b.calm, b.bounded = calmLooks, true
	b.queue.bound(maxUnsent)
}

// wrote counts n bytes that are written.
func (b *backlog) wrote(n int64) {
	if b.queue == nil {
		return
	}
	if b.written += int(n); b.written < lookEvery {
		return
	}
	b.written = 0
	seen, ok := b.queue.look()
	if !ok {
		return
	}
	switch bounded := b.judge(seen); {
	case bounded && !b.bounded:
		b.queue.bound(maxUnsent)
		b.bounded = true
	case !bounded && b.bounded:
		b.queue.bound(unbounded)
		b.bounded = false
	}
}

// judge says whether what waits is to be bounded. It begins to be only when
// little waits: nothing more is taken until half of the bound is left, and the
// peer may need longer for the rest than a write may take.
func (b *backlog) judge(seen look) bool {
	many := seen.lost-b.lost >= manyLost
	b.lost = seen.lost
	switch {
	case many:
		b.calm = 0
	case b.calm < calmLooks:
		b.calm++
	}
	return b.calm == calmLooks && (b.bounded || seen.unsent <= maxUnsent/2)
}
