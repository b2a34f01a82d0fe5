package handshake

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"

	"github.com/gorilla/websocket"

	"github.com/adit-tunnel/adit/internal/link/ws"
)

// Accept answers an upgrade request and takes its connection over. It gives the
// first of subprotocols that the client offers, empty if it offers none of them.
//
// Every Origin is accepted: it is tokens that authorise, and no browser sends
// those by itself. What is no upgrade request is answered 400 (405 if all that
// is wrong is the method), and the error says for logs what was wrong.
//
// The Conn stands on the connection that net/http has: a *tls.Conn, or what the
// server's listener accepted. Only a *net.TCPConn itself sends payloads
// without copying them, so a listener should not wrap what it accepts. Deadlines
// that the HTTP server set are cleared.
//
// Until the handler returns, net/http keeps 10 KiB of buffers for its request.
// A long-lived Conn is served best by a goroutine of its own.
func Accept(w http.ResponseWriter, r *http.Request, cfg ws.Config, subprotocols ...string) (*ws.Conn, string, error) {
	t := &taker{ResponseWriter: w}
	up := websocket.Upgrader{
		HandshakeTimeout: hopTimeout,
		ReadBufferSize:   1, // they are dropped with its Conn
		WriteBufferSize:  1,
		Subprotocols:     subprotocols,
		CheckOrigin:      func(*http.Request) bool { return true },
	}
	g, err := up.Upgrade(t, r, nil)
	if err != nil {
		return nil, "", fmt.Errorf("answer websocket upgrade: %w", err)
	}
	cfg.Client = false
	return ws.New(t.conn, t.early, cfg), g.Subprotocol(), nil
}

// taker takes a connection out of net/http. The library gets it with buffers
// that are empty: it would refuse a client whose first frame does not wait for
// the answer.
type taker struct {
	http.ResponseWriter
	conn  net.Conn
	early []byte // what the client sent behind its request
}

// Hijack implements http.Hijacker, for writers that middleware wrapped too.
func (t *taker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered()) // it is there: no error
	t.conn, t.early = conn, slices.Clone(early)
	const smallest = 16
	return conn, bufio.NewReadWriter(bufio.NewReaderSize(conn, smallest), bufio.NewWriterSize(conn, smallest)), nil
}
