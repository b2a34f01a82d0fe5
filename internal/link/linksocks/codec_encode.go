package linksocks

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Append appends the encoded message.
func (m Auth) Append(dst []byte) ([]byte, error) {
	token := m.Token.Reveal()
	if len(token) > maxText {
		return dst, tooLong(TypeAuth, "token")
	}
	b := appendText(begin(dst, TypeAuth), token)
	b = append(b, flag(m.Reverse))
	return append(b, m.Instance[:]...), nil
}

// Append appends the encoded message.
func (m AuthResponse) Append(dst []byte) ([]byte, error) {
	b := append(begin(dst, TypeAuthResponse), flag(m.OK))
	token := m.Token.Reveal()
	switch {
	case !m.OK:
		return appendText(b, cut(m.Cause)), nil
	case len(token) > maxText:
		return dst, tooLong(TypeAuthResponse, "token")
	case token != "":
		return appendText(b, token), nil
	}
	return b, nil
}

// Append appends the encoded message. The protocol must be TCP or UDP.
func (m Connect) Append(dst []byte) ([]byte, error) {
	switch {
	case !m.Proto.known():
		return dst, unknownProto(TypeConnect, m.Proto)
	case len(m.Host) > maxText:
		return dst, tooLong(TypeConnect, "host")
	}
	b := append(begin(dst, TypeConnect), byte(m.Proto))
	b = append(b, m.Channel[:]...)
	if m.Proto == TCP {
		b = appendText(b, m.Host)
		b = binary.BigEndian.AppendUint16(b, m.Port)
	}
	return b, nil
}

const (
	// dataHeader is the length of a Data before its payload: version, type,
	// protocol, channel, compression and length.
	dataHeader = 1 + 1 + 1 + len(uuid.UUID{}) + 1 + 4

	// MaxEnvelope is the length of a Data without its payload, at most.
	MaxEnvelope = dataHeader + 2*(1+maxText+2)
)

// Envelope encodes what stands around the payload, so that the three parts can
// be written without copying it: header, m.Payload, trailer. The trailer of TCP
// is empty. Both are written to the memory of scratch, if it has MaxEnvelope
// bytes or, for TCP, 24. The error is that of Append.
func (m Data) Envelope(scratch []byte) (header, trailer []byte, err error) {
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	b := m.appendHeader(scratch[:0])
	n := len(b)
	b = m.appendTrailer(b)
	return b[:n:n], b[n:], nil
}

// Append appends the encoded message, payload included. The protocol must be
// TCP or UDP, and the message no longer than MaxMessage, else it is ErrProto or
// ErrTooLarge. The payload goes out as it is, never compressed.
func (m Data) Append(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	b := append(m.appendHeader(dst), m.Payload...)
	return m.appendTrailer(b), nil
}

func (m Data) check() error {
	switch {
	case !m.Proto.known():
		return unknownProto(TypeData, m.Proto)
	case len(m.Source.Host) > maxText, len(m.Target.Host) > maxText:
		return tooLong(TypeData, "host")
	case len(m.Payload) > MaxMessage-MaxEnvelope:
		return &MessageError{Type: TypeData, Err: fmt.Errorf("%w: payload of %d bytes", ErrTooLarge, len(m.Payload))}
	}
	return nil
}

func (m Data) appendHeader(dst []byte) []byte {
	b := append(begin(dst, TypeData), byte(m.Proto))
	b = append(b, m.Channel[:]...)
	b = append(b, compNone)
	return binary.BigEndian.AppendUint32(b, uint32(len(m.Payload)))
}

func (m Data) appendTrailer(dst []byte) []byte {
	if m.Proto != UDP {
		return dst
	}
	b := appendText(dst, m.Source.Host)
	b = binary.BigEndian.AppendUint16(b, m.Source.Port)
	b = appendText(b, m.Target.Host)
	return binary.BigEndian.AppendUint16(b, m.Target.Port)
}

