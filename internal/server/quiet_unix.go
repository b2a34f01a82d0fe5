//go:build unix

package server

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// awaitByte waits until a connection has something to read, and reads nothing.
func awaitByte(c net.Conn) error {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var got int
	var peek error
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		for {
			got, _, peek = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK)
			if peek != unix.EINTR {
				return peek != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return err
	case peek != nil:
		return peek
	case got == 0:
		return io.EOF
	}
	return nil
}
