package site

import (
	"context"
	"net/netip"
)

// An Associator is a place that datagrams leave from and arrive at.
type Associator interface {
	// Associate opens a UDP association. ctx bounds the opening only.
	Associate(ctx context.Context) (Association, error)
}

// An Association is one UDP socket in some place, for many targets. Its
// datagrams may be lost, doubled and reordered, as UDP's may.
type Association interface {
	// Send sends one datagram to host, an IP address without brackets or a
	// name, and port. It does not wait for the network, nor for a name to be
	// resolved, and p is the caller's again when it returns. A datagram that
	// cannot be sent is lost. The error is net.ErrClosed, once the association
	// has ended, or of type *DialError: the target is refused or cannot be
	// reached, and the association goes on.
	Send(p []byte, host string, port uint16) error
	// Await waits until there is something to receive, so that who waits needs
	// no buffer meanwhile. Its errors are those of Receive.
	Await() error
	// Receive waits for the next datagram, writes it to p and says where it
	// came from. What p has no room for is lost. The error is final.
	Receive(p []byte) (n int, source netip.AddrPort, err error)
	// Close ends the association, and Receive with net.ErrClosed.
	Close() error
}
