package native

import (
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
)

// Role is what a client says that it is (3.1).
type Role byte

// The roles.
const (
	AnyRole  Role = 0 // whatever the token is for
	User     Role = 1 // a client or connector
	Provider Role = 2
)

// Hello is a client's first frame (3.1).
type Hello struct {
	Role     Role
	Instance uuid.UUID     // zero: a process of this link alone
	Token    redact.Secret // none if its hash stood in the URL
}

// Append appends the frame.
func (m Hello) Append(dst []byte) []byte {
	token := m.Token.Reveal()
	token = token[:min(len(token), maxToken)]
	b := appendHeader(dst, typeHello, 0, 1+16+1+len(token))
	b = append(b, byte(m.Role))
	b = append(b, m.Instance[:]...)
	b = append(b, byte(len(token)))
	return append(b, token...)
}

func decodeHello(p []byte) (m Hello, err error) {
	m.Role = Role(p[0])
	copy(m.Instance[:], p[1:17])
	n := int(p[17])
	if n > len(p)-18 {
		return m, wrong("3.1", "a HELLO that ends within its token")
	}
	m.Token = redact.New(string(p[18 : 18+n]))
	return m, nil
}

// Reason says why something ended (5.2).
type Reason byte

// The reasons.
const (
	Failed Reason = iota
	Refused
	HostUnreachable
	NetworkUnreachable
	NameNotFound
	Denied
	TimedOut
	NoProvider
	GivenUp
	LinkLost
	GoingAway
	TooMany
	InvalidToken
	Idle
)

var reasonTexts = [...]string{
	Failed: "failed", Refused: "connection refused", HostUnreachable: "host unreachable",
	NetworkUnreachable: "network unreachable", NameNotFound: "name not found", Denied: "not allowed", TimedOut: "timed out",
	NoProvider: "no provider is connected", GivenUp: "given up by its user", LinkLost: "the link behind the relay was lost",
	GoingAway: "going away", TooMany: "too many streams", InvalidToken: "invalid token", Idle: "idle for too long",
}

// String says the reason to people.
func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return reasonTexts[Failed]
}

// site is the reason of a dial that failed so.
func (r Reason) site() site.Reason {
	switch r {
	case Refused:
		return site.Refused
	case HostUnreachable:
		return site.HostUnreachable
	case NetworkUnreachable, NoProvider, LinkLost, GoingAway:
		return site.NetworkUnreachable
	case NameNotFound:
		return site.NameNotFound
	case Denied:
		return site.Denied
	case TimedOut:
		return site.TimedOut
	}
	return site.Other
}

// passed is what becomes of a peer's reason when another peer is told it: that
// one end takes no more is nothing to who has no link with it (5.2).
func (r Reason) passed() Reason {
	if r == GoingAway {
		return LinkLost
	}
	return r
}

// reasonOf is why a dial failed, as the peer is told.
func reasonOf(err error) Reason {
	switch site.ReasonOf(err) {
	case site.Refused:
		return Refused
	case site.HostUnreachable:
		return HostUnreachable
	case site.NetworkUnreachable:
		return NetworkUnreachable
	case site.NameNotFound:
		return NameNotFound
	case site.Denied:
		return Denied
	case site.TimedOut:
		return TimedOut
	}
	return Failed
}

// verdict is a reason with a text for people: REFUSED, RESET (3.2, 4.6).
type verdict struct {
	reason Reason
	text   string
}

func (m verdict) append(dst []byte, kind frameType, stream uint32) []byte {
	text := cut(m.text, maxText)
	b := appendHeader(dst, kind, stream, 1+len(text))
	b = append(b, byte(m.reason))
	return append(b, text...)
}

func decodeVerdict(p []byte) verdict {
	return verdict{Reason(p[0]), strings.ToValidUTF8(string(p[1:min(len(p), 1+maxText)]), "?")}
}

// The kinds of OPEN (4.2).
const (
	openTCP byte = 1
	openUDP byte = 2
)

// opening asks for a stream or an association (4.2).
type opening struct {
	kind  byte
	host  string
	port  uint16
	early []byte // in a decoded one a part of the payload
}

func (m opening) address() string { return net.JoinHostPort(m.host, strconv.Itoa(int(m.port))) }

