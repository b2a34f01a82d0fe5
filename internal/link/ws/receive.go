package ws

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// dataFrame reads the header of the message's next frame, or of the first of
// the next message, and does what the control frames before it ask for.
func (r *reader) dataFrame() (Opcode, error) {
	for {
		h, err := r.readHeader()
		if err != nil {
			return 0, err
		}
		switch {
		case h.op.control():
			if err := r.control(h); err != nil {
				return 0, err
			}
			continue
		case r.open && h.op != opContinuation:
			return 0, r.violation(CodeProtocol, "a new message inside another (section 5.4)")
		case !r.open && h.op == opContinuation:
			return 0, r.violation(CodeProtocol, "a continuation of no message (section 5.4)")
		case h.length > r.max-r.size:
			return 0, r.violation(CodeTooBig, fmt.Sprintf("a message of more than %d bytes", r.max))
		}
		r.open = true
		r.size += h.length
		r.fin, r.length, r.left, r.key = h.fin, h.length, h.length, h.key
		return h.op, nil
	}
}

// readHeader reads a frame's header.
func (r *reader) readHeader() (header, error) {
	if err := r.need(2); err != nil {
		return header{}, err
	}
	size := headerSize(r.buf[r.start+1])
	if err := r.need(size); err != nil {
		return header{}, err
	}
	h, problem := parseHeader(r.buf[r.start : r.start+size])
	r.start += size
	switch {
	case problem != "":
		return header{}, r.violation(CodeProtocol, problem+" (section 5.2)")
	case h.masked == r.client && r.client:
		return header{}, r.violation(CodeProtocol, "a masked frame from a server (section 5.1)")
	case h.masked == r.client:
		return header{}, r.violation(CodeProtocol, "a frame without a mask from a client (section 5.1)")
	}
	return h, nil
}

// need waits until n bytes, at most a control frame, are unread in the buffer.
func (r *reader) need(n int) error {
	for r.end-r.start < n {
		if err := r.fill(); err != nil {
			return err
		}
	}
	return nil
}

// control does what a control frame asks for (section 5.5).
func (r *reader) control(h header) error {
	n := int(h.length)
	if err := r.need(n); err != nil {
		return err
	}
	payload := r.buf[r.start : r.start+n]
	r.start += n
	if h.masked {
		applyMask(payload, payload, h.key)
	}
	switch h.op {
	case opPing:
		_ = r.c.w.post(&r.c.w.waiting.pong, payload, true) // closing: no answer is due
	case opPong:
		if r.onPong != nil {
			r.onPong(payload)
		}
	case opClose:
		return r.closeFrame(payload)
	}
	return nil
}

// closeFrame ends reading with what the peer's close frame says, and answers it
// with the same code (section 5.5.1).
func (r *reader) closeFrame(payload []byte) error {
	if len(payload) == 0 {
		r.c.w.postClose(CodeNoStatus, "")
		return r.fail(&CloseError{Code: CodeNoStatus})
	}
	if len(payload) == 1 {
		return r.violation(CodeProtocol, "a close frame with half a code (section 5.5.1)")
	}
	code, reason := Code(binary.BigEndian.Uint16(payload)), payload[2:]
	if !code.sendable() {
		return r.violation(CodeProtocol, fmt.Sprintf("a close frame with code %d (section 7.4)", code))
	}
	if !utf8.Valid(reason) {
		return r.violation(CodeInvalid, "a close frame whose reason is not UTF-8 (section 8.1)")
	}
	end := &CloseError{Code: code, Reason: string(reason)}
	r.c.w.postClose(code, "")
	return r.fail(end)
}

// violation ends reading because of what the peer did, and tells it so
// (section 7.1.7).
func (r *reader) violation(code Code, problem string) error {
	r.c.w.postClose(code, problem)
	return r.fail(&ProtocolError{Code: code, Problem: problem})
}
