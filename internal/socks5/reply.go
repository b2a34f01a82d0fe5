package socks5

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/adit-tunnel/adit/internal/site"
)

// Reply is the answer to a request (REP in RFC 1928, section 6).
type Reply byte

// The replies.
const (
	Succeeded               Reply = 0
	GeneralFailure          Reply = 1
	NotAllowed              Reply = 2
	NetworkUnreachable      Reply = 3
	HostUnreachable         Reply = 4
	ConnectionRefused       Reply = 5
	TTLExpired              Reply = 6
	CommandNotSupported     Reply = 7
	AddressTypeNotSupported Reply = 8
)

// String says what the reply means.
func (r Reply) String() string {
	switch r {
	case Succeeded:
		return "succeeded"
	case GeneralFailure:
		return "general failure"
	case NotAllowed:
		return "not allowed"
	case NetworkUnreachable:
		return "network unreachable"
	case HostUnreachable:
		return "host unreachable"
	case ConnectionRefused:
		return "connection refused"
	case TTLExpired:
		return "TTL expired"
	case CommandNotSupported:
		return "command not supported"
	case AddressTypeNotSupported:
		return "address type not supported"
	}
	return "reply " + strconv.Itoa(int(r))
}

// ReplyTo is the reply to a request whose dial ended with err; nil is a
// success. A time-out is answered by TTLExpired, the nearest that there is.
func ReplyTo(err error) Reply {
	if err == nil {
		return Succeeded
	}
	switch site.ReasonOf(err) {
	case site.Refused:
		return ConnectionRefused
	case site.HostUnreachable, site.NameNotFound:
		return HostUnreachable
	case site.NetworkUnreachable:
		return NetworkUnreachable
	case site.Denied:
		return NotAllowed
	case site.TimedOut:
		return TTLExpired
	}
	return GeneralFailure
}

// WriteReply answers a request. bound is the address at which the server is
// connected, listens or takes datagrams for this client; the zero AddrPort is
// written as 0.0.0.0:0. It is one write, of at most 10 seconds, after which c
// has no write deadline.
func WriteReply(c net.Conn, r Reply, bound netip.AddrPort) error {
	if err := c.SetWriteDeadline(time.Now().Add(defaultTimeout)); err != nil {
		return fmt.Errorf("set socks5 deadline: %w", err)
	}
	if _, err := c.Write(encodeReply(r, bound)); err != nil {
		return fmt.Errorf("write socks5 reply: %w", err)
	}
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear socks5 deadline: %w", err)
	}
	return nil
}

// encodeReply writes a reply.
func encodeReply(r Reply, bound netip.AddrPort) []byte {
	b := make([]byte, 0, 3+addressLen(typeIPv6, 0))
	b = append(b, version, byte(r), 0)
	return appendAddress(b, addressOf(bound))
}
