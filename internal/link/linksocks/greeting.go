package linksocks

import "github.com/adit-tunnel/adit/internal/link/ws"

// The greeting, before there is a session.

// SendAuth sends the first message of a client that gave no token in the URL.
func SendAuth(conn *ws.Conn, m Auth) error { return sendFirst(conn, m) }

// SendAuthResponse sends the first message of a server.
func SendAuthResponse(conn *ws.Conn, m AuthResponse) error { return sendFirst(conn, m) }

func sendFirst(conn *ws.Conn, m interface {
	Append(dst []byte) ([]byte, error)
}) error {
	msg, err := m.Append(nil)
	if err != nil {
		return err
	}
	return conn.WriteMessage(ws.Binary, msg)
}

// ReadAuth reads the first message of a client that gave no token in the URL.
func ReadAuth(conn *ws.Conn) (Auth, error) {
	conn.SetMaxMessage(MaxAuth)
	_, msg, err := conn.ReadMessage(nil)
	if err != nil {
		return Auth{}, err
	}
	return DecodeAuth(msg)
}

// ReadAuthResponse reads the first message of a server.
func ReadAuthResponse(conn *ws.Conn) (AuthResponse, error) {
	conn.SetMaxMessage(MaxAuth)
	_, msg, err := conn.ReadMessage(nil)
	if err != nil {
		return AuthResponse{}, err
	}
	return DecodeAuthResponse(msg)
}