// Append appends the encoded message. The error is always nil.
func (m ConnectResponse) Append(dst []byte) ([]byte, error) {
	b := append(begin(dst, TypeConnectResponse), flag(m.OK))
	b = append(b, m.Channel[:]...)
	if !m.OK {
		b = appendText(b, cut(m.Cause))
	}
	return b, nil
}

// Append appends the encoded message. The error is always nil.
func (m Disconnect) Append(dst []byte) ([]byte, error) {
	b := append(begin(dst, TypeDisconnect), m.Channel[:]...)
	if m.Cause != "" {
		b = appendText(b, cut(m.Cause))
	}
	return b, nil
}

// Append appends the encoded message. An operation that is neither OpAdd nor
// OpRemove is ErrOp.
func (m Connector) Append(dst []byte) ([]byte, error) {
	token := m.Token.Reveal()
	switch {
	case len(token) > maxText:
		return dst, tooLong(TypeConnector, "token")
	case m.Op != OpAdd && m.Op != OpRemove:
		return dst, &MessageError{Type: TypeConnector, Err: fmt.Errorf("%w %d", ErrOp, m.Op)}
	}
	b := append(begin(dst, TypeConnector), m.Request[:]...)
	b = appendText(b, token)
	return append(b, byte(m.Op)), nil
}

// Append appends the encoded message.
func (m ConnectorResponse) Append(dst []byte) ([]byte, error) {
	b := append(begin(dst, TypeConnectorResponse), m.Request[:]...)
	b = append(b, flag(m.OK))
	token := m.Token.Reveal()
	switch {
	case !m.OK:
		return appendText(b, cut(m.Cause)), nil
	case len(token) > maxText:
		return dst, tooLong(TypeConnectorResponse, "token")
	case token != "":
		return appendText(b, token), nil
	}
	return b, nil
}

// Append appends the encoded message. More than 64 KiB of JSON is ErrTooLarge.
func (m Log) Append(dst []byte) ([]byte, error) { return appendJSON(dst, TypeLog, m) }

// Append appends the encoded message. The error is always nil.
func (m Partners) Append(dst []byte) ([]byte, error) { return appendJSON(dst, TypePartners, m) }

// Append appends the encoded message. JSON longer than MaxMessage has room for
// is ErrTooLarge, a kind that is none of the three ErrType.
func (m Direct) Append(dst []byte) ([]byte, error) {
	switch {
	case m.Kind < TypeDirectCapabilities || m.Kind > TypeDirectStatus:
		return dst, &MessageError{Type: m.Kind, Err: ErrType}
	case len(m.JSON) > MaxMessage-(1+1+4):
		return dst, &MessageError{Type: m.Kind, Err: fmt.Errorf("%w: %d bytes of JSON", ErrTooLarge, len(m.JSON))}
	}
	return appendBlock(begin(dst, m.Kind), m.JSON), nil
}

func appendJSON(dst []byte, t Type, m any) ([]byte, error) {
	b, err := json.Marshal(m)
	switch {
	case err != nil:
		return dst, &MessageError{Type: t, Err: fmt.Errorf("%w: %w", ErrJSON, err)}
	case len(b) > maxJSON:
		return dst, &MessageError{Type: t, Err: fmt.Errorf("%w: %d bytes of JSON", ErrTooLarge, len(b))}
	}
	return appendBlock(begin(dst, t), b), nil
}

func begin(dst []byte, t Type) []byte { return append(dst, Version, byte(t)) }

func appendBlock(dst, block []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(block))), block...)
}

// appendText appends a text of at most 255 bytes behind its length.
func appendText[T string | []byte](dst []byte, text T) []byte {
	return append(append(dst, byte(len(text))), text...)
}

// cut leaves of a text what a length of one byte can say.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	for n := maxText; n > maxText-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return text[:n]
		}
	}
	return text[:maxText] // not UTF-8
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (p Proto) known() bool { return p == TCP || p == UDP }

func unknownProto(t Type, p Proto) error {
	return &MessageError{Type: t, Err: fmt.Errorf("%w %d", ErrProto, p)}
}

func tooLong(t Type, field string) error {
	return &MessageError{Type: t, Err: fmt.Errorf("%s: %w", field, ErrTooLong)}
}
