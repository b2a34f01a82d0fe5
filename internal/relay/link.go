package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// link is one authenticated WebSocket. Several of one instance are lanes of one
// session, if their dialect knows such.
type link struct {
	hub      *Hub
	token    *token
	instance uuid.UUID // of the peer's process; never zero
	peer     string    // its address, for the log
	lanes    bool
	session  wire.Session
	since    time.Time
	wishes   wishes
}

// config is what the link's peer may do.
func (l *link) config() wire.Config {
	h, t := l.hub, l.token
	c := wire.Config{
		UDPIdle: h.opts.UDPIdle, Count: h.Count, Meter: &h.metrics.meter, Manage: l.wish,
		Log: func(level, text string) {
			h.log.Debug("a peer says", "peer", l.peer, "level", level, "text", text[:min(len(text), 1024)])
		},
	}
	switch t.Kind {
	case Forward:
		c.Dial, c.UDP = t.place.Dial, t.place.UDP
	case Connector:
		c.DialTimeout = h.opts.ConnectorWait + reachTimeout
		c.Dial = func(ctx context.Context, _, address string) (pipe.Conn, error) {
			return h.dialThrough(ctx, t, address, h.opts.ConnectorWait, true)
		}
		c.UDP = associator(func(ctx context.Context) (site.Association, error) {
			return h.associateThrough(ctx, t, h.opts.ConnectorWait)
		})
	}
	return c
}

// serve runs a link whose peer has been told that it is welcome, to its end.
func (h *Hub) serve(conn *ws.Conn, d *dialect, t *token, instance uuid.UUID, peer string) {
	l := &link{hub: h, token: t, instance: instance, peer: peer, since: time.Now(), lanes: d.lanes}
	l.session = d.session(conn, l.config())
	if !h.attach(l) {
		conn.Close()
		return
	}
	log := h.log.With("peer", peer, "kind", string(t.Kind), "dialect", d.name)
	log.Info("link up")
	err := l.session.Run(t.ctx)
	h.detach(l)
	if t.ctx.Err() != nil && h.ctx.Err() == nil {
		err = errRemoved
	}
	level := slog.LevelInfo
	if err != nil && !ordinary(err) {
		level = slog.LevelWarn
	}
	log.Log(h.ctx, level, "link down", "after", time.Since(l.since).Round(time.Millisecond).String(), "reason", err)
	if t.Kind == Reverse {
		h.ownerLeft(t, instance)
	}
}

var errRemoved = errors.New("its token was removed")

// ordinary reports whether a link ended as links do.
func ordinary(err error) bool {
	closed, ok := errors.AsType[*ws.CloseError](err)
	return err == errRemoved || pipe.IsEnd(err) || errors.Is(err, ws.ErrAbrupt) ||
		ok && (closed.Code == ws.CodeNormal || closed.Code == ws.CodeGoingAway || closed.Code == ws.CodeNoStatus)
}

// attach makes a link known. It reports false when its token is gone.
func (h *Hub) attach(l *link) bool {
	t := l.token
	h.mu.Lock()
	if t.ctx.Err() != nil || h.hashes[t.hash] != t {
		h.mu.Unlock()
		return false
	}
	h.links[l] = struct{}{}
	t.links = append(t.links, l)
	t.linksChangedLocked()
	t.tellPartnersLocked()
	if t.Kind == Connector {
		l.tell(t.reachableLocked())
	}
	if h.draining {
		l.session.Drain()
	}
	h.mu.Unlock()
	return true
}

// detach forgets a link; it may do so twice.
func (h *Hub) detach(l *link) {
	t := l.token
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.links[l]; !known {
		return
	}
	delete(h.links, l)
	t.links = slices.DeleteFunc(t.links, func(other *link) bool { return other == l })
	t.linksChangedLocked()
	t.tellPartnersLocked()
}

// linksChangedLocked wakes who waits for a provider.
func (t *token) linksChangedLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// tell tells a link how many there are on the other side. It waits for nothing,
// and so may be called under the hub's mu: only then are counts told in the
// order in which they were true.
func (l *link) tell(partners int) { l.session.TellPartners(partners) }

// tellPartnersLocked tells those who care that a link of t came or went.
func (t *token) tellPartnersLocked() {
	switch t.Kind {
	case Reverse:
		for _, c := range t.connectors {
			if len(c.links) == 0 {
				continue
			}
			n := c.reachableLocked()
			for _, l := range c.links {
				l.tell(n)
			}
		}
	case Connector:
		for _, l := range t.reverse.links {
			n := 0
			for _, c := range t.reverse.connectors {
				if c.serves(l) {
					n += peers(c.links)
				}
			}
			l.tell(n)
		}
	}
}

// reachableLocked is how many providers a connector token reaches.
func (t *token) reachableLocked() (n int) {
	var reached []*link
	for _, l := range t.reverse.links {
		if t.serves(l) {
			reached = append(reached, l)
		}
	}
	return peers(reached)
}

// peers counts who is at the other end of links: the lanes of one session are
// one peer.
func peers(links []*link) (n int) {
	sessions := make(map[uuid.UUID]bool)
	for _, l := range links {
		if !l.lanes || !sessions[l.instance] {
			n++
		}
		sessions[l.instance] = l.lanes
	}
	return n
}