// append appends the frame; the host must have at most 255 bytes, early data
// at most 65 536.
func (m opening) append(dst []byte, stream uint32) []byte {
	b := appendHeader(dst, typeOpen, stream, 1+2+1+len(m.host)+len(m.early))
	b = append(b, m.kind)
	b = binary.BigEndian.AppendUint16(b, m.port)
	b = append(b, byte(len(m.host)))
	b = append(b, m.host...)
	return append(b, m.early...)
}

func decodeOpening(p []byte) (m opening, err error) {
	n := int(p[3])
	if n > len(p)-4 {
		return m, wrong("4.2", "an OPEN that ends within its host")
	}
	m = opening{kind: p[0], port: binary.BigEndian.Uint16(p[1:3]), host: string(p[4 : 4+n]), early: p[4+n:]}
	if len(m.early) > maxEarly {
		return m, wrong("4.2", "%d bytes of early data", len(m.early))
	}
	return m, nil
}

// datagram carries one of an association (4.8).
type datagram struct {
	host    string
	port    uint16
	payload []byte // in a decoded one a part of the frame
}

func (m datagram) append(dst []byte, stream uint32) []byte {
	b := appendHeader(dst, typeDatagram, stream, 1+len(m.host)+2+len(m.payload))
	b = append(b, byte(len(m.host)))
	b = append(b, m.host...)
	b = binary.BigEndian.AppendUint16(b, m.port)
	return append(b, m.payload...)
}

func decodeDatagram(p []byte) (m datagram, err error) {
	n := int(p[0])
	if 1+n+2 > len(p) {
		return m, wrong("4.8", "a DATAGRAM that ends within its address")
	}
	m = datagram{host: string(p[1 : 1+n]), port: binary.BigEndian.Uint16(p[1+n:]), payload: p[1+n+2:]}
	if len(m.payload) > maxDatagram {
		return m, wrong("4.8", "a datagram of %d bytes", len(m.payload))
	}
	return m, nil
}

// goAway says that no more streams are taken (5.1).
type goAway struct {
	last uint32
	verdict
}

func (m goAway) append(dst []byte) []byte {
	text := cut(m.text, maxText-4)
	b := appendHeader(dst, typeGoAway, 0, 4+1+len(text))
	b = binary.BigEndian.AppendUint32(b, m.last)
	b = append(b, byte(m.reason))
	return append(b, text...)
}

func decodeGoAway(p []byte) goAway {
	return goAway{binary.BigEndian.Uint32(p), decodeVerdict(p[4:])}
}

// The operations of CONNECTOR (7).
const (
	opAdd    byte = 1
	opRemove byte = 2
)

// wish is a provider's about a connector token, or the answer to it (7).
type wish struct {
	request uint32
	op      byte // of an answer: 1 if it was done
	text    string
}

func (m wish) append(dst []byte, kind frameType) []byte {
	b := appendHeader(dst, kind, 0, 4+1+len(m.text))
	b = binary.BigEndian.AppendUint32(b, m.request)
	b = append(b, m.op)
	return append(b, m.text...)
}

func decodeWish(p []byte) wish {
	return wish{binary.BigEndian.Uint32(p), p[4], string(p[5:])}
}

// appendNumber appends a frame whose payload is one number: WINDOW, PARTNERS.
func appendNumber(dst []byte, kind frameType, stream, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(dst, kind, stream, 4), n)
}

// line is one for the peer's log (7).
type line struct {
	level byte // 0 debug to 3 error
	text  string
}

func (m line) append(dst []byte) []byte {
	text := cut(m.text, maxLog)
	b := append(appendHeader(dst, typeLog, 0, 1+len(text)), m.level)
	return append(b, text...)
}

func decodeLine(p []byte) line { return line{p[0], strings.ToValidUTF8(string(p[1:]), "?")} }

// cut leaves of a text what there is room for, at a character's end.
func cut(text string, most int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// dialError is a verdict on what this end opened. What a peer that goes away
// has not taken wraps link.ErrLost: another link may take it.
func (m verdict) dialError(address string) error {
	var err error = &BrokenError{m.reason, m.text}
	switch m.reason {
	case GoingAway:
		err = fmt.Errorf("%w: %w", link.ErrLost, err)
	case LinkLost:
		err = fmt.Errorf("%w: %w", link.ErrBehind, err)
	}
	return &site.DialError{Reason: m.reason.site(), Address: address, Err: err}
}
