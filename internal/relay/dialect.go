package relay

import (
	"errors"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/native"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/redact"
)

// dialect is how a peer is greeted, and then spoken with.
type dialect struct {
	name  string
	lanes bool // links of one instance are one session
	// listen reads what the peer says of itself; hashed: the URL has its token.
	// What cannot be understood is a *greetingError.
	listen  func(conn *ws.Conn, hashed bool) (said, error)
	welcome func(conn *ws.Conn) error
	refuse  func(conn *ws.Conn, text string) error
	session func(conn *ws.Conn, c wire.Config) wire.Session
}

// said is what a peer says of itself.
type said struct {
	token    redact.Secret
	instance uuid.UUID // zero if it does not say
	role     native.Role
}

// fits reports whether a token of the kind is for what the peer says that it is.
func (s said) fits(k Kind) bool {
	return s.role == native.AnyRole || (s.role == native.Provider) == (k == Reverse)
}

// greetingError is a first message that is none.
type greetingError struct {
	event string // for the count
	err   error
}

func (e *greetingError) Error() string { return "invalid auth message: " + e.err.Error() }

var inLinksocks = dialect{
	name:   "linksocks",
	listen: listenLinksocks,
	welcome: func(conn *ws.Conn) error {
		return linksocks.SendAuthResponse(conn, linksocks.AuthResponse{OK: true})
	},
	refuse: func(conn *ws.Conn, text string) error {
		return linksocks.SendAuthResponse(conn, linksocks.AuthResponse{Cause: text})
	},
	session: func(conn *ws.Conn, c wire.Config) wire.Session { return linksocks.New(conn, c) },
}

func listenLinksocks(conn *ws.Conn, hashed bool) (said, error) {
	if hashed {
		return said{}, nil // and it waits for our word
	}
	m, err := linksocks.ReadAuth(conn)
	if bad, ok := errors.AsType[*linksocks.MessageError](err); ok {
		return said{}, &greetingError{"message_" + bad.Reason(), bad}
	}
	s := said{token: m.Token, instance: m.Instance, role: native.User}
	if m.Reverse {
		s.role = native.Provider
	}
	return s, err
}

var inNative = dialect{
	name: native.Subprotocol, lanes: true,
	listen:  listenNative,
	welcome: native.SendWelcome,
	refuse: func(conn *ws.Conn, text string) error {
		return native.SendRefused(conn, native.InvalidToken, text)
	},
	session: func(conn *ws.Conn, c wire.Config) wire.Session { return native.New(conn, false, c) },
}

func listenNative(conn *ws.Conn, _ bool) (said, error) {
	m, err := native.ReadHello(conn)
	if bad, ok := errors.AsType[*native.Error](err); ok {
		return said{}, &greetingError{"protocol_error", bad}
	}
	return said{m.Token, m.Instance, m.Role}, err
}
