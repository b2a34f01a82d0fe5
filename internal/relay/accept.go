package relay

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/native"
	"github.com/adit-tunnel/adit/internal/link/ws"
)

// authTimeout is how long a peer may take to say who it is, once it has been
// given a WebSocket.
const authTimeout = 10 * time.Second

var errInvalidToken = errors.New("invalid token")

// ServeHTTP is the WebSocket endpoint.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	draining := h.draining
	if !draining {
		h.group.Add(1)
	}
	h.mu.Unlock()
	if draining {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the relay is about to stop", http.StatusServiceUnavailable)
		return
	}
	conn, subprotocol, err := handshake.Accept(w, r, ws.Config{WriteTimeout: wire.WriteTimeout, MaxMessage: linksocks.MaxAuth}, native.Subprotocol)
	if err != nil {
		h.group.Done()
		h.Count("upgrade_refused")
		return // it has been answered
	}
	d := &inLinksocks
	if subprotocol == native.Subprotocol {
		d = &inNative
	}
	query, peer := r.URL.Query(), h.peerAddress(r)
	// The handler ends here, and with it what net/http holds for a request.
	go func() {
		defer h.group.Done()
		h.welcome(conn, d, query, peer)
	}()
}

func (h *Hub) peerAddress(r *http.Request) string {
	if h.opts.Address == nil {
		return r.RemoteAddr
	}
	return h.opts.Address(r)
}

// welcome asks a peer who it is, answers, and serves it to its end.
func (h *Hub) welcome(conn *ws.Conn, d *dialect, query url.Values, peer string) {
	defer conn.Close()
	leave := h.strangers.Enter(func() {
		h.Count("auth_crowded")
		conn.Close()
	})
	clock := time.AfterFunc(authTimeout, func() {
		h.Count("auth_slow")
		conn.Close()
	})
	stop := context.AfterFunc(h.ctx, func() { conn.Close() })
	t, instance, err := h.authenticate(conn, d, query)
	stop()
	intime := clock.Stop()
	if !leave() || !intime {
		return
	}
	if err != nil {
		h.Count("auth_refused")
		h.log.Info("a peer was refused", "peer", peer, "reason", err)
		if d.refuse(conn, err.Error()) == nil { // stock peers exit then
			conn.SendClose(ws.CodePolicy, "")
		}
		return
	}
	if t == nil {
		h.Count("auth_lost")
		return
	}
	if instance == uuid.Nil {
		instance = uuid.New() // a peer that does not say is a process of its own
	}
	if d.welcome(conn) == nil {
		h.serve(conn, d, t, instance, peer)
	}
}

// authenticate finds the token that a peer holds, by the query of the URL or by
// its first message. No token and no error: the peer left, or was too slow.
func (h *Hub) authenticate(conn *ws.Conn, d *dialect, query url.Values) (*token, uuid.UUID, error) {
	hashed := query.Has("token")
	said, err := d.listen(conn, hashed)
	if bad, ok := errors.AsType[*greetingError](err); ok {
		h.Count(bad.event)
		return nil, uuid.Nil, bad
	}
	if err != nil {
		return nil, uuid.Nil, nil
	}
	if hashed {
		t, instance, err := h.byQuery(query)
		if t != nil && !said.fits(t.Kind) {
			return nil, uuid.Nil, errInvalidToken
		}
		if said.instance != uuid.Nil {
			instance = said.instance
		}
		return t, instance, err
	}
	h.mu.Lock()
	t := h.tokens[said.token.Reveal()]
	h.mu.Unlock()
	if t == nil || !said.fits(t.Kind) {
		return nil, uuid.Nil, errInvalidToken
	}
	return t, said.instance, nil
}

func (h *Hub) byQuery(query url.Values) (*token, uuid.UUID, error) {
	hash := query.Get("token")
	if len(hash) != linksocks.TokenHashLen {
		return nil, uuid.Nil, errors.New("invalid token format")
	}
	h.mu.Lock()
	t := h.hashes[hash]
	h.mu.Unlock()
	if t == nil || subtle.ConstantTimeCompare([]byte(t.hash), []byte(hash)) != 1 {
		return nil, uuid.Nil, errInvalidToken
	}
	if query.Has("reverse") {
		asked := query.Get("reverse")
		if (asked == "true" || asked == "1") != (t.Kind == Reverse) {
			return nil, uuid.Nil, errInvalidToken
		}
	}
	instance, err := uuid.Parse(query.Get("instance"))
	if err != nil {
		instance = uuid.Nil
	}
	return t, instance, nil
}
