package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// slow is a stream whose reads end some time after their deadline came, and whose
// writes end with the direction.
type slow struct {
	pipe.Conn
	expired  chan struct{} // a deadline has passed
	woken    chan struct{} // a read whose deadline has passed may return
	shut     chan struct{} // by CloseWrite
	reading  bool
	deadline bool
	early    bool // the deadline was taken away while a read was under way
}

func (s *slow) Read([]byte) (int, error) {
	if !s.deadline && s.expired == nil {
		return 0, io.EOF
	}
	s.reading = true
	<-s.expired
	<-s.woken
	s.reading = false
	s.expired = nil
	return 0, os.ErrDeadlineExceeded
}

func (s *slow) Write([]byte) (int, error) {
	<-s.shut
	return 0, syscall.EPIPE
}

func (s *slow) SetReadDeadline(t time.Time) error {
	if s.deadline = !t.IsZero(); s.deadline {
		close(s.expired)
	}
	s.early = s.early || !s.deadline && s.reading
	return nil
}

func (s *slow) CloseWrite() error    { close(s.shut); return nil }
func (s *slow) Close() error         { return nil }
func (s *slow) RemoteAddr() net.Addr { return target("target:80") }

// Who waits in a read or a write when the connection is closed is told so, however
// late it wakes.
func TestCloseWaitsForWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{expired: make(chan struct{}), woken: make(chan struct{}), shut: make(chan struct{})}
		c := (&Client{}).conn(s)
		var running sync.WaitGroup
		for what, wait := range map[string]func([]byte) (int, error){"read": c.Read, "write": c.Write} {
			running.Go(func() {
				if _, err := wait(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		close(s.woken)
		running.Wait()
		synctest.Wait()
		if s.early || s.deadline {
			t.Errorf("the deadline of a read that is to end was taken away: %t; it was not at last: %t", s.early, s.deadline)
		}
	})
}
