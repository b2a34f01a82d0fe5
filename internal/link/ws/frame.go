package ws

import "encoding/binary"

// Opcode is the kind of a frame (section 5.2). Those of messages are exported.
type Opcode byte

// Text is not checked to be UTF-8 (section 8.1): stock linksocks peers put any
// bytes into either kind.
const (
	Text   Opcode = 1
	Binary Opcode = 2

	opContinuation Opcode = 0
	opClose        Opcode = 8
	opPing         Opcode = 9
	opPong         Opcode = 10
)

// control: a frame with this bit in its opcode is about the connection (section 5.5).
func (op Opcode) control() bool { return op&8 != 0 }

func (op Opcode) known() bool {
	return op <= Binary || op >= opClose && op <= opPong
}

// The bits of a frame's first two bytes (section 5.2).
const (
	finBit      = 0x80
	reservedBit = 0x70
	opcodeBits  = 0x0f
	maskBit     = 0x80
	lengthBits  = 0x7f

	length16 = 126 // the length is in the next two bytes
	length64 = 127 // the length is in the next eight

	maxHeader = 2 + 8 + 4
)

// header is a frame's header.
type header struct {
	op     Opcode
	fin    bool
	masked bool
	key    uint32 // the first byte on the wire is the lowest
	length int64
}

// headerSize is how long a header is that begins with these two bytes.
func headerSize(b1 byte) int {
	size := 2
	switch b1 & lengthBits {
	case length16:
		size += 2
	case length64:
		size += 8
	}
	if b1&maskBit != 0 {
		size += 4
	}
	return size
}

// parseHeader takes a whole header, as long as headerSize says. What is wrong
// with it wherever it stands is the problem, "" for nothing.
func parseHeader(b []byte) (h header, problem string) {
	h = header{op: Opcode(b[0] & opcodeBits), fin: b[0]&finBit != 0, masked: b[1]&maskBit != 0}
	rest := b[2:]
	switch n := b[1] & lengthBits; n {
	case length16:
		h.length = int64(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
		if h.length < length16 {
			problem = "a length that is not written the shortest way"
		}
	case length64:
		h.length = int64(binary.BigEndian.Uint64(rest))
		rest = rest[8:]
		if h.length < 0 {
			problem = "a length with its highest bit set"
		} else if h.length <= 0xffff {
			problem = "a length that is not written the shortest way"
		}
	default:
		h.length = int64(n)
	}
	if h.masked {
		h.key = binary.LittleEndian.Uint32(rest)
	}
	switch {
	case b[0]&reservedBit != 0:
		problem = "a reserved bit, but no extension was agreed on"
	case !h.op.known():
		problem = "an unknown opcode"
	case h.op.control() && !h.fin:
		problem = "a control frame in fragments"
	case h.op.control() && h.length > MaxControl:
		problem = "a control frame of more than 125 bytes"
	}
	return h, problem
}

// appendHeader writes the header of a frame that is a whole message, or a
// control frame. Only a masked frame has its key in it.
func appendHeader(b []byte, h header) []byte {
	var mask byte
	if h.masked {
		mask = maskBit
	}
	b = append(b, finBit|byte(h.op))
	switch {
	case h.length < length16:
		b = append(b, mask|byte(h.length))
	case h.length <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, mask|length16), uint16(h.length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|length64), uint64(h.length))
	}
	if h.masked {
		b = binary.LittleEndian.AppendUint32(b, h.key)
	}
	return b
}
