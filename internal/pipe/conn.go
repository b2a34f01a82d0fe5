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
	// OnBreak has f called once when the stream fails, at once if it has, and
	// told why. A later call replaces f, which may be nil.
	OnBreak(f func(cause error))
}

// Source is a Conn that holds what it received, and gives it without copying.
type Source interface {
	// Next waits for bytes, which are valid until the next call, or Release.
	// Its errors are those of Read.
	Next() ([]byte, error)
	// Release gives the memory of Next back.
	Release()
}

// Owner is a Conn that can do with what it is given to write as it likes, and is
// quicker so.
type Owner interface {
	// WriteOwned is Write, after which the bytes of p are undefined.
	WriteOwned(p []byte) (int, error)
}

// Pusher is a Source that can write short things out by itself, while nobody is
// busy with what it holds: that saves handing them to another goroutine.
type Pusher interface {
	// PushTo sets where to; nil ends it, and waits until d is not used any more.
	PushTo(d Direct)
}

// Direct takes bytes at once or not at all: it never blocks.
type Direct interface {
	// TryWrite writes what can be written without waiting, and says how much
	// that was. What is wrong shows at the next write that waits.
	TryWrite(p []byte) int
}

// Explainer is a Conn that can tell its peer why it ends.
type Explainer interface {
	// CloseWithError is Close for a reason, as far as the Conn has words for it.
	CloseWithError(cause error) error
}
