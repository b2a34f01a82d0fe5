package ws

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sendQueue is what a backlog asks of the kernel.
type sendQueue struct {
	raw  syscall.RawConn
	seen look
	err  error
	try  func(fd uintptr) // a method value made once, or every look would allocate one
}

func sendQueueOf(conn *net.TCPConn) *sendQueue {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	q := &sendQueue{raw: raw}
	q.try = q.tryLook
	return q
}

// widen makes the send buffer as large as a program may ask for, maxSendBuffer at
// most, where that is more than the kernel would come to by itself.
func (q *sendQueue) widen() {
	if n := sendBuffer(); n > 0 {
		_ = q.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, n/2) }) // it is doubled
	}
}

// sendBuffer is how many bytes a send buffer is made to hold; 0 leaves it to the
// kernel, which makes it as large as the way needs, up to tcp_wmem.
var sendBuffer = sync.OnceValue(func() int {
	wmem, err := os.ReadFile("/proc/sys/net/ipv4/tcp_wmem")
	if err != nil {
		return 0
	}
	sizes := bytes.Fields(wmem)
	if len(sizes) != 3 {
		return 0
	}
	own, err := strconv.Atoi(string(sizes[2]))
	if most := min(mostSendBuffer(), maxSendBuffer); err == nil && most > own {
		return most
	}
	return 0
})

// mostSendBuffer is what the kernel grants a program that asks for much
// (net.core.wmem_max, which cannot be read everywhere).
func mostSendBuffer() int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, maxSendBuffer)
	most, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0
	}
	return most
}

// bound says how many bytes may wait to be sent. A kernel that refuses goes on
// as it did.
func (q *sendQueue) bound(n int) {
	_ = q.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n) })
}

func (q *sendQueue) look() (seen look, ok bool) {
	if err := q.raw.Control(q.try); err != nil {
		return look{}, false
	}
	return q.seen, q.err == nil
}

func (q *sendQueue) tryLook(fd uintptr) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if q.err = err; err == nil {
		q.seen = look{info.Total_retrans, info.Notsent_bytes, time.Duration(info.Rtt) * time.Microsecond}
	}
}
