package native

import (
	"io"

	"github.com/adit-tunnel/adit/internal/link/ws"
)

// RefusedError is the server's no (3.2): the token will never do.
type RefusedError struct {
	Reason Reason
	Text   string
}

func (e *RefusedError) Error() string {
	if e.Text != "" {
		return e.Text
	}
	return e.Reason.String()
}

// SendHello sends a client's first frame (3.1).
func SendHello(conn *ws.Conn, m Hello) error { return conn.WriteMessage(ws.Binary, m.Append(nil)) }

// ReadHello reads a client's first frame. The error is an *Error for what is
// none, else the connection's.
func ReadHello(conn *ws.Conn) (Hello, error) {
	p, err := readFirst(conn, typeHello)
	if err != nil {
		return Hello{}, err
	}
	return decodeHello(p)
}

// SendWelcome answers HELLO with a yes (3.2).
func SendWelcome(conn *ws.Conn) error {
	return conn.WriteMessage(ws.Binary, appendHeader(nil, typeWelcome, 0, 0))
}

// SendRefused answers HELLO with a no (3.2).
func SendRefused(conn *ws.Conn, reason Reason, text string) error {
	return conn.WriteMessage(ws.Binary, verdict{reason, text}.append(nil, typeRefused, 0))
}

// ReadWelcome reads a server's first frame. The error is a *RefusedError for a
// no, an *Error for what is neither, else the connection's.
func ReadWelcome(conn *ws.Conn) error {
	_, err := readFirst(conn, typeWelcome)
	return err
}

// readFirst reads a frame that stands alone in its message, without taking more
// memory than it may have.
func readFirst(conn *ws.Conn, want frameType) ([]byte, error) {
	conn.SetMaxMessage(MaxGreeting)
	op, err := conn.Next()
	if err != nil {
		return nil, err
	}
	var buf [MaxGreeting]byte
	n, err := fill(conn, buf[:])
	if err != nil && err != io.EOF { // which says that the message is shorter, as it should be
		return nil, err
	}
	if op != ws.Binary || n < headerSize {
		return nil, wrong("3", "no greeting")
	}
	h := parseHeader(buf[:])
	if err := h.check(); err != nil {
		return nil, err
	}
	p := buf[headerSize:n]
	switch {
	case len(p) != h.length:
		return nil, wrong("3", "%s that does not fill its message", h.kind)
	case h.kind == typeRefused && want == typeWelcome:
		m := decodeVerdict(p)
		return nil, &RefusedError{m.reason, m.text}
	case h.kind != want:
		return nil, wrong("3", "%s where %s was due", h.kind, want)
	}
	return p, nil
}
