package relay

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// doubtAfter is how long a link may be silent before others are preferred to
// it: it was asked for a sign of life every 10 seconds.
const doubtAfter = 15 * time.Second

// dialThrough connects to address from the network of t's providers: t is a
// reverse token, or a connector token. It waits for a provider if there is none.
func (h *Hub) dialThrough(ctx context.Context, t *token, address string, wait time.Duration, early bool) (pipe.Conn, error) {
	if err := t.allows(address); err != nil {
		h.Count("target_denied")
		return nil, err
	}
	var c pipe.Conn
	err := h.through(ctx, t, wait, address, func(ctx context.Context, s wire.Session) (err error) {
		if early {
			c, err = s.DialEarly(ctx, "tcp", address)
		} else {
			c, err = s.Dial(ctx, "tcp", address)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (h *Hub) associateThrough(ctx context.Context, t *token, wait time.Duration) (site.Association, error) {
	var a site.Association
	err := h.through(ctx, t, wait, "udp", func(ctx context.Context, s wire.Session) (err error) {
		a, err = s.Associate(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &guarded{Association: a, token: t, count: h.Count}, nil
}

// guarded is an association whose targets the policy is asked about.
type guarded struct {
	site.Association
	token *token
	count func(event string)
}

func (g *guarded) Send(p []byte, host string, port uint16) error {
	if err := g.token.policy.CheckThere(host, port); err != nil {
		g.count("target_denied")
		return err
	}
	return g.Association.Send(p, host, port)
}

// allows asks the policy about a target that somebody else will dial.
func (t *token) allows(address string) error {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return &site.DialError{Reason: site.Other, Address: address, Err: err}
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return &site.DialError{Reason: site.Other, Address: address, Err: err}
	}
	return t.policy.CheckThere(host, uint16(n))
}

// through does something on a provider's link. A link that is lost meanwhile is
// no answer: then it is done on another.
func (h *Hub) through(ctx context.Context, t *token, wait time.Duration, address string,
	do func(ctx context.Context, s wire.Session) error) error {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		l := h.awaitProvider(waiting, t)
		if l == nil {
			h.Count("no_provider")
			return &site.DialError{Reason: site.NetworkUnreachable, Address: address, Err: wire.ErrNoProvider}
		}
		reaching, cancel := context.WithTimeout(ctx, reachTimeout)
		err := do(reaching, l.session)
		cancel()
		if !errors.Is(err, wire.ErrLost) {
			return err
		}
		h.detach(l) // it is about to do so itself
	}
}

// awaitProvider gives the provider whose turn it is. nil: there is none, and ctx
// or the token has ended.
func (h *Hub) awaitProvider(ctx context.Context, t *token) *link {
	for {
		h.mu.Lock()
		l := t.providerLocked()
		changed := t.providers().changed
		h.mu.Unlock()
		if l != nil {
			return l
		}
		select {
		case <-changed:
		case <-t.ctx.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// providers is the token whose links are the providers.
func (t *token) providers() *token {
	if t.reverse != nil {
		return t.reverse
	}
	return t
}

// serves reports whether a provider's link serves the token: connector tokens
// that a provider added reach that provider alone.
func (t *token) serves(l *link) bool { return t.Instance == uuid.Nil || t.Instance == l.instance }

// providerLocked gives each provider its turn, those that may be dead after all
// others. Of one provider's links it is the one that carries the least.
func (t *token) providerLocked() *link {
	p := t.providers()
	n := len(p.links)
	var doubtful *link
	for i := range n {
		at := (p.turn + i) % n
		l := p.links[at]
		switch {
		case !t.serves(l):
		case l.session.Silence() < doubtAfter:
			p.turn = at + 1
			return p.leastLocked(l)
		case doubtful == nil:
			doubtful = l
		}
	}
	return doubtful
}

// leastLocked gives, of the lanes of l's session, the one that carries the least.
func (t *token) leastLocked(l *link) *link {
	if !l.lanes {
		return l
	}
	least, load := l, l.session.Streams()
	for _, other := range t.links {
		if other.instance != l.instance || !other.lanes || other.session.Silence() >= doubtAfter {
			continue
		}
		if n := other.session.Streams(); n < load {
			least, load = other, n
		}
	}
	return least
}
