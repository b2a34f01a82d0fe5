package sshserver

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// forwardRequest is what tcpip-forward and cancel-tcpip-forward carry (RFC 4254, section 7.1).
type forwardRequest struct {
	Host string
	Port uint32
}

// forwards are the listeners of one connection, by the host that was asked for
// and the port that is bound.
type forwards map[forwardRequest]net.Listener

func parseForward(payload []byte) (forwardRequest, error) {
	var f forwardRequest
	if err := ssh.Unmarshal(payload, &f); err != nil {
		return forwardRequest{}, err
	}
	if len(f.Host) > maxHost || f.Port > 65535 {
		return forwardRequest{}, errMalformed
	}
	return f, nil
}

// answerRequests answers global requests one after the other, since answers are
// told apart by their order alone. What it does not know it refuses, keepalives
// too: that is the answer they want.
func (c *conn) answerRequests(reqs <-chan *ssh.Request) {
	open := make(forwards)
	defer func() {
		for key := range open {
			c.unlisten(open, key)
		}
	}()
	for req := range reqs {
		if c.cfg.Faults.request(req) {
			continue
		}
		switch req.Type {
		case "tcpip-forward":
			c.startForward(open, req)
		case "cancel-tcpip-forward":
			key, err := parseForward(req.Payload)
			_ = req.Reply(err == nil && c.unlisten(open, key), nil)
		default:
			_ = req.Reply(false, nil)
		}
	}
}

// startForward listens, answers, and only then accepts: a channel that came
// before the answer would belong to no forward that the client knows.
func (c *conn) startForward(open forwards, req *ssh.Request) {
	asked, err := parseForward(req.Payload)
	if err != nil || len(open) == maxForwards {
		c.log.Warn("SSH forward refused", "host", asked.Host, "forwards", len(open), "error", err)
		_ = req.Reply(false, nil)
		return
	}
	address := net.JoinHostPort(bindHost(asked.Host, c.cfg.GatewayPorts), strconv.Itoa(int(asked.Port)))
	ln, err := new(net.ListenConfig).Listen(c.ctx, "tcp", address)
	if err != nil {
		c.log.Info("SSH forward refused", "error", err)
		_ = req.Reply(false, nil)
		return
	}
	key := forwardRequest{Host: asked.Host, Port: uint32(ln.Addr().(*net.TCPAddr).Port)}
	var answer []byte
	if asked.Port == 0 {
		answer = ssh.Marshal(struct{ Port uint32 }{key.Port})
	}
	open[key] = ln
	c.tally.update(func(n *Counts) { n.CurrentForwards++ })
	_ = req.Reply(true, answer) // fails only with the connection
	c.work.Go(func() { c.accept(key, ln) })
}

// unlisten closes a forward's listener and reports whether there was one.
// Connections that came by it go on.
func (c *conn) unlisten(open forwards, key forwardRequest) bool {
	ln, ok := open[key]
	if !ok {
		return false
	}
	_ = ln.Close()
	delete(open, key)
	c.tally.update(func(n *Counts) { n.CurrentForwards-- })
	return true
}

// bindHost is the host to listen on. "localhost" is 127.0.0.1 alone, "" every address.
func bindHost(asked string, gateway bool) string {
	switch {
	case !gateway:
		if ip, err := netip.ParseAddr(asked); err == nil && ip.Is6() {
			return "::1"
		}
		return "127.0.0.1"
	case asked == "localhost":
		return "127.0.0.1"
	case asked == "*":
		return ""
	}
	return asked
}

// accept opens a channel for each connection until ln is closed.
func (c *conn) accept(key forwardRequest, ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if passing(err) {
			pause(c.ctx, acceptPause)
			continue
		}
		if err != nil {
			return
		}
		from := nc.(*net.TCPConn)
		if !c.takeSlot() {
			c.log.Warn("too many SSH channels", "limit", cap(c.slots))
			pipe.Reset(from)
			continue
		}
		c.work.Go(func() {
			defer c.giveSlot()
			c.forwarded(key, from)
		})
	}
}

// forwarded carries one connection that came to a forward's listener. The client
// finds its forward by the host as it wrote it.
func (c *conn) forwarded(key forwardRequest, from *net.TCPConn) {
	origin := from.RemoteAddr().(*net.TCPAddr)
	ch, reqs, err := c.openChannel("forwarded-tcpip", channelOpen{
		Host:       key.Host,
		Port:       key.Port,
		Originator: origin.IP.String(),
		OriginPort: uint32(origin.Port),
	})
	if err != nil {
		c.log.Debug("SSH client took no connection", "forward", key.Host, "port", key.Port, "error", err)
		pipe.Reset(from)
		return
	}
	c.carry(ch, reqs, from)
}

// openChannel asks the client for a channel and waits for its answer. The
// library never answers an open that crosses the end of the connection, so a
// second after that end we no longer wait for it.
func (c *conn) openChannel(name string, open channelOpen) (ssh.Channel, <-chan *ssh.Request, error) {
	type answer struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		ch, reqs, err := c.ssh.OpenChannel(name, ssh.Marshal(open))
		answers <- answer{ch, reqs, err}
	}()
	lost := make(chan struct{})
	defer context.AfterFunc(c.ctx, func() { time.AfterFunc(time.Second, func() { close(lost) }) })()
	select {
	case a := <-answers:
		return a.ch, a.reqs, a.err
	case <-lost:
		return nil, nil, net.ErrClosed
	}
}
