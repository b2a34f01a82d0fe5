package sshserver

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// carry joins a channel and a TCP connection. It returns when the TCP
// connection is closed and the peer has closed the channel too.
func (c *conn) carry(ch ssh.Channel, reqs <-chan *ssh.Request, target pipe.Conn) {
	// With the connection gone the target must not take what it got for the whole.
	defer context.AfterFunc(c.ctx, func() { pipe.Reset(target) })()
	s := newStream(ch, c)
	joined := make(chan error, 1)
	go func() { joined <- pipe.Join(s, target, nil) }()

	ssh.DiscardRequests(reqs) // until the peer closes the channel
	var err error
	select {
	case err = <-joined:
	case <-s.drained:
		// The peer closed the channel, so it takes nothing any more, and the
		// target has all that it sent. A target that never ends would hold
		// the stream for ever. After a break Join resets the target.
		if s.end == io.EOF {
			_ = target.Close()
		}
		err = <-joined
	}
	if err != nil && !pipe.IsEnd(err) {
		c.log.Debug("SSH channel broke", "target", target.RemoteAddr(), "error", err)
	}
}

// stream is a channel as a pipe.Conn. It has no deadlines, as the library's channels have none.
type stream struct {
	ssh.Channel
	local, remote net.Addr
	gone          <-chan struct{} // closed when the connection under it broke
	drained       chan struct{}   // closed when Read has given all there is
	end           error           // what Read ended with; read it after drained is closed
	once          sync.Once
}

func newStream(ch ssh.Channel, c *conn) *stream {
	return &stream{
		Channel: ch,
		local:   c.ssh.LocalAddr(),
		remote:  c.ssh.RemoteAddr(),
		gone:    c.wire.gone,
		drained: make(chan struct{}),
	}
}

// Read gives io.EOF only for an end that the peer announced, and
// io.ErrUnexpectedEOF when the connection broke.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Channel.Read(p)
	if err == io.EOF {
		select {
		case <-s.gone:
			err = io.ErrUnexpectedEOF
		default:
		}
	}
	if err != nil {
		s.once.Do(func() {
			s.end = err
			close(s.drained)
		})
	}
	return n, err
}

func (s *stream) LocalAddr() net.Addr              { return s.local }
func (s *stream) RemoteAddr() net.Addr             { return s.remote }
func (s *stream) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *stream) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *stream) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
