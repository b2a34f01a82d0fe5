package pipe

import (
	"io"
	"sync"
)

const (
	// bufferSize is what one read can take. Measured on loopback: below 64 KiB
	// the system calls cost, above 128 KiB nothing is gained.
	bufferSize = 128 << 10
	// idleSize is what a stream that cannot say when it is readable holds
	// while nothing comes.
	idleSize = 1 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func takeBuffer() *[bufferSize]byte  { return buffers.Get().(*[bufferSize]byte) }
func giveBuffer(b *[bufferSize]byte) { buffers.Put(b) }

// reader reads a stream in chunks and holds no large buffer while it waits.
type reader interface {
	// next blocks for the next bytes; they are valid until the next call.
	next() ([]byte, error)
	release()
}

func newReader(src io.Reader) reader {
	if s, ok := src.(Source); ok {
		return sourceReader{s}
	}
	if r := socketReaderFor(src); r != nil {
		return r
	}
	return &growingReader{src: src}
}

// sourceReader reads what has memory of its own.
type sourceReader struct{ src Source }

func (r sourceReader) next() ([]byte, error) { return r.src.Next() }
func (r sourceReader) release()              { r.src.Release() }

// growingReader waits with a small buffer and takes a large one as long as the
// bytes come faster than that.
type growingReader struct {
	src   io.Reader
	small [idleSize]byte
	large *[bufferSize]byte
}

func (r *growingReader) next() ([]byte, error) {
	buf := r.small[:]
	if r.large != nil {
		buf = r.large[:]
	}
	n, err := r.src.Read(buf)
	switch {
	case r.large == nil && n == len(buf):
		r.large = takeBuffer()
	case r.large != nil && n <= idleSize:
		// Back to the small one before we wait again.
		copy(r.small[:], buf[:n])
		buf = r.small[:]
		r.release()
	}
	return buf[:n], err
}

func (r *growingReader) release() {
	if r.large != nil {
		giveBuffer(r.large)
		r.large = nil
	}
}
