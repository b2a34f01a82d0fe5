package ws

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is what a backlog asks of the kernel.
type socket struct{ raw syscall.RawConn }

func openSocket(conn *net.TCPConn) *socket {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	return &socket{raw}
}

// bound says how many bytes may wait to be sent. A kernel that refuses goes on
// as it did.
func (s *socket) bound(n int) {
	_ = s.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n) })
}

func (s *socket) look() (seen look, ok bool) {
	err := s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if ok = err == nil; ok {
			seen = look{info.Total_retrans, info.Notsent_bytes}
		}
	})
	return seen, ok && err == nil
}
