package pipe

import "net"

// Conn is a stream whose two directions end independently.
type Conn interface {
	net.Conn
	// CloseWrite ends the direction away from us; reading goes on.
	CloseWrite() error
}

// Listener accepts streams that can be half-closed.
type Listener interface {
	// Accept blocks for the next stream; after Close it fails with net.ErrClosed.
	Accept() (Conn, error)
	Close() error
	Addr() net.Addr
}
