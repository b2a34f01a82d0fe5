// Package linksocks is the wire dialect of linksocks peers (protocol byte 0x01,
// v1.8.9): what one WebSocket message holds, in both directions. It accepts
// what the peers' own parser accepts and refuses what that refuses, but bounds
// what it is made to do. It never compresses.
//
// Every Append appends a whole message to dst and returns that. With an error,
// which is a *MessageError, it returns dst as it was. A cause longer than 255
// bytes is cut, between two characters if it is UTF-8; a token or host that long
// is ErrTooLong.
//
// A Session is a link on which both ends know each other: it decides which
// message may come when, from whom, and what follows from it.
package linksocks

import (
	"net"
	"strconv"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Version is the first byte of every message: the major version in the high
// four bits, the minor in the low. Peers of another minor version are spoken to.
const Version byte = 0x01

// Type is the second byte of every message.
type Type byte

// The types. All others are extensions that this dialect does not know.
const (
	TypeAuth               Type = 0x01
	TypeAuthResponse       Type = 0x02
	TypeConnect            Type = 0x03
	TypeData               Type = 0x04
	TypeConnectResponse    Type = 0x05
	TypeDisconnect         Type = 0x06
	TypeConnector          Type = 0x07
	TypeConnectorResponse  Type = 0x08
	TypeLog                Type = 0x09
	TypePartners           Type = 0x0A
	TypeDirectCapabilities Type = 0x0B
	TypeDirectRendezvous   Type = 0x0C
	TypeDirectStatus       Type = 0x0D
)

var typeNames = [...]string{
	TypeAuth:               "auth",
	TypeAuthResponse:       "auth_response",
	TypeConnect:            "connect",
	TypeData:               "data",
	TypeConnectResponse:    "connect_response",
	TypeDisconnect:         "disconnect",
	TypeConnector:          "connector",
	TypeConnectorResponse:  "connector_response",
	TypeLog:                "log",
	TypePartners:           "partners",
	TypeDirectCapabilities: "direct_capabilities",
	TypeDirectRendezvous:   "direct_rendezvous",
	TypeDirectStatus:       "direct_status",
}

// String names the type. All unknown types have one name, "unknown", so that a
// peer cannot make up labels.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return "unknown"
}

// Proto says what a channel carries. A peer may send other values than these:
// the message then has neither an address nor a trailer.
type Proto byte

// The protocols.
const (
	TCP Proto = 1
	UDP Proto = 2
)

// Op is what a Connector message asks for.
type Op byte

// The operations.
const (
	OpAdd    Op = 1
	OpRemove Op = 2
)

// A Message is one of *Auth, *AuthResponse, *Connect, *Data, *ConnectResponse,
// *Disconnect, *Connector, *ConnectorResponse, *Log, *Partners, *Direct and
// *Unknown.
type Message interface{ Type() Type }

// Auth is the first message of a client that gave no token in the URL.
type Auth struct {
	Token    redact.Secret // in plain, at most 255 bytes
	Reverse  bool          // the client is a provider
	Instance uuid.UUID     // of the client's process, the same on all its links
}

// AuthResponse is the first message of a server.
type AuthResponse struct {
	OK    bool
	Cause string        // free text, at most 255 bytes; only if not OK
	Token redact.Secret // the token in effect, which some servers tell; only if OK
}

// Connect opens a channel.
type Connect struct {
	Proto   Proto
	Channel uuid.UUID
	// Host is, for TCP alone, an IP address without brackets or a name, at most
	// 255 bytes. From a peer it is any bytes at all, none among them.
	Host string
	Port uint16
}

// Address is the target as host:port, with IPv6 in brackets. It is not fit to
// be dialled while Host is empty: package net takes that for this machine.
func (m Connect) Address() string {
	return net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
}

// Data carries bytes of a TCP stream, or one UDP datagram.
type Data struct {
	Proto   Proto
	Channel uuid.UUID
	// Inflated says that the payload came compressed. Payload is then memory
	// of its own. It has no meaning for a message to be sent.
	Inflated bool
	// Payload may be empty, which for TCP means nothing. In a decoded message
	// it is a part of the bytes that were decoded unless it was inflated.
	Payload []byte
	// Source is, for UDP alone, where a datagram on its way back came from, and
	// Target where one on its way out is to go. The other one is zero.
	Source, Target Endpoint
}

// Endpoint is one end of a datagram's way. The zero Endpoint is none.
type Endpoint struct {
	// Host is an IP address without brackets or, as a target, a name: at most
	// 255 bytes. In a decoded message it is a part of the bytes that were
	// decoded, and any bytes at all.
	Host []byte
	Port uint16
}

// ConnectResponse says whether a channel was opened.
type ConnectResponse struct {
	OK      bool
	Channel uuid.UUID
	Cause   string // free text, at most 255 bytes, for FailureReason; only if not OK
}

// Disconnect ends a channel, both directions at once.
type Disconnect struct {
	Channel uuid.UUID
	Cause   string // free text, at most 255 bytes, often none; "EOF" for an ordinary end
}

// Connector is a provider's wish to add or remove a connector token.
type Connector struct {
	Request uuid.UUID
	Token   redact.Secret // at most 255 bytes; none lets the server choose one
	Op      Op
}

// ConnectorResponse answers a Connector.
type ConnectorResponse struct {
	Request uuid.UUID
	OK      bool
	Cause   string        // free text, at most 255 bytes; only if not OK
	Token   redact.Secret // the token that was added; only if OK
}

// Log is a line for the peer's log, and carries the hellos.
type Log struct {
	Level string `json:"level"` // trace, debug, info, warn or error; a peer may send any text
	Text  string `json:"msg"`
}

// Partners tells a provider how many connectors there are, or a connector how
// many providers.
type Partners struct {
	Count int `json:"count"` // from a peer any number, below zero too
}

// Direct is any of the three messages by which peers arrange a way beside the
// relay. What is in it is not looked at.
type Direct struct {
	Kind Type   // TypeDirectCapabilities, TypeDirectRendezvous or TypeDirectStatus
	JSON []byte // in a decoded message a part of the bytes that were decoded, and any bytes at all
}

// Unknown stands for a message of a type that is none of ours. It is dropped.
type Unknown struct{ Kind Type }

// Type implements Message.
func (Auth) Type() Type { return TypeAuth }

// Type implements Message.
func (AuthResponse) Type() Type { return TypeAuthResponse }

// Type implements Message.
func (Connect) Type() Type { return TypeConnect }

// Type implements Message.
func (Data) Type() Type { return TypeData }

// Type implements Message.
func (ConnectResponse) Type() Type { return TypeConnectResponse }

// Type implements Message.
func (Disconnect) Type() Type { return TypeDisconnect }

// Type implements Message.
func (Connector) Type() Type { return TypeConnector }

// Type implements Message.
func (ConnectorResponse) Type() Type { return TypeConnectorResponse }

// Type implements Message.
func (Log) Type() Type { return TypeLog }

// Type implements Message.
func (Partners) Type() Type { return TypePartners }

// Type implements Message.
func (m Direct) Type() Type { return m.Kind }

// Type implements Message.
func (m Unknown) Type() Type { return m.Kind }
