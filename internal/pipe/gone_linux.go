package pipe

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpClose is TCP_CLOSE of <netinet/tcp.h>, the state of a connection that is gone.
const tcpClose = 7

// canTell says that isGone knows.
const canTell = true

// isGone reports whether there is no TCP connection behind c any more.
func isGone(c Conn) bool {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		gone = err == nil && info.State == tcpClose
	})
	return err == nil && gone
}
