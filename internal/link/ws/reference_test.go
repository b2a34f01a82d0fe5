package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"
)

// frame is a frame as it stood on the wire, unmasked.
type frame struct {
	first   byte // FIN, reserved bits, opcode
	masked  bool
	payload []byte
}

// refFrame reads one frame without any judgement, byte by byte from the
// specification's picture (section 5.2). ok is false when b has no whole frame;
// header is true when at least its header is whole.
func refFrame(b []byte) (f frame, length uint64, shortest, header, ok bool, rest []byte) {
	if len(b) < 2 {
		return
	}
	f.first, f.masked = b[0], b[1]>>7 == 1
	length, shortest = uint64(b[1]&127), true
	b = b[2:]
	if n := map[uint64]int{126: 2, 127: 8}[length]; n > 0 {
		if len(b) < n {
			return
		}
		least := map[int]uint64{2: 126, 8: 65536}[n]
		length = 0
		for _, digit := range b[:n] {
			length = length<<8 | uint64(digit)
		}
		shortest = length >= least
		b = b[n:]
	}
	var key []byte
	if f.masked {
		if len(b) < 4 {
			return
		}
		key, b = b[:4], b[4:]
	}
	header = true
	if uint64(len(b)) < length {
		f.payload = bytes.Clone(b) // what there is of it
		b = nil
	} else {
		f.payload, b, ok = bytes.Clone(b[:length]), b[length:], true
	}
	for i := range key {
		for at := i; at < len(f.payload); at += 4 {
			f.payload[at] ^= key[i]
		}
	}
	return f, length, shortest, header, ok, b
}

// refFrames reads what an end wrote, all of which must be whole frames.
func refFrames(b []byte) (list []frame, whole bool) {
	for len(b) > 0 {
		f, _, shortest, _, ok, rest := refFrame(b)
		if !ok || !shortest {
			return list, false
		}
		list, b = append(list, f), rest
	}
	return list, true
}

// message is a message, however many frames it came in.
type message struct {
	op      Opcode
	payload string
}

// outcome is what a reader is to make of its input.
type outcome struct {
	messages []message
	code     Code   // of a close frame or of the violation, 0 for an abrupt end
	closed   bool   // by a close frame
	reason   string // of the close frame
}

// reference says what a reader must make of these bytes.
func reference(b []byte, client bool, limit int64) (o outcome) {
	var open *message
	for {
		f, length, shortest, header, whole, rest := refFrame(b)
		if !header {
			return o
		}
		op, fin := Opcode(f.first&15), f.first&128 != 0
		control := op >= 8
		switch {
		case f.first&0x70 != 0, op > 2 && op < 8, op > 10, !shortest, length>>63 != 0,
			control && (!fin || length > 125), f.masked == client,
			!control && (op == 0) != (open != nil):
			o.code = CodeProtocol
			return o
		case !control && open == nil && length > uint64(limit),
			!control && open != nil && length > uint64(limit)-uint64(len(open.payload)):
			o.code = CodeTooBig
			return o
		case !whole:
			return o
		case op == opClose:
			return refClose(o, f.payload)
		case !control:
			if open == nil {
				open = &message{op: op}
			}
			open.payload += string(f.payload)
			if fin {
				o.messages, open = append(o.messages, *open), nil
			}
		}
		b = rest
	}
}

func refClose(o outcome, payload []byte) outcome {
	if len(payload) == 0 {
		o.closed, o.code = true, CodeNoStatus
		return o
	}
	o.code = CodeProtocol
	if len(payload) == 1 {
		return o
	}
	code := Code(binary.BigEndian.Uint16(payload))
	if code < 1000 || code > 4999 || code > 1014 && code < 3000 || code >= 1004 && code <= 1006 {
		return o
	}
	if o.code = CodeInvalid; !utf8.Valid(payload[2:]) {
		return o
	}
	o.closed, o.code, o.reason = true, code, string(payload[2:])
	return o
}

// outcomeOf reads until it ends, and says how that was.
func outcomeOf(c *Conn) (o outcome, err error) {
	for {
		op, payload, err := c.ReadMessage(nil)
		if err == nil {
			o.messages = append(o.messages, message{op, string(payload)})
			continue
		}
		var closed *CloseError
		var wrong *ProtocolError
		switch {
		case errors.As(err, &closed):
			o.closed, o.code, o.reason = true, closed.Code, closed.Reason
		case errors.As(err, &wrong):
			o.code = wrong.Code
		}
		return o, err
	}
}

// script is a peer that says in, so many bytes a read at most, and then ends.
// What is said to it is kept.
type script struct {
	net.Conn
	in    []byte
	chunk int // 0 is as many as there are

	mu  sync.Mutex
	out []byte
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	if s.chunk > 0 {
		p = p[:min(len(p), s.chunk)]
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(s.out, p...)
	return len(p), nil
}

func (s *script) Close() error                     { return nil }
func (s *script) CloseWrite() error                { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
