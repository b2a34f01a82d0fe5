//go:build !unix

package site

// Await does not wait: without non-blocking looks at a raw descriptor Receive
// waits with its buffer.
func (s *UDPSocket) Await() error { return nil }

func (s *UDPSocket) tryPeek(uintptr) bool { return true }
