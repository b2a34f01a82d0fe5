package linksocks

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// The values of a Data's compression byte. All others mean none, too.
const (
	compNone byte = 0
	compGzip byte = 1
)

const (
	// minInflated is what a stock peer's largest payload stays below: twice its
	// buffer of 1 MiB.
	minInflated     = 2 << 20
	defaultInflated = 4 << 20
)

// A Decoder reads the messages of one authenticated link. The zero Decoder is
// ready. It is for one goroutine at a time.
type Decoder struct {
	// MaxInflated is how many bytes a compressed payload may hold. 0 means
	// 4 MiB; less than 2 MiB, which stock peers come close to, means 2 MiB.
	MaxInflated int

	// The message last decoded is one of these, so that none needs memory of
	// its own.
	auth              Auth
	authResponse      AuthResponse
	connect           Connect
	data              Data
	connectResponse   ConnectResponse
	disconnect        Disconnect
	connector         Connector
	connectorResponse ConnectorResponse
	log               Log
	partners          Partners
	direct            Direct
	unknown           Unknown
}

func (d *Decoder) maxInflated() int {
	if d.MaxInflated == 0 {
		return defaultInflated
	}
	return max(d.MaxInflated, minInflated)
}

// Decode reads msg, which is one whole WebSocket message, text or binary. What
// it returns lives until the next Decode; the byte slices in it that are parts
// of msg change when msg does, the strings do not. Until then the Decoder holds
// on to msg and to an inflated payload: who is done with a Data on a link that
// may now be idle sets its Payload to nil. Bytes behind what the type has room
// for are ignored.
//
// Beside short texts, memory is taken for a compressed payload alone, as much
// as it holds and never more than MaxInflated at a time. The error is a
// *MessageError that wraps ErrShort, ErrVersion, ErrOp, ErrGzip, ErrJSON or
// ErrTooLarge: a payload above MaxInflated, or a Log or Partners above 64 KiB.
//
// Before its peer is authenticated, a link's messages are for DecodeAuth and
// DecodeAuthResponse.
func (d *Decoder) Decode(msg []byte) (Message, error) {
	d.data, d.direct = Data{}, Direct{}
	t, c, err := open(msg)
	if err != nil {
		return nil, err
	}
	m, err := d.decode(t, &c)
	if err == nil && c.short {
		err = ErrShort
	}
	if err != nil {
		return nil, &MessageError{Type: t, Err: err}
	}
	return m, nil
}

// decode reads the fields of a message, which are worth nothing if the cursor
// is short in the end.
func (d *Decoder) decode(t Type, c *cursor) (Message, error) {
	switch t {
	case TypeAuth:
		d.auth = c.auth()
		return &d.auth, nil
	case TypeAuthResponse:
		d.authResponse = c.authResponse()
		return &d.authResponse, nil
	case TypeConnect:
		d.connect = c.connect()
		return &d.connect, nil
	case TypeData:
		return &d.data, d.decodeData(c)
	case TypeConnectResponse:
		d.connectResponse = c.connectResponse()
		return &d.connectResponse, nil
	case TypeDisconnect:
		d.disconnect = c.disconnect()
		return &d.disconnect, nil
	case TypeConnector:
		d.connector = c.connector()
		if op := d.connector.Op; !c.short && op != OpAdd && op != OpRemove {
			return nil, fmt.Errorf("%w %d", ErrOp, op)
		}
		return &d.connector, nil
	case TypeConnectorResponse:
		d.connectorResponse = c.connectorResponse()
		return &d.connectorResponse, nil
	case TypeLog:
		d.log = Log{}
		return &d.log, decodeJSON(c, &d.log)
	case TypePartners:
		d.partners = Partners{}
		return &d.partners, decodeJSON(c, &d.partners)
	case TypeDirectCapabilities, TypeDirectRendezvous, TypeDirectStatus:
		d.direct = Direct{Kind: t, JSON: c.block()}
		return &d.direct, nil
	}
	d.unknown = Unknown{Kind: t}
	return &d.unknown, nil
}

