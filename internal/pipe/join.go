// Package pipe joins two streams: it holds the only copy loop of the program,
// and so the only place that decides what half-close, a reset and a count mean.
// It dials nothing and knows no protocol.
//
// Invariants, each with a test:
//
//  1. Every byte read is written, in order, or the stream ends with an error on
//     both sides; never with a clean end.
//  2. EOF in one direction ends that direction only.
//  3. A reader that stalls stops its own stream; what is held for it is one buffer.
//  4. An idle stream holds no large buffer.
package pipe

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lingerTimeout bounds how long a peer may take to notice the end of what was
// just written to it, before its stream is reset.
const lingerTimeout = time.Second

// Meter counts the bytes of the streams that share it, as they are written.
type Meter struct {
	In  atomic.Int64 // from a to b
	Out atomic.Int64 // from b to a
}

// Join copies from a to b and from b to a until both directions have ended, and
// closes both. An EOF is passed on by CloseWrite, so that the other direction
// goes on. Join returns nil after two EOFs. After any error both streams are
// reset, so that neither peer takes what it got for the whole. m may be nil.
//
// When b takes no more bytes, what b has still to say is delivered to a before
// a is reset (and the other way round): a server may answer and close without
// reading all of a request. What a sends meanwhile is dropped, so that a client
// that reads only when it has written everything comes to the answer.
//
// Closing a stream from outside ends Join, and so does a Breaker that breaks.
func Join(a, b Conn, m *Meter) error {
	if m == nil {
		m = new(Meter)
	}
	watch(a, b)
	watch(b, a)
	var dropping sync.WaitGroup
	left, right := &end{Conn: a}, &end{Conn: b}
	done := make(chan error, 1)
	go func() { done <- oneWay(right, left, &m.In, &dropping) }()
	out := oneWay(left, right, &m.Out, &dropping)
	in := <-done
	if in == nil && out == nil {
		return errors.Join(closeError(a.Close()), closeError(b.Close()))
	}
	waitFor(&dropping, lingerTimeout)
	err := cause(in, out)
	abort(a, err)
	abort(b, err)
	dropping.Wait()
	return err
}

// cause is why a stream ended, by the errors of its directions: if one of them only
// met its end, that is what the other brought about.
func cause(in, out error) error {
	switch {
	case in != nil && out != nil && IsEnd(in) && !IsEnd(out):
		return out
	case in != nil && out != nil && IsEnd(out) && !IsEnd(in):
		return in
	}
	return errors.Join(in, out)
}

// watch resets other as soon as c breaks: other may take no bytes for long, and
// nobody would look at c until it does.
func watch(c, other Conn) {
	if b, ok := c.(Breaker); ok {
		b.OnBreak(func(cause error) { abort(other, cause) })
	}
}

// waitFor waits for a group, but not longer than limit.
func waitFor(group *sync.WaitGroup, limit time.Duration) {
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// closeError drops what Close says of a stream that has already ended both
// ways: the peer may have closed it before us.
func closeError(err error) error {
	if isEnd(err) {
		return nil
	}
	return err
}

// oneWay copies from src to dst until src ends, and passes the end on. When dst
// fails it leaves a goroutine in dropping that takes in what src still sends.
func oneWay(dst, src *end, n *atomic.Int64, dropping *sync.WaitGroup) error {
	err := copyStream(dst, src, n)
	if err == nil && src.wasReset() {
		err = os.NewSyscallError("read", syscall.ECONNRESET)
	}
	var write *writeError
	switch {
	case err == nil:
		if err = dst.Conn.CloseWrite(); err == nil || isEnd(err) {
			// The peer may have closed the whole stream already. What it
			// had to say is in the other direction.
			return nil
		}
		return err
	case errors.As(err, &write):
		// dst is gone and so the other direction ends by itself. Until then
		// src stays open, or the answer on its way to it would be lost.
		dropping.Go(func() { drop(src.Conn) })
		return err
	}
	// The source broke: what dst got is not the whole, and it must know.
	abort(dst.Conn, err)
	abort(src.Conn, err)
	return err
}

// linger takes in and drops what c still sends, for a short time, because
// closing a TCP connection with unread bytes destroys what was just written to it.
func linger(c Conn) {
	cut := time.AfterFunc(lingerTimeout, func() { Reset(c) })
	defer cut.Stop()
	drop(c)
}

// drop reads c to its end.
func drop(c Conn) {
	buf := takeBuffer()
	defer giveBuffer(buf)
	for {
		if _, err := c.Read(buf[:]); err != nil {
			return
		}
	}
}

// Finish closes a stream so that what was just written to it arrives, even
// when the peer has sent more than was read. It may take a second.
func Finish(c Conn) {
	if c.CloseWrite() == nil {
		linger(c)
	}
	_ = c.Close()
}

// writeError marks an error of the destination.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

// copyStream returns nil at src's EOF, a *writeError when dst failed and src's error else.
func copyStream(dst, src *end, n *atomic.Int64) error {
	r := newReader(src.Conn)
	defer r.release()
	defer push(src.Conn, dst, n)()
	write := dst.Conn.Write
	if owner, ok := dst.Conn.(Owner); ok {
		write = owner.WriteOwned // the chunk is the reader's, which overwrites it
	}
	for {
		chunk, err := r.next()
		if len(chunk) > 0 {
			dst.writing()
			w, werr := write(chunk)
			dst.wrote(werr)
			n.Add(int64(w))
			if werr == nil && w < len(chunk) {
				werr = io.ErrShortWrite
			}
			if werr != nil {
				return &writeError{werr}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// push has src write short things to dst by itself, if both can. The function
// that it returns ends that.
func push(src Conn, dst *end, n *atomic.Int64) (stop func()) {
	p, ok := src.(Pusher)
	if !ok {
		return func() {}
	}
	d := directTo(dst, n)
	if d == nil {
		return func() {}
	}
	p.PushTo(d)
	return func() { p.PushTo(nil) }
}

// abort ends a stream so that its peer sees an error and, where there are words
// for that, learns why.
func abort(c Conn, cause error) {
	if e, ok := c.(Explainer); ok {
		_ = e.CloseWithError(cause) // what cannot be told is no reason to go on
		return
	}
	Reset(c)
}

// Reset ends a stream so that its peer sees an error and not an end, as far as
// the stream can carry that: a TCP connection sends RST, also the one under TLS,
// whose own Close would say that all was sent. It does not wait.
func Reset(c Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		raw := t.NetConn()
		dropUnsent(raw)
		_ = raw.Close()
		return
	}
	dropUnsent(c)
	_ = c.Close()
}

// dropUnsent has Close send RST, where there is such a thing.
func dropUnsent(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0) // a socket that is gone already needs no RST
	}
}
