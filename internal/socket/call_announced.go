//go:build unix && (!linux || race)

package socket

import "syscall"

// Elsewhere system calls are libc's, and the race detector orders what two ends
// of a connection do by the calls that the runtime knows of.

func read(fd int, p []byte) (int, error)  { return syscall.Read(fd, p) }
func write(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
