package pipe

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// tcpPair returns both ends of one loopback connection.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			accepted <- c
		}
		close(accepted)
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, ok := <-accepted
	if !ok {
		t.Fatal("not accepted")
	}
	t.Cleanup(func() { c.Close(); peer.Close() })
	limit := time.Now().Add(30 * time.Second)
	c.SetDeadline(limit)
	return peer.(*net.TCPConn), c.(*net.TCPConn)
}

// plain hides that a connection is a socket, so that the growing reader is used.
type plain struct{ c *net.TCPConn }

func (p plain) Read(b []byte) (int, error)         { return p.c.Read(b) }
func (p plain) Write(b []byte) (int, error)        { return p.c.Write(b) }
func (p plain) Close() error                       { return p.c.Close() }
func (p plain) CloseWrite() error                  { return p.c.CloseWrite() }
func (p plain) SetLinger(sec int) error            { return p.c.SetLinger(sec) }
func (p plain) LocalAddr() net.Addr                { return p.c.LocalAddr() }
func (p plain) RemoteAddr() net.Addr               { return p.c.RemoteAddr() }
func (p plain) SetDeadline(t time.Time) error      { return p.c.SetDeadline(t) }
func (p plain) SetReadDeadline(t time.Time) error  { return p.c.SetReadDeadline(t) }
func (p plain) SetWriteDeadline(t time.Time) error { return p.c.SetWriteDeadline(t) }

// joined runs Join between two connections and returns their far ends.
func joined(t testing.TB, m *Meter, wrap func(*net.TCPConn) Conn) (a, b *net.TCPConn, result <-chan error) {
	t.Helper()
	nearA, farA := tcpPair(t)
	nearB, farB := tcpPair(t)
	done := make(chan error, 1)
	go func() { done <- Join(wrap(nearA), wrap(nearB), m) }()
	return farA, farB, done
}

func asSocket(c *net.TCPConn) Conn { return c }
func asPlain(c *net.TCPConn) Conn  { return plain{c} }

func eachKind(t *testing.T, test func(t *testing.T, wrap func(*net.TCPConn) Conn)) {
	t.Run("socket", func(t *testing.T) { t.Parallel(); test(t, asSocket) })
	t.Run("plain", func(t *testing.T) { t.Parallel(); test(t, asPlain) })
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func wait(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<16)
		t.Fatalf("Join did not end\n%s", buf[:runtime.Stack(buf, true)])
		return nil
	}
}

func TestJoinCarriesEveryByteBothWaysAndCountsThem(t *testing.T) {
	eachKind(t, func(t *testing.T, wrap func(*net.TCPConn) Conn) {
		var m Meter
		a, b, result := joined(t, &m, wrap)
		up, down := noise(24<<20), noise(16<<20+7)
		send := func(c *net.TCPConn, p []byte) { c.Write(p); c.CloseWrite() }
		go send(a, up)
		go send(b, down)
		sum := make(chan [32]byte)
		go func() {
			h := sha256.New()
			io.Copy(h, b)
			sum <- [32]byte(h.Sum(nil))
		}()
		got, err := io.ReadAll(a)
		if err != nil || !bytes.Equal(got, down) {
			t.Errorf("down: %d of %d bytes, %v", len(got), len(down), err)
		}
		if <-sum != sha256.Sum256(up) {
			t.Error("up: the bytes differ")
		}
		if err := wait(t, result); err != nil {
			t.Errorf("Join: %v", err)
		}
		if m.In.Load() != int64(len(up)) || m.Out.Load() != int64(len(down)) {
			t.Errorf("counted %d in, %d out", m.In.Load(), m.Out.Load())
		}
	})
}

func TestJoinKeepsTheReplyAfterHalfClose(t *testing.T) {
	eachKind(t, func(t *testing.T, wrap func(*net.TCPConn) Conn) {
		a, b, result := joined(t, nil, wrap)
		a.Write([]byte("question"))
		a.CloseWrite()
		if q, err := io.ReadAll(b); err != nil || string(q) != "question" {
			t.Fatalf("b got %q, %v", q, err)
		}
		// Only now, with the question's direction ended on both sides, the reply.
		b.Write(noise(3 << 20))
		b.Close()
		if r, err := io.ReadAll(a); err != nil || len(r) != 3<<20 {
			t.Errorf("a got %d bytes, %v", len(r), err)
		}
		if err := wait(t, result); err != nil {
			t.Errorf("Join: %v", err)
		}
	})
}

func TestJoinEndsBothSidesWithAnErrorWhenOneBreaks(t *testing.T) {
	eachKind(t, func(t *testing.T, wrap func(*net.TCPConn) Conn) {
		a, b, result := joined(t, nil, wrap)
		b.Write([]byte("half of an answ"))
		io.ReadFull(a, make([]byte, 15))
		Reset(b)
		if _, err := io.ReadAll(a); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a's end: %v, want a reset", err)
		}
		if err := wait(t, result); err == nil {
			t.Error("Join calls a broken stream whole")
		}
	})
}

