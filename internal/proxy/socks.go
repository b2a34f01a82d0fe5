package proxy

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/adit-tunnel/adit/internal/site"
)

// The numbers of RFC 1928, sections 3 to 6, and RFC 1929, section 2.
const (
	socksVersion    = 5
	loginVersion    = 1
	methodNone      = 0
	methodPassword  = 2
	methodNoneFits  = 0xff
	commandConnect  = 1
	typeIPv4        = 1
	typeName        = 3
	typeIPv6        = 4
	replySucceeded  = 0
	replyDenied     = 2
	replyNetwork    = 3
	replyHost       = 4
	replyRefused    = 5
	replyTTLExpired = 6
)

// askSOCKS asks a SOCKS5 proxy for the target. It reads exactly what belongs to
// the handshake: what comes behind is the target's.
func (p *Proxy) askSOCKS(c io.ReadWriter, t target) error {
	if err := p.greet(c); err != nil {
		return err
	}
	if _, err := c.Write(appendRequest(nil, t)); err != nil {
		return fmt.Errorf("send it the request: %w", err)
	}
	return readReply(c)
}

// greet agrees on a method and logs in with it.
func (p *Proxy) greet(c io.ReadWriter) error {
	offer := []byte{socksVersion, 1, methodNone}
	if p.login {
		offer = []byte{socksVersion, 2, methodNone, methodPassword}
	}
	if _, err := c.Write(offer); err != nil {
		return fmt.Errorf("greet it: %w", err)
	}
	var chosen [2]byte
	if _, err := io.ReadFull(c, chosen[:]); err != nil {
		return unanswered(err)
	}
	switch method := chosen[1]; {
	case chosen[0] != socksVersion:
		return fail(site.Other, "it does not speak SOCKS5")
	case method == methodNone:
		return nil
	case method == methodPassword && p.login:
		return p.logIn(c)
	case method == methodNoneFits && p.login:
		return fail(site.Other, "it takes no user and password")
	case method == methodNoneFits:
		return fail(site.Other, "it wants credentials, and its URL has none")
	default:
		return fail(site.Other, "it chose authentication method %d, which was not offered", method)
	}
}

// logIn is RFC 1929.
func (p *Proxy) logIn(c io.ReadWriter) error {
	password := p.password.Reveal()
	b := append([]byte{loginVersion, byte(len(p.username))}, p.username...)
	b = append(append(b, byte(len(password))), password...)
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("log in to it: %w", err)
	}
	var status [2]byte
	if _, err := io.ReadFull(c, status[:]); err != nil {
		return unanswered(err)
	}
	switch {
	case status[0] != loginVersion:
		return fail(site.Other, "it answered the login with version %d", status[0])
	case status[1] != 0:
		return fail(site.Other, "it refused the credentials")
	}
	return nil
}

func appendRequest(b []byte, t target) []byte {
	b = append(b, socksVersion, commandConnect, 0)
	switch {
	case !t.ip.IsValid():
		b = append(append(b, typeName, byte(len(t.host))), t.host...)
	case t.ip.Is4():
		b = append(append(b, typeIPv4), t.ip.AsSlice()...)
	default:
		b = append(append(b, typeIPv6), t.ip.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, t.port)
}

// readReply reads a reply to its last byte. Of a refusal it reads no more than
// the code: some proxies send no more.
func readReply(r io.Reader) error {
	var b [1 + 255 + 2]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return unanswered(err)
	}
	switch {
	case b[0] != socksVersion:
		return fail(site.Other, "it answered with SOCKS version %d", b[0])
	case b[1] != replySucceeded:
		return refusedBy(b[1])
	}
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return unanswered(err)
	}
	var rest int
	switch b[1] {
	case typeIPv4:
		rest = 4 + 2
	case typeIPv6:
		rest = 16 + 2
	case typeName:
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return unanswered(err)
		}
		rest = int(b[0]) + 2
	default:
		return fail(site.Other, "it answered with the unknown address type %d", b[1])
	}
	if _, err := io.ReadFull(r, b[:rest]); err != nil {
		return unanswered(err)
	}
	return nil
}

// refusedBy is the error of a reply (RFC 1928, section 6).
func refusedBy(reply byte) error {
	reason := site.Other
	switch reply {
	case replyDenied:
		reason = site.Denied
	case replyNetwork:
		reason = site.NetworkUnreachable
	case replyHost:
		reason = site.HostUnreachable
	case replyRefused:
		reason = site.Refused
	case replyTTLExpired:
		reason = site.TimedOut
	}
	return fail(reason, "it answered %v (reply %d)", reason, reply)
}
