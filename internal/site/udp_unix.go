//go:build unix

package site

import "syscall"

// Await waits until Receive has a datagram, so that no buffer need be held for
// one that may never come. The error is final, net.ErrClosed after Close.
func (s *UDPSocket) Await() error { return s.raw.Read(s.peek) }

// tryPeek reports false when the socket has nothing.
func (s *UDPSocket) tryPeek(fd uintptr) bool {
	for {
		_, _, err := syscall.Recvfrom(int(fd), s.first[:], syscall.MSG_PEEK)
		switch {
		case err == syscall.EAGAIN:
			return false
		case err == nil, err != syscall.EINTR && !ofOnePeer(err):
			return true // other errors stay for Receive to meet
		}
	}
}
