package ws

import (
	"crypto/tls"
	"net"
	"time"
)

// What is written and not yet sent waits in the kernel, where no frame overtakes
// another: a round trip beside a bulk transfer waits for all of it. The kernel
// would let it become twice what is under way. So it is bounded; but less so where
// packets are lost, since what was sent behind a lost one stays in the same
// buffer, and the bound would leave nothing to send while it is repaired.
//
// That buffer also bounds what is under way. A link carries what would else be
// many connections, each with a buffer of its own, so its is made larger; but not
// on a short way, where what is under way had better fit into the CPU's caches.

const (
	// longWay is the round trip from which on the kernel's own send buffer may be
	// too small: 4 MB, two thirds of which are under way, carry 270 MB/s over it.
	longWay = 10 * time.Millisecond
	// maxSendBuffer is the largest send buffer of a connection, in bytes.
	maxSendBuffer = 16 << 20
	// maxUnsent is how many bytes wait in the kernel where nothing is lost.
	maxUnsent = 128 << 10
	// maxUnsentLossy is how many wait where packets are lost.
	maxUnsentLossy = 1 << 20
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
	tight   bool       // maxUnsent is the bound
	wide    bool       // the send buffer is as large as may be
}

// look is what a backlog sees of its socket.
type look struct {
	lost   uint32        // packets sent again since the connection began
	unsent uint32        // bytes that wait
	way    time.Duration // a round trip takes
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
	b.calm, b.tight = calmLooks, true
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
	if seen, ok := b.queue.look(); ok {
		b.saw(seen)
	}
}

// saw has the kernel do what the state of the socket calls for.
func (b *backlog) saw(seen look) {
	if seen.way >= longWay && !b.wide {
		b.queue.widen()
		b.wide = true
	}
	switch tight := b.judge(seen); {
	case tight && !b.tight:
		b.queue.bound(maxUnsent)
		b.tight = true
	case !tight && b.tight:
		b.queue.bound(maxUnsentLossy)
		b.tight = false
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
	return b.calm == calmLooks && (b.tight || seen.unsent <= maxUnsent/2)
}
