//go:build !linux

package ws

import "net"

// socket is what a backlog asks of the kernel: nothing, but on Linux.
type socket struct{}

func openSocket(*net.TCPConn) *socket { return nil }

func (*socket) bound(int) {}

func (*socket) look() (look, bool) { return look{}, false }
