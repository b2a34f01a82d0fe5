//go:build !linux

package ws

import "net"

// sendQueue is what a backlog asks of the kernel: nothing, but on Linux.
type sendQueue struct{}

func sendQueueOf(*net.TCPConn) *sendQueue { return nil }

func (*sendQueue) widen() {}

func (*sendQueue) bound(int) {}

func (*sendQueue) look() (look, bool) { return look{}, false }
