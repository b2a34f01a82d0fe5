//go:build unix

// Package socket reads and writes TCP sockets for streams that exchange little
// at a time: where a round trip is two reads, two writes and two waits in each
// process, what surrounds the system calls counts.
//
// A system call is announced to the runtime, which may then give the processor
// to another thread, and wakes its monitor thread if all were idle: right for
// what may block, and dear in front of what cannot. A socket never blocks. So
// two kinds of calls are not announced (on Linux): the read that follows a
// wait, and the write of something short. The monitor is also who ends the turn
// of a goroutine that runs for long, and it must not sleep on while one is busy
// with sockets: so a read that did not have to wait is announced, and of writes
// every 32nd.
package socket

import (
	"io"
	"net"
	"os"
	"syscall"
)

const (
	// short is the longest write that is not announced, and longest the longest
	// read: some microseconds, some tens of them.
	short   = 16 << 10
	longest = 128 << 10
	// announceEvery is how many short writes come to one that is announced.
	announceEvery = 32
)

// Input reads a socket in the functions that are given to [syscall.RawConn.Read].
// One goroutine uses it. The zero value is ready.
type Input struct {
	waited bool // for what the next attempt reads
}

// Read reads what is there, and reports wait if there is nothing. No bytes
// without an error are the end of the stream.
func (in *Input) Read(fd uintptr, p []byte) (n int, wait bool, err error) {
	attempt := syscall.Read
	if in.waited && len(p) <= longest {
		attempt = read
	}
	for {
		n, err = attempt(int(fd), p)
		if err != syscall.EINTR {
			break
		}
	}
	in.waited = err == syscall.EAGAIN
	switch {
	case in.waited:
		return 0, true, nil
	case err != nil:
		return 0, false, os.NewSyscallError("read", err)
	}
	return n, false, nil
}

// Output writes to a socket in the functions that are given to
// [syscall.RawConn.Write]. One goroutine uses it at a time. The zero value is ready.
type Output struct {
	quiet int // writes since one that was announced
}

// Write writes as much of p as the socket takes without waiting. Its errors are
// those of the system, [syscall.EAGAIN] among them.
func (out *Output) Write(fd uintptr, p []byte) (n int, err error) {
	attempt := write
	if out.quiet++; out.quiet == announceEvery || len(p) > short {
		attempt, out.quiet = syscall.Write, 0
	}
	for {
		n, err = attempt(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// reader reads a connection by way of an Input.
type reader struct {
	conn *net.TCPConn
	raw  syscall.RawConn
	in   Input
	p    []byte
	n    int
	err  error
	try  func(fd uintptr) bool // a method value made once, or every read would allocate
}

// NewReader gives what reads conn like conn itself, for one goroutine.
func NewReader(conn *net.TCPConn) io.Reader {
	raw, err := conn.SyscallConn()
	if err != nil {
		return conn // which says why
	}
	r := &reader{conn: conn, raw: raw}
	r.try = r.tryRead
	return r
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.p = p
	err := r.raw.Read(r.try)
	r.p = nil
	if err == nil {
		err = r.err
	}
	switch {
	case err != nil:
		return 0, explain("read", r.conn, err)
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

func (r *reader) tryRead(fd uintptr) bool {
	var wait bool
	r.n, wait, r.err = r.in.Read(fd, r.p)
	return !wait
}

// writer writes to a connection, what is short without announcing it.
type writer struct {
	conn *net.TCPConn
	raw  syscall.RawConn
	out  Output
	p    []byte
	n    int
	err  error
	try  func(fd uintptr) bool // a method value made once, or every write would allocate
}

// NewWriter gives what writes to conn like conn itself, for one goroutine at a time.
func NewWriter(conn *net.TCPConn) io.Writer {
	raw, err := conn.SyscallConn()
	if err != nil {
		return conn // which says why
	}
	w := &writer{conn: conn, raw: raw}
	w.try = w.tryWrite
	return w
}

func (w *writer) Write(p []byte) (int, error) {
	if len(p) > short {
		return w.conn.Write(p)
	}
	w.p, w.n, w.err = p, 0, nil
	err := w.raw.Write(w.try)
	w.p = nil
	if err == nil {
		err = w.err
	}
	if err != nil {
		return w.n, explain("write", w.conn, err)
	}
	return w.n, nil
}

// tryWrite reports false when the socket takes no more for now.
func (w *writer) tryWrite(fd uintptr) bool {
	for w.n < len(w.p) {
		n, err := w.out.Write(fd, w.p[w.n:])
		w.n += n
		switch {
		case err == syscall.EAGAIN:
			return false
		case err != nil:
			w.err = os.NewSyscallError("write", err)
			return true
		case n == 0:
			w.err = io.ErrUnexpectedEOF
			return true
		}
	}
	return true
}

// explain gives an error the words that it has from conn itself.
func explain(op string, conn *net.TCPConn, err error) error {
	if e, ok := err.(*net.OpError); ok {
		err = e.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: err}
}
