package socks5

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
)

// minRequest is the length of the shortest request, one for a name of one byte.
const minRequest = 4 + 1 + 1 + 2

// maxAuth is the length of the longest message of a handshake, RFC 1929's.
const maxAuth = 1 + 1 + 255 + 1 + 255

// exchange reads the messages of one handshake.
type exchange struct {
	c     net.Conn
	n     int  // buf[:n] is the current message, as far as read, and what came behind it
	begun bool // a byte was read
	buf   [maxAuth + minRequest]byte
}

// fill reads until the first n bytes of the current message are there, and
// returns them, valid until next is called. ahead is how many bytes the client
// must still send behind these n, at the least, before the handshake can
// succeed: as many may be read along, which saves system calls, and no more,
// because what follows the request is not ours.
func (e *exchange) fill(n, ahead int) ([]byte, error) {
	if e.n < n {
		got, err := io.ReadAtLeast(e.c, e.buf[e.n:n+ahead], n-e.n)
		e.n += got
		e.begun = e.begun || got > 0
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, ErrTimeout
		case errors.Is(err, io.EOF) && e.begun:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
	return e.buf[:n], nil
}

// next ends the current message, which was n bytes long.
func (e *exchange) next(n int) {
	e.n = copy(e.buf[:], e.buf[n:e.n])
}

// send writes a message of the server's.
func (e *exchange) send(message ...byte) error {
	_, err := e.c.Write(message)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTimeout
	}
	return err
}

// readRequest reads the request (RFC 1928, section 4). RSV is not looked at:
// nothing depends on it, and a client that sets it is no danger to anyone.
func (e *exchange) readRequest() (Request, error) {
	head, err := e.fill(4, minRequest-4)
	if err != nil {
		return Request{}, err
	}
	if head[0] != version {
		return Request{}, fmt.Errorf("%w: version byte %#02x", ErrVersion, head[0])
	}
	command := Command(head[1])
	if !knownAddressType(head[3]) {
		return Request{}, fmt.Errorf("%w %d", ErrAddressType, head[3])
	}
	head, err = e.fill(5, minRequest-5)
	if err != nil {
		return Request{}, err
	}
	// All of the request is read before its command is judged: a connection
	// closed with bytes unread is reset, and a reset can overtake the reply.
	message, err := e.fill(3+addressLen(head[3], head[4]), 0)
	if err != nil {
		return Request{}, err
	}
	target, _, err := readAddress(message[3:])
	if err != nil {
		return Request{}, err
	}
	if command < Connect || command > Associate {
		return Request{}, fmt.Errorf("%w %d", ErrCommand, byte(command))
	}
	return Request{Command: command, Host: target.host(), Port: target.port}, nil
}

// refuse answers a request that readRequest did not take. What the client
// makes of it changes nothing, so a failed write is not reported.
func (e *exchange) refuse(err error) {
	var reply Reply
	switch {
	case errors.Is(err, ErrCommand):
		reply = CommandNotSupported
	case errors.Is(err, ErrAddressType):
		reply = AddressTypeNotSupported
	case errors.Is(err, ErrVersion), errors.Is(err, ErrName):
		reply = GeneralFailure
	default: // the client is gone, or too slow to be waited for
		return
	}
	_ = e.send(encodeReply(reply, netip.AddrPort{})...)
}
