//go:build unix

package pipe

import (
	"io"
	"syscall"

	"github.com/adit-tunnel/adit/internal/socket"
)

// socketReader reads a socket and takes a buffer only when there are bytes to
// put into it: an idle connection costs none.
type socketReader struct {
	raw syscall.RawConn
	in  socket.Input
	buf *[bufferSize]byte
	n   int
	err error
	try func(fd uintptr) bool // a method value made once, or every read would allocate
}

// socketReaderFor returns nil when src is no socket.
func socketReaderFor(src io.Reader) reader {
	s, ok := src.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	r := &socketReader{raw: raw}
	r.try = r.tryRead
	return r
}

func (r *socketReader) next() ([]byte, error) {
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	if r.n == 0 {
		return nil, io.EOF
	}
	return r.buf[:r.n], nil
}

// tryRead reports false when the socket has nothing, and gives the buffer back for the wait.
func (r *socketReader) tryRead(fd uintptr) bool {
	if r.buf == nil { // else its chunk has been used
		r.buf = takeBuffer()
	}
	var wait bool
	if r.n, wait, r.err = r.in.Read(fd, r.buf[:]); wait || r.err != nil {
		r.release()
	}
	return !wait
}

func (r *socketReader) release() {
	if r.buf != nil {
		giveBuffer(r.buf)
		r.buf = nil
	}
}
