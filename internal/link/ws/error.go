package ws

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Code says why a connection was closed (section 7.4).
type Code uint16

// The codes that the dialects use (section 7.4.1, and the IANA registry for 1012 and 1013).
const (
	CodeNormal         Code = 1000
	CodeGoingAway      Code = 1001
	CodeProtocol       Code = 1002
	CodeUnsupported    Code = 1003
	CodeNoStatus       Code = 1005 // never on the wire: the close frame named no code
	CodeInvalid        Code = 1007
	CodePolicy         Code = 1008
	CodeTooBig         Code = 1009
	CodeInternal       Code = 1011
	CodeServiceRestart Code = 1012
	CodeTryAgain       Code = 1013
)

// sendable reports whether a close frame may carry the code. 1005, 1006 and
// 1015 are for local use only, 1004 and the others below 3000 are reserved.
func (c Code) sendable() bool {
	switch {
	case c >= 1000 && c <= 1003, c >= 1007 && c <= 1014, c >= 3000 && c <= 4999:
		return true
	}
	return false
}

// CloseError is how a Conn ends whose peer sent a close frame. It has been
// answered (section 5.5.1).
type CloseError struct {
	Code   Code   // CodeNoStatus if it named none
	Reason string // the peer's words, valid UTF-8, may be empty
}

func (e *CloseError) Error() string {
	text := "closed by the peer with code " + strconv.Itoa(int(e.Code))
	if e.Reason != "" {
		text += ": " + strconv.Quote(e.Reason)
	}
	return text
}

// ProtocolError is what the peer did wrong. It was sent a close frame with the code.
type ProtocolError struct {
	Code    Code   // CodeProtocol, CodeInvalid, or CodeTooBig
	Problem string // what was wrong, in our words
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("websocket peer broke the protocol (%d): %s", e.Code, e.Problem)
}

var (
	// ErrAbrupt is how a Conn ends whose peer ended the stream without a close
	// frame. It is an io.ErrUnexpectedEOF.
	ErrAbrupt = fmt.Errorf("websocket ended without a close frame: %w", io.ErrUnexpectedEOF)
	// ErrCloseSent is for messages and pings after our close frame (section 5.5.1).
	ErrCloseSent = errors.New("websocket is closing: a close frame was sent")
	// ErrControlTooLong is for a ping of more than MaxControl bytes.
	ErrControlTooLong = errors.New("payload of a control frame is over 125 bytes")
)