// earlyAnswer takes nothing, and has an answer waiting: a server that refuses a
// long request after its first line.
type earlyAnswer struct {
	net.Conn
	answer io.Reader
}

func (e *earlyAnswer) Read(p []byte) (int, error)  { return e.answer.Read(p) }
func (e *earlyAnswer) Write(p []byte) (int, error) { return 0, io.EOF }
func (e *earlyAnswer) CloseWrite() error           { return nil }
func (e *earlyAnswer) Close() error                { return nil }

func TestJoinDeliversTheAnswerOfATargetThatStoppedReading(t *testing.T) {
	near, a := tcpPair(t)
	result := make(chan error, 1)
	answer := noise(1 << 20)
	go func() { result <- Join(near, &earlyAnswer{answer: bytes.NewReader(answer)}, nil) }()
	if _, err := a.Write(noise(4096)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(answer))
	if n, err := io.ReadFull(a, got); err != nil || !bytes.Equal(got, answer) {
		t.Errorf("got %d bytes of the answer, %v", n, err)
	}
	a.Close()
	if err := wait(t, result); err == nil {
		t.Error("Join calls it whole, but the request was not delivered")
	}
}

func TestAClientThatReadsOnlyWhenItHasWrittenComesToTheAnswer(t *testing.T) {
	near, a := tcpPair(t)
	result := make(chan error, 1)
	go func() { result <- Join(near, &earlyAnswer{answer: bytes.NewReader([]byte("413"))}, nil) }()
	sent, err := a.Write(noise(32 << 20)) // more than the sockets buffer
	if err == nil {
		if answer, err := io.ReadAll(a); string(answer) != "413" {
			t.Errorf("the answer was %q, %v", answer, err)
		}
	} else if isTimeout(err) {
		t.Errorf("after %d bytes nobody took any more: %v", sent, err)
	}
	if err := wait(t, result); err == nil {
		t.Error("Join calls it whole, but the request was not delivered")
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestJoinHoldsAStalledStreamAndFlowsAgain(t *testing.T) {
	eachKind(t, func(t *testing.T, wrap func(*net.TCPConn) Conn) {
		var m Meter
		a, b, result := joined(t, &m, wrap)
		const size = 48 << 20
		sent := make(chan error, 1)
		go func() {
			_, err := b.Write(noise(size))
			b.Close()
			sent <- err
		}()
		one := make([]byte, 1)
		io.ReadFull(a, one) // it flows, and then a reads no more
		select {
		case <-sent:
			t.Fatal("48 MB went through although nobody reads: something buffers without bound")
		case <-time.After(300 * time.Millisecond):
		}
		rest, err := io.ReadAll(a)
		if err != nil || !bytes.Equal(append(one, rest...), noise(size)) {
			t.Errorf("after the stall: %d bytes, %v", len(rest)+1, err)
		}
		if err := errors.Join(<-sent, a.CloseWrite(), wait(t, result)); err != nil {
			t.Error(err)
		}
	})
}

func TestJoinEndsWhenAStreamIsClosedFromOutside(t *testing.T) {
	eachKind(t, func(t *testing.T, wrap func(*net.TCPConn) Conn) {
		nearA, farA := tcpPair(t)
		nearB, farB := tcpPair(t)
		result := make(chan error, 1)
		go func() { result <- Join(wrap(nearA), wrap(nearB), nil) }()
		farA.Write([]byte("x"))
		io.ReadFull(farB, make([]byte, 1))
		Reset(nearA)
		if err := wait(t, result); err == nil || !IsEnd(err) {
			t.Errorf("Join: %v", err)
		}
		if _, err := farB.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("b's end: %v, want a reset", err)
		}
	})
}

func TestAnIdleStreamHoldsNoLargeBuffer(t *testing.T) {
	r := &growingReader{src: io.MultiReader(bytes.NewReader(noise(bufferSize)), drip{})}
	for range 3 {
		if chunk, err := r.next(); err != nil || len(chunk) == 0 {
			t.Fatalf("%d bytes, %v", len(chunk), err)
		}
	}
	if r.large != nil {
		t.Error("a short read keeps the large buffer")
	}
}

// drip gives one byte at a time.
type drip struct{}

func (drip) Read(p []byte) (int, error) { p[0] = 1; return 1, nil }

func BenchmarkJoin(b *testing.B) {
	for name, wrap := range map[string]func(*net.TCPConn) Conn{"socket": asSocket, "plain": asPlain} {
		b.Run(name, func(b *testing.B) {
			a, far, _ := joined(b, nil, wrap)
			block := noise(64 << 10)
			go io.Copy(io.Discard, far)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				if _, err := a.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			a.Close()
		})
	}
}
