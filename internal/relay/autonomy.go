package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/redact"
)

const (
	// ownerGoneAfter is how long a connector token outlives the last link of the
	// provider that added it.
	ownerGoneAfter = 24 * time.Hour
	// sweepInterval is how often that is looked at.
	sweepInterval = 10 * time.Minute
	// seenInterval is how old the note of a living owner may become.
	seenInterval = time.Hour
	// keepTimeout bounds what is kept for a provider.
	keepTimeout = 10 * time.Second
)

// wishes are what a provider wants of its connector tokens, in its order.
type wishes struct {
	mu      sync.Mutex // guards below
	waiting []wish
	busy    bool // somebody sees to them
}

// wish is one of them, and how it is answered.
type wish struct {
	wire.Wish
	answer func(added redact.Secret, refusal string)
}

// wish queues a wish, without waiting.
func (l *link) wish(w wire.Wish, answer func(added redact.Secret, refusal string)) {
	l.wishes.mu.Lock()
	defer l.wishes.mu.Unlock()
	if len(l.wishes.waiting) >= maxManaged {
		l.hub.Count("connector_refused")
		answer(redact.Secret{}, causeTooMany)
		return
	}
	l.wishes.waiting = append(l.wishes.waiting, wish{w, answer})
	if !l.wishes.busy {
		l.wishes.busy = true
		l.hub.group.Go(l.manageAll)
	}
}

// manageAll sees to a link's wishes until there are none, or the link has ended.
func (l *link) manageAll() {
	for {
		l.wishes.mu.Lock()
		if len(l.wishes.waiting) == 0 {
			l.wishes.waiting, l.wishes.busy = nil, false
			l.wishes.mu.Unlock()
			return
		}
		w := l.wishes.waiting[0]
		l.wishes.waiting = l.wishes.waiting[1:]
		l.wishes.mu.Unlock()
		if !done(l.session) {
			l.manage(w)
		}
	}
}

