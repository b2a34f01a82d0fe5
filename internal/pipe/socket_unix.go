//go:build unix

package pipe

import (
	"io"
	"os"
	"syscall"
)

// socketReader reads a socket and takes a buffer only when there are bytes to
// put into it: an idle connection costs none.
type socketReader struct {
	raw syscall.RawConn
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
	r.release() // the chunk of the last call has been used
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
	r.buf = takeBuffer()
	for {
		r.n, r.err = syscall.Read(int(fd), r.buf[:])
		if r.err != syscall.EINTR {
			break
		}
	}
	if r.err == nil {
		return true
	}
	r.release()
	if r.err == syscall.EAGAIN {
		return false
	}
	r.err = os.NewSyscallError("read", r.err)
	return true
}

func (r *socketReader) release() {
	if r.buf != nil {
		giveBuffer(r.buf)
		r.buf = nil
	}
}
