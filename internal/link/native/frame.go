// Package native is the dialect that adit's own peers speak: adit.v1, which
// docs/protocol.md describes. Section numbers in comments are that page's.
package native

import (
	"encoding/binary"
	"fmt"
)

// Subprotocol is the dialect's name in the WebSocket handshake (1.1).
const Subprotocol = "adit.v1"

const (
	// MaxMessage is the length of the longest WebSocket message (1.3).
	MaxMessage = 1 << 20
	// MaxGreeting is what is read of a message before its sender is known: HELLO.
	MaxGreeting = headerSize + 512

	headerSize = 8

	maxEarly     = 64 << 10
	maxData      = 128 << 10
	maxDatagram  = 65507
	maxHost      = 255
	maxToken     = 255
	maxText      = 255
	maxLog       = 1023
	maxExtension = 128 << 10

	// initialWindow is the credit that a stream begins with, each way (4.3).
	initialWindow = 64 << 10
	// maxWindow is the most credit that may be open (4.3).
	maxWindow = 16 << 20
)

// frameType is the fourth byte of a frame (2).
type frameType byte

const (
	typeHello           frameType = 0x01
	typeWelcome         frameType = 0x02
	typeRefused         frameType = 0x03
	typeOpen            frameType = 0x04
	typeAccept          frameType = 0x05
	typeData            frameType = 0x06
	typeWindow          frameType = 0x07
	typeFin             frameType = 0x08
	typeReset           frameType = 0x09
	typeDatagram        frameType = 0x0A
	typeGoAway          frameType = 0x0B
	typeConnector       frameType = 0x0C
	typeConnectorResult frameType = 0x0D
	typePartners        frameType = 0x0E
	typeLog             frameType = 0x0F

	firstExtension frameType = 0x80
)

// shape is what a frame of a type must look like (2).
type shape struct {
	name     string
	stream   bool // it belongs to one
	min, max int  // of its payload
}

var shapes = [...]shape{
	typeHello:           {"HELLO", false, 18, 512},
	typeWelcome:         {"WELCOME", false, 0, 512},
	typeRefused:         {"REFUSED", false, 1, 512},
	typeOpen:            {"OPEN", true, 4, maxEarly + 260},
	typeAccept:          {"ACCEPT", true, 0, 0},
	typeData:            {"DATA", true, 1, maxData},
	typeWindow:          {"WINDOW", true, 4, 4},
	typeFin:             {"FIN", true, 0, 0},
	typeReset:           {"RESET", true, 1, 256},
	typeDatagram:        {"DATAGRAM", true, 3, maxDatagram + 260},
	typeGoAway:          {"GOAWAY", false, 5, 256},
	typeConnector:       {"CONNECTOR", false, 5, 260},
	typeConnectorResult: {"CONNECTOR_RESULT", false, 5, 260},
	typePartners:        {"PARTNERS", false, 4, 4},
	typeLog:             {"LOG", false, 1, 1024},
}

func (t frameType) String() string {
	switch {
	case int(t) < len(shapes) && shapes[t].name != "":
		return shapes[t].name
	case t >= firstExtension:
		return "an extension"
	}
	return "an unknown type"
}

// Error is what a peer did wrong on the link (6.2).
type Error struct {
	Section string // of docs/protocol.md
	Problem string
}

func (e *Error) Error() string { return "adit.v1, section " + e.Section + ": " + e.Problem }

func wrong(section, format string, args ...any) error {
	return &Error{section, fmt.Sprintf(format, args...)}
}

// header is the first 8 bytes of a frame (2).
type header struct {
	length int
	kind   frameType
	stream uint32
}

func parseHeader(b []byte) header {
	return header{int(b[0])<<16 | int(b[1])<<8 | int(b[2]), frameType(b[3]), binary.BigEndian.Uint32(b[4:8])}
}

// check refuses a frame that cannot be, before its payload is read.
func (h header) check() error {
	if h.kind >= firstExtension {
		if h.length > maxExtension {
			return wrong("2", "an extension of %d bytes", h.length)
		}
		return nil
	}
	if int(h.kind) >= len(shapes) || shapes[h.kind].name == "" {
		return wrong("2", "unknown type 0x%02x", byte(h.kind))
	}
	s := shapes[h.kind]
	switch {
	case h.length < s.min || h.length > s.max:
		return wrong("2", "%s with a payload of %d bytes", s.name, h.length)
	case s.stream && h.stream == 0:
		return wrong("2", "%s without a stream", s.name)
	case !s.stream && h.stream != 0:
		return wrong("2", "%s with a stream", s.name)
	}
	return nil
}

// appendHeader appends the header of a frame.
func appendHeader(dst []byte, kind frameType, stream uint32, length int) []byte {
	dst = append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind))
	return binary.BigEndian.AppendUint32(dst, stream)
}
