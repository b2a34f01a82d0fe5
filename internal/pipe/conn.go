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

// Breaker is a Conn that can fail while nobody reads it and whose writes would
// not tell: a stream of a link that was lost. Join must hear of it even if it
// is just waiting for the other side.
type Breaker interface {
	// OnBreak has f called once when the stream fails, at once if it has. A
	// later call replaces f, which may be nil.
	OnBreak(f func())
}

// Source is a Conn that holds what it received, and gives it without copying.
type Source interface {
	// Next waits for bytes, which are valid until the next call, or Release.
	// Its errors are those of Read.
	Next() ([]byte, error)
	// Release gives the memory of Next back.
	Release()
}