func done(s wire.Session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// manage does what a provider wishes about its connector tokens, and answers.
func (l *link) manage(w wish) {
	ctx, cancel := context.WithTimeout(l.hub.ctx, keepTimeout)
	defer cancel()
	var added redact.Secret
	var cause string
	if w.Remove {
		cause = l.hub.removeManaged(ctx, l, w.Token)
	} else {
		added, cause = l.hub.addManaged(ctx, l, w.Token)
	}
	if cause != "" {
		l.hub.Count("connector_refused")
	}
	w.answer(added, cause)
}

// The answers to a provider, in the words that stock peers know.
const (
	causeUnauthorized = "Unauthorized connector management attempt"
	causeReserved     = "'anonymous' is reserved and cannot be used as a connector token"
	causeExists       = "connector token already exists"
	causeUnknown      = "connector token does not exist"
	causeTooMany      = "too many connector tokens"
	causeNotKept      = "connector token cannot be kept now"
)

// addManaged adds a connector token that reaches the provider alone that asks
// for it, on whichever links it has. One that another process of the same
// reverse token added, and that is not there any more, is taken over.
func (h *Hub) addManaged(ctx context.Context, l *link, text redact.Secret) (added redact.Secret, cause string) {
	if cause := mayManage(l, text); cause != "" {
		return redact.Secret{}, cause
	}
	h.changing.Lock()
	defer h.changing.Unlock()
	if text.IsZero() {
		text = newTokenText()
	}
	h.mu.Lock()
	old := h.tokens[text.Reveal()]
	gone := l.token.ctx.Err() != nil
	managed := 0
	for _, c := range l.token.connectors {
		if c.Instance != uuid.Nil {
			managed++
		}
	}
	taken := old != nil && (old.Kind != Connector || old.reverse != l.token || old.Instance == uuid.Nil ||
		old.Instance != l.instance && old.reachableLocked() > 0)
	h.mu.Unlock()
	switch {
	case gone:
		return redact.Secret{}, causeUnauthorized
	case taken:
		return redact.Secret{}, causeExists
	case old != nil && old.Instance == l.instance:
		return text, ""
	case old != nil:
		if h.takeOver(ctx, old, l.instance) != nil {
			return redact.Secret{}, causeNotKept
		}
		return text, ""
	case managed >= maxManaged:
		return redact.Secret{}, causeTooMany
	}
	if h.insertManaged(ctx, l, text) != nil {
		return redact.Secret{}, causeNotKept
	}
	return text, ""
}

func mayManage(l *link, text redact.Secret) (cause string) {
	switch {
	case l.token.Kind != Reverse || !l.token.Manage:
		return causeUnauthorized
	case text.Reveal() == linksocks.Anonymous:
		return causeReserved
	}
	return ""
}

// insertManaged is for who holds changing.
func (h *Hub) insertManaged(ctx context.Context, l *link, text redact.Secret) error {
	t, err := h.newToken(Record{
		ID: uuid.NewString(), Kind: Connector, Token: text, Port: -1, ReverseID: l.token.ID, Instance: l.instance,
		CreatedAt: h.nextCreation(), OwnerSeenAt: time.Now(),
	}, l.token)
	if err == nil {
		t.given = l.token.given
		if err = h.keep(ctx, t); err != nil {
			t.cancel()
		}
	}
	if err != nil {
		h.log.Error("a provider's connector token cannot be kept", "error", err)
		return err
	}
	h.insert(t)
	return nil
}

// takeOver gives a connector token to another provider. It is for who holds
// changing.
func (h *Hub) takeOver(ctx context.Context, t *token, instance uuid.UUID) error {
	h.mu.Lock()
	before := t.Record
	t.Instance, t.OwnerSeenAt = instance, time.Now()
	close(t.reverse.changed) // who waits for the old owner may find the new one
	t.reverse.changed = make(chan struct{})
	h.mu.Unlock()
	err := h.keep(ctx, t)
	if err != nil {
		h.log.Error("a provider's connector token cannot be kept", "error", err)
		h.mu.Lock()
		t.Record = before
		h.mu.Unlock()
	}
	return err
}

// removeManaged removes a connector token of the provider's own.
func (h *Hub) removeManaged(ctx context.Context, l *link, text redact.Secret) (cause string) {
	if cause := mayManage(l, text); cause == causeUnauthorized {
		return cause
	}
	h.changing.Lock()
	defer h.changing.Unlock()
	h.mu.Lock()
	t := h.tokens[text.Reveal()]
	own := t != nil && t.Kind == Connector && t.reverse == l.token && t.Instance == l.instance
	h.mu.Unlock()
	switch {
	case !own:
		return causeUnknown
	case h.remove(ctx, t) != nil:
		return causeNotKept
	}
	return ""
}

// ownerLeft notes when the last link of a provider ended that has connector tokens.
func (h *Hub) ownerLeft(t *token, instance uuid.UUID) {
	h.mu.Lock()
	there := slices.ContainsFunc(t.links, func(l *link) bool { return l.instance == instance })
	owns := slices.ContainsFunc(t.connectors, func(c *token) bool { return c.Instance == instance })
	h.mu.Unlock()
	if owns && !there && t.ctx.Err() == nil {
		h.changing.Lock()
		h.sweep(time.Now(), instance)
		h.changing.Unlock()
	}
}

// sweepAll forgets connector tokens whose owner is long gone, again and again.
func (h *Hub) sweepAll() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			h.changing.Lock()
			h.sweep(now, uuid.Nil)
			h.changing.Unlock()
		case <-h.ctx.Done():
			return
		}
	}
}

// sweep notes which owners are there, and the one that just left, and forgets
// the tokens of those that have not been for long. It is for who holds changing.
func (h *Hub) sweep(now time.Time, left uuid.UUID) {
	var seen, forgotten []*token
	h.mu.Lock()
	for _, t := range h.tokens {
		if t.Kind != Connector || t.Instance == uuid.Nil {
			continue
		}
		age := now.Sub(t.OwnerSeenAt)
		switch there := t.reachableLocked() > 0; {
		case t.Instance == left, there && age >= seenInterval:
			t.OwnerSeenAt = now
			seen = append(seen, t)
		case !there && age >= ownerGoneAfter:
			forgotten = append(forgotten, t)
		}
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.ctx, keepTimeout)
	defer cancel()
	for _, t := range seen {
		if err := h.keep(ctx, t); err != nil && ctx.Err() == nil {
			h.log.Error("when a provider was last there cannot be kept", "error", err)
		}
	}
	for _, t := range forgotten {
		if err := h.remove(ctx, t); err != nil {
			h.log.Error("a connector token whose provider is gone cannot be forgotten", "error", err)
		}
	}
}
