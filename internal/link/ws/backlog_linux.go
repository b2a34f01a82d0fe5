package ws

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendQueue is what a backlog asks of the kernel.
type sendQueue struct{ raw syscall.RawConn }

func sendQueueOf(conn *net.TCPConn) *sendQueue {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	return &sendQueue{raw}
}

// bound says how many bytes may wait to be sent. A kernel that refuses goes on
// as it did.
func (q *sendQueue) bound(n int) {
	_ = q.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n) })
}

func (q *sendQueue) look() (seen look, ok bool) {
	err := q.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if ok = err == nil; ok {
			seen = look{info.Total_retrans, info.Notsent_bytes}
		}
	})
	return seen, ok && err == nil
}
