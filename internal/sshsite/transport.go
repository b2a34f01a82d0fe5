package sshsite

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// writeTimeout bounds each write to the TCP connection: x/crypto/ssh has
	// no deadlines of its own, so this and closing are the only ones.
	writeTimeout = 20 * time.Second
	// readBuffer lets one system call take in several 32 KiB packets.
	readBuffer = 128 << 10
	// maxGreeting bounds the lines that a server may send before its version (RFC 4253, section 4.2).
	maxGreeting = 8 << 10
)

// errNotSSH is a greeting that is no SSH version line.
var errNotSSH = errors.New("no SSH version line")

// step is how far a connection attempt has come, for messages.
type step int32

const (
	stepVersion step = iota
	stepKeyExchange
	stepAuthentication
	stepDone
)

func (s step) String() string {
	switch s {
	case stepVersion:
		return "waiting for the server's SSH version"
	case stepKeyExchange:
		return "exchanging keys"
	default:
		return "authenticating"
	}
}

// transport is the TCP connection under an SSH connection. It checks the
// version line, bounds writes, remembers when the last byte came, and knows
// whether the connection has ended, which x/crypto/ssh does not tell: it gives
// every channel of a broken connection a clean EOF.
type transport struct {
	tcp      net.Conn
	in       *bufio.Reader
	step     atomic.Int32
	born     time.Time
	lastRead atomic.Int64 // nanoseconds since born, by the monotonic clock
	foreign  atomic.Bool  // a line came that is no SSH version; a server may send such before it, but hardly any does

	gone chan struct{} // closed when it has ended

	mu      sync.Mutex // guards below
	moved   *sync.Cond // reading or ended changed
	reading bool       // a Read is under way
	ended   bool       // a Read or Write failed, or Close was called
	err     error      // why it ended, unless by Close
}

func newTransport(tcp net.Conn) *transport {
	t := &transport{tcp: tcp, in: bufio.NewReaderSize(tcp, readBuffer), born: time.Now(), gone: make(chan struct{})}
	t.moved = sync.NewCond(&t.mu)
	return t
}

func (t *transport) Read(p []byte) (int, error) {
	t.mu.Lock()
	t.reading = true
	t.moved.Broadcast()
	t.mu.Unlock()

	n, err := t.read(p)

	t.mu.Lock()
	t.reading = false
	if err != nil {
		t.failLocked(err)
	}
	t.mu.Unlock()
	return n, err
}

func (t *transport) read(p []byte) (int, error) {
	if step(t.step.Load()) == stepVersion {
		if err := t.skipGreeting(); err != nil {
			return 0, err
		}
		t.step.Store(int32(stepKeyExchange))
	}
	n, err := t.in.Read(p)
	if n > 0 {
		t.lastRead.Store(int64(time.Since(t.born)))
	}
	return n, err
}

// skipGreeting drops the lines before the version line and leaves that one to be read.
func (t *transport) skipGreeting() error {
	skipped := 0
	for {
		line, err := t.peekLine()
		if bytes.HasPrefix(line, []byte("SSH-2.0-")) || bytes.HasPrefix(line, []byte("SSH-1.99-")) {
			return nil
		}
		if err == nil {
			skipped += len(line)
			t.foreign.Store(true)
			_, err = t.in.Discard(len(line))
		}
		if err == nil && bytes.HasPrefix(line, []byte("SSH-")) {
			return errNotSSH // a protocol version of the last century
		}
		switch begun := skipped == 0 && bytes.HasPrefix([]byte("SSH-2.0-"), line); {
		case err != nil && begun:
			return err
		case err != nil, skipped > maxGreeting:
			// Whatever it was and however it ended: no SSH server says that.
			return errNotSSH
		}
	}
}

// peekLine returns the next line without taking it, or what there is of it and the error that cut it short.
func (t *transport) peekLine() ([]byte, error) {
	for searched := 0; ; {
		_, err := t.in.Peek(searched + 1)
		have, _ := t.in.Peek(t.in.Buffered())
		fresh := have[min(searched, len(have)):]
		if i := bytes.IndexByte(fresh, '\n'); i >= 0 {
			return have[:searched+i+1], nil
		}
		if err != nil {
			return have, err
		}
		if len(have) > maxGreeting || looksForeign(fresh) {
			return have, errNotSSH
		}
		searched = len(have)
	}
}

// looksForeign reports what can never become a line of an SSH greeting: a
// binary protocol that speaks first would otherwise only be found by the time-out.
func looksForeign(b []byte) bool {
	return slices.ContainsFunc(b, func(c byte) bool { return c < ' ' && c != '\t' && c != '\r' })
}

func (t *transport) Write(p []byte) (int, error) {
	// A channel that is opened after the SSH layer has dropped its channels
	// would never be answered. This is where it learns of it.
	if t.over() {
		return 0, net.ErrClosed
	}
	if err := t.tcp.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, t.fail(err)
	}
	n, err := t.tcp.Write(p)
	if err != nil {
		// A packet cut in two cannot be mended; close, so that all learn of it.
		t.fail(err)
		t.tcp.Close()
	}
	return n, err
}

// Close ends the connection.
func (t *transport) Close() error {
	t.fail(nil)
	return t.tcp.Close()
}

func (t *transport) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failLocked(err)
	return err
}

func (t *transport) failLocked(err error) {
	if !t.ended {
		t.err = err
		close(t.gone)
	}
	t.ended = true
	t.moved.Broadcast()
}

func (t *transport) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// fault returns why the connection ended by itself, or nil.
func (t *transport) fault() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// alive reports whether the connection still lived when a channel of it came
// to its EOF; if not, that EOF is none. The goroutine of x/crypto/ssh that
// reads never reads again after the connection has failed, but closes it. So
// either it is reading now, or it will soon, or the connection has ended: this
// waits for the first of them, a few microseconds.
func (t *transport) alive() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.reading && !t.ended {
		t.moved.Wait()
	}
	return !t.ended
}

// lastByte says when the last byte came.
func (t *transport) lastByte() time.Time { return t.born.Add(time.Duration(t.lastRead.Load())) }

func (t *transport) LocalAddr() net.Addr                { return t.tcp.LocalAddr() }
func (t *transport) RemoteAddr() net.Addr               { return t.tcp.RemoteAddr() }
func (t *transport) SetDeadline(d time.Time) error      { return t.tcp.SetDeadline(d) }
func (t *transport) SetReadDeadline(d time.Time) error  { return t.tcp.SetReadDeadline(d) }
func (t *transport) SetWriteDeadline(d time.Time) error { return t.tcp.SetWriteDeadline(d) }
