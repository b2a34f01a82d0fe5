package ws

import (
	"crypto/tls"
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
	// lookEvery is after how many bytes written losses are looked for.
	lookEvery = 512 << 10
	// calmLooks is how many looks without a loss end the time of losses.
	calmLooks = 32
)

// backlog bounds what waits in the kernel. Whoever has the writer's turn uses it.
// The zero value does nothing.
type backlog struct {
	socket  *socket // nil where it cannot be bounded
	written int     // since the last look
	lost    uint32  // packets sent again, at the last look
	calm    int     // looks since one that saw a loss; calmLooks at most
}

func (b *backlog) init(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		b.socket = openSocket(t)
	}
	b.calm = calmLooks
	b.socket.bound(maxUnsent)
}

// wrote counts n bytes that are written.
func (b *backlog) wrote(n int64) {
	if b.socket == nil {
		return
	}
	if b.written += int(n); b.written < lookEvery {
		return
	}
	b.written = 0
	lost, ok := b.socket.lost()
	if !ok {
		return
	}
	was := b.calm == calmLooks
	switch is := b.judge(lost); {
	case is && !was:
		b.socket.bound(maxUnsent)
	case was && !is:
		b.socket.bound(0)
	}
}

// judge takes what was lost since the connection began, and says whether the way
// is calm.
func (b *backlog) judge(lost uint32) bool {
	if lost != b.lost {
		b.lost, b.calm = lost, 0
	} else if b.calm < calmLooks {
		b.calm++
	}
	return b.calm == calmLooks
}
