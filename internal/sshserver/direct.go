package sshserver

import (
	"context"
	"errors"
	"net"
	"strconv"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// maxHost is the longest host name that a client may ask for, in bytes; DNS ends at 253.
const maxHost = 255

var errMalformed = errors.New("malformed request")

// channelOpen is what the open of a direct-tcpip or a forwarded-tcpip channel
// carries (RFC 4254, section 7.2): the target of the one, the forward of the
// other, and where the connection came from.
type channelOpen struct {
	Host       string
	Port       uint32
	Originator string
	OriginPort uint32
}

func parseDirect(payload []byte) (channelOpen, error) {
	var d channelOpen
	if err := ssh.Unmarshal(payload, &d); err != nil {
		return channelOpen{}, err
	}
	if d.Host == "" || len(d.Host) > maxHost || d.Port == 0 || d.Port > 65535 {
		return channelOpen{}, errMalformed
	}
	return d, nil
}

// direct dials the target of a direct-tcpip channel and carries it.
func (c *conn) direct(nc ssh.NewChannel) {
	d, err := parseDirect(nc.ExtraData())
	if err != nil {
		c.reject(nc, ssh.ConnectionFailed, "malformed request")
		return
	}
	address := net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port)))
	target, err := c.dial(address)
	if err != nil {
		reason, text := openFailure(err)
		c.reject(nc, reason, text)
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil { // the connection is gone
		pipe.Reset(target)
		return
	}
	c.carry(ch, reqs, target)
}

func (c *conn) dial(address string) (pipe.Conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	nc, err := c.cfg.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	target, ok := nc.(pipe.Conn)
	if !ok {
		_ = nc.Close()
		return nil, errors.New("dialled connection has no half-close")
	}
	return target, nil
}

// openFailure says why a dial failed in the words of OpenSSH's server, which
// clients show to people as they are.
func openFailure(err error) (ssh.RejectionReason, string) {
	switch site.ReasonOf(err) {
	case site.Refused:
		return ssh.ConnectionFailed, "Connection refused"
	case site.HostUnreachable:
		return ssh.ConnectionFailed, "No route to host"
	case site.NetworkUnreachable:
		return ssh.ConnectionFailed, "Network is unreachable"
	case site.NameNotFound:
		return ssh.ConnectionFailed, "Name or service not known"
	case site.TimedOut:
		return ssh.ConnectionFailed, "Connection timed out"
	case site.Denied:
		return ssh.Prohibited, "open failed"
	}
	return ssh.ConnectionFailed, "open failed"
}