// decodeData inflates only what is well formed to its end.
func (d *Decoder) decodeData(c *cursor) error {
	var gzipped bool
	d.data, gzipped = c.data()
	if c.short || !gzipped {
		return nil
	}
	payload, err := inflate(d.data.Payload, d.maxInflated())
	if err != nil {
		return err
	}
	d.data.Payload, d.data.Inflated = payload, true
	return nil
}

func decodeJSON(c *cursor, into any) error {
	b := c.block()
	switch {
	case c.short:
		return nil
	case len(b) > maxJSON:
		return fmt.Errorf("%w: %d bytes of JSON, at most %d are read", ErrTooLarge, len(b), maxJSON)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	return nil
}

// DecodeAuth reads the first message of a client that gave no token in the URL.
// It looks at nothing but an Auth of at most MaxAuth bytes, and takes no memory
// but the token's. The error is a *MessageError that wraps ErrShort, ErrVersion,
// ErrTooLarge or, for any other message, ErrUnexpected.
func DecodeAuth(msg []byte) (Auth, error) {
	c, err := openFirst(msg, TypeAuth)
	if err != nil {
		return Auth{}, err
	}
	m := c.auth()
	if c.short {
		return Auth{}, &MessageError{Type: TypeAuth, Err: ErrShort}
	}
	return m, nil
}

// DecodeAuthResponse reads the first message of a server, under the same limits
// and with the same errors as DecodeAuth.
func DecodeAuthResponse(msg []byte) (AuthResponse, error) {
	c, err := openFirst(msg, TypeAuthResponse)
	if err != nil {
		return AuthResponse{}, err
	}
	m := c.authResponse()
	if c.short {
		return AuthResponse{}, &MessageError{Type: TypeAuthResponse, Err: ErrShort}
	}
	return m, nil
}

// open reads the two bytes that every message begins with.
func open(msg []byte) (Type, cursor, error) {
	c := cursor{rest: msg}
	version, t := c.byte(), Type(c.byte())
	switch {
	case c.short:
		return 0, cursor{}, &MessageError{Err: ErrShort}
	case version>>4 != Version>>4:
		return t, cursor{}, &MessageError{Type: t, Err: fmt.Errorf("%w: version byte %#02x", ErrVersion, version)}
	}
	return t, c, nil
}

// openFirst opens a message that must be of one type.
func openFirst(msg []byte, want Type) (cursor, error) {
	t, c, err := open(msg)
	switch {
	case err != nil:
		return cursor{}, err
	case t != want:
		return cursor{}, &MessageError{Type: t, Err: ErrUnexpected}
	case len(msg) > MaxAuth:
		return cursor{}, &MessageError{Type: t, Err: fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, len(msg), MaxAuth)}
	}
	return c, nil
}

// Head is what must be known of a message to pass it on as it is.
type Head struct {
	Type Type
	// Channel is the channel of a Connect, Data, ConnectResponse or Disconnect,
	// and zero for all other types.
	Channel uuid.UUID
	Proto   Proto // of a Connect or Data
	Gzipped bool  // the payload of a Data is compressed
}

// Peek reads the head of an encoded message. The channel is at bytes 3 to 18 of
// a Connect, a Data and a ConnectResponse, behind Proto or Ok, and at bytes 2 to
// 17 of a Disconnect; a ConnectorResponse has its id first and Ok behind it.
//
// Of the four types with a channel all lengths are checked, since the next peer
// would close its link over a wrong one: the error is Decode's. A compressed
// payload is not inflated; only Decode tells whether it is sound, and whether
// it is a bomb. Other types are not looked into.
func Peek(msg []byte) (Head, error) {
	t, c, err := open(msg)
	if err != nil {
		return Head{}, err
	}
	h := Head{Type: t}
	switch t {
	case TypeConnect:
		m := c.connect()
		h.Channel, h.Proto = m.Channel, m.Proto
	case TypeData:
		m, gzipped := c.data()
		h.Channel, h.Proto, h.Gzipped = m.Channel, m.Proto, gzipped
	case TypeConnectResponse:
		h.Channel = c.connectResponse().Channel
	case TypeDisconnect:
		h.Channel = c.disconnect().Channel
	}
	if c.short {
		return Head{}, &MessageError{Type: t, Err: ErrShort}
	}
	return h, nil
}
