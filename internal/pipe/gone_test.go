package pipe

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// The system tells of a reset once. Here the write comes first, since the read
// is held up by a user who does not read.
func TestAResetThatAWriteMetIsNoCleanEnd(t *testing.T) {
	t.Parallel()
	if !canTell {
		t.Skip("this system does not tell what became of a connection")
	}
	for name, wrap := range map[string]func(*net.TCPConn) Conn{
		"socket": func(c *net.TCPConn) Conn { return c },
		"stream": func(c *net.TCPConn) Conn { return plain{c} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, user := tcpPair(t)
			b, target := tcpPair(t)
			joined := make(chan error, 1)
			go func() { joined <- Join(wrap(a), b, nil) }()
			if err := stuff(target); err != nil { // until nothing moves
				t.Fatal(err)
			}
			if err := errors.Join(target.SetLinger(0), target.Close()); err != nil {
				t.Fatal(err)
			}
			for !isGone(b) {
				runtime.Gosched() // until the reset has come
			}
			if _, err := user.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, user); err == nil {
				t.Errorf("a clean end after %d bytes of a stream that was reset", n)
			}
			if err := <-joined; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("joined: %v", err)
			}
		})
	}
}

// stuff writes until nobody takes anything for a while.
func stuff(c *net.TCPConn) error {
	defer c.SetWriteDeadline(time.Time{})
	chunk := make([]byte, 1<<20)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Write(chunk); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				return nil
			}
			return err
		}
	}
}
