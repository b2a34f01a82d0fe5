package sshserver

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// conn is one SSH connection that has logged in.
type conn struct {
	*Server
	ssh   *ssh.ServerConn
	ctx   context.Context // ends with the connection
	wire  *wire
	slots chan struct{} // one for each channel that may be open
	work  sync.WaitGroup
}

// serveConn shakes hands and serves until the connection is gone or ctx ends.
func (s *Server) serveConn(ctx context.Context, nc net.Conn) {
	s.tally.update(func(c *Counts) { c.Accepted++; c.Current++ })
	defer s.tally.update(func(c *Counts) { c.Current-- }) // last: who sees it finds a slot free
	defer func() { <-s.slots }()
	w := newWire(s.cfg.Faults.wrap(nc))
	defer context.AfterFunc(ctx, func() { _ = w.Close() })()
	defer func() { _ = w.Close() }()

	if s.cfg.Faults.greet(w) {
		return
	}
	_ = w.SetDeadline(time.Now().Add(handshakeTimeout)) // a closed connection fails the handshake
	sc, chans, reqs, err := ssh.NewServerConn(w, s.handshakeConfig(w))
	if err != nil {
		s.log.Info("SSH handshake", "remote", nc.RemoteAddr(), "error", err)
		return
	}
	_ = w.SetDeadline(time.Time{})
	s.tally.update(func(c *Counts) { c.Authenticated++ })
	s.log.Info("SSH connection opened", "remote", nc.RemoteAddr(), "user", sc.User())

	ctx, cancel := context.WithCancel(ctx)
	c := &conn{Server: s, ssh: sc, ctx: ctx, wire: w, slots: make(chan struct{}, s.cfg.MaxChannels)}
	c.work.Go(func() { c.answerRequests(reqs) })
	for wish := range chans {
		c.open(wish)
	}
	cancel()
	c.work.Wait()
	s.log.Info("SSH connection closed", "remote", nc.RemoteAddr(), "reason", sc.Wait())
}

// open answers one wish for a channel.
func (c *conn) open(nc ssh.NewChannel) {
	c.tally.update(func(n *Counts) { n.ChannelOpens++ })
	if c.cfg.Faults.channel(nc) {
		return
	}
	switch nc.ChannelType() {
	case "direct-tcpip":
		if !c.takeSlot() {
			c.reject(nc, ssh.ResourceShortage, "too many channels")
			return
		}
		c.work.Go(func() {
			defer c.giveSlot()
			c.direct(nc)
		})
	case "session":
		c.reject(nc, ssh.Prohibited, "this server only forwards")
	default:
		c.reject(nc, ssh.UnknownChannelType, "unknown channel type")
	}
}

func (c *conn) reject(nc ssh.NewChannel, reason ssh.RejectionReason, text string) {
	c.log.Debug("SSH channel refused", "type", nc.ChannelType(), "reason", text)
	_ = nc.Reject(reason, text) // fails only with the connection
}

func (c *conn) takeSlot() bool {
	select {
	case c.slots <- struct{}{}:
		c.tally.update(func(n *Counts) { n.CurrentChannels++ })
		return true
	default:
		return false
	}
}

func (c *conn) giveSlot() {
	<-c.slots
	c.tally.update(func(n *Counts) { n.CurrentChannels-- })
}

// wire is the TCP connection under an SSH connection. It knows whether it
// broke, which a channel of the library cannot say: it ends in EOF either way.
type wire struct {
	net.Conn
	gone chan struct{} // closed when reading has failed
	once sync.Once
}

func newWire(nc net.Conn) *wire { return &wire{Conn: nc, gone: make(chan struct{})} }

// Read marks the connection as gone before the library can tell its channels.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.once.Do(func() { close(w.gone) })
	}
	return n, err
}
