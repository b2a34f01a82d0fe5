package pipe

import (
	"errors"
	"runtime"
	"sync/atomic"
	"syscall"
)

// end is one of the two streams of a Join, with what its writers met.
//
// The system tells of a reset once: to the read or to the write that comes
// first. If that was a write, what is read next looks like a clean end. What
// tells a reset without an end from one behind it, which is no news to the reader,
// is the error of the write: ECONNRESET and EPIPE.
type end struct {
	Conn
	writers atomic.Int32 // writes that are under way
	reset   atomic.Bool  // one of them met ECONNRESET
}

// writing begins a write, wrote tells its end.
func (e *end) writing() { e.writers.Add(1) }

func (e *end) wrote(err error) {
	if err != nil && errors.Is(err, syscall.ECONNRESET) {
		e.reset.Store(true)
	}
	e.writers.Add(-1)
}

// wasReset reports, when reading has come to an end, that it was a reset.
func (e *end) wasReset() bool {
	// On a connection that is gone a write does not wait: the one that has just
	// met the reset is about to say so.
	for e.writers.Load() > 0 && !e.reset.Load() && isGone(e.Conn) {
		runtime.Gosched()
	}
	return e.reset.Load()
}
