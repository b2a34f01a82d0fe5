package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
)

const (
	maxToken      = 255 // bytes; the dialect has one byte for the length
	maxCredential = 255 // bytes, as RFC 1929 has it
	// maxManaged is how many connector tokens the providers of one reverse token
	// may add.
	maxManaged = 1000
)

// token is a token as it is served.
type token struct {
	Record
	hash    string
	given   bool // by the command line: it is not kept
	policy  *policy.Policy
	place   Place // of a forward token
	port    *port // of a reverse token, if it has one
	reverse *token
	ctx     context.Context // of all that it carries
	cancel  context.CancelFunc

	// Guarded by the hub's mu.
	links      []*link
	connectors []*token
	turn       int           // of the providers
	changed    chan struct{} // closed when links change
}

// newToken makes a token; reverse is, of a connector, whose providers it
// reaches: what that one may not reach it may not either.
func (h *Hub) newToken(r Record, reverse *token) (*token, error) {
	base := h.opts.Policy
	if reverse != nil {
		base = reverse.policy
	}
	p, err := base.Narrow(r.Allow, r.Deny)
	if err != nil {
		return nil, &TokenError{Invalid, "invalid rule: " + err.Error()}
	}
	t := &token{Record: r, hash: linksocks.HashToken(r.Token).Reveal(), policy: p, reverse: reverse, changed: make(chan struct{})}
	if r.Kind == Forward {
		t.place = h.opts.Deliver(p)
	}
	t.ctx, t.cancel = context.WithCancel(h.ctx)
	return t, nil
}

// restore takes up the tokens that were kept, reverse tokens before their
// connectors.
func (h *Hub) restore(kept []Record) {
	kept = slices.Clone(kept)
	slices.SortStableFunc(kept, func(a, b Record) int {
		if late := cmp.Compare(btoi(a.Kind == Connector), btoi(b.Kind == Connector)); late != 0 {
			return late
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
	byID := make(map[string]*token)
	for _, r := range kept {
		reverse := byID[r.ReverseID]
		if r.Kind == Connector && reverse == nil {
			continue // its reverse token could not be read: then nobody is reached by it
		}
		t, err := h.newToken(r, reverse)
		if err != nil {
			h.log.Error("a kept token cannot be served: its rules cannot be read", "id", r.ID, "error", err)
			continue
		}
		byID[r.ID] = t
		if h.createdAt.Before(r.CreatedAt) {
			h.createdAt = r.CreatedAt
		}
		if r.Port > 0 {
			t.port = h.newPort(t, r.Port)
			t.port.bindLater()
		}
		h.insert(t)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// insert makes a token known.
func (h *Hub) insert(t *token) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens[t.Token.Reveal()] = t
	h.hashes[t.hash] = t
	if t.reverse != nil {
		t.reverse.connectors = append(t.reverse.connectors, t)
	}
}

// Add adds a token and keeps it. The port of a reverse token is bound when Add
// returns. A wish that is refused is a *TokenError.
func (h *Hub) Add(ctx context.Context, spec TokenSpec) (Added, error) {
	h.changing.Lock()
	defer h.changing.Unlock()
	return h.add(ctx, spec, false)
}

// Give is Add for a token of the command line, which is not kept: it is given
// again at the next start.
func (h *Hub) Give(ctx context.Context, spec TokenSpec) (Added, error) {
	h.changing.Lock()
	defer h.changing.Unlock()
	return h.add(ctx, spec, true)
}

func (h *Hub) add(ctx context.Context, spec TokenSpec, given bool) (Added, error) {
	reverse, same, err := h.check(&spec)
	if err != nil {
		return Added{}, err
	}
	if same != nil {
		return Added{Token: same.Token, Port: same.Port}, nil
	}
	r := Record{
		ID: uuid.NewString(), Kind: spec.Kind, Token: spec.Token, Port: -1, Username: spec.Username, Password: spec.Password,
		Manage: spec.ManageConnectors, Allow: spec.Allow, Deny: spec.Deny, CreatedAt: h.nextCreation(),
	}
	if reverse != nil {
		r.ReverseID = reverse.ID
	}
	t, err := h.newToken(r, reverse)
	if err != nil {
		return Added{}, err
	}
	t.given = given || reverse != nil && reverse.given
	if spec.Kind == Reverse && (spec.Port != 0 || !spec.ManageConnectors) {
		if err := h.bind(ctx, t, spec.Port); err != nil {
			t.cancel()
			return Added{}, err
		}
	}
	if err := h.keep(ctx, t); err != nil {
		t.cancel()
		if t.port != nil {
			t.port.close()
		}
		return Added{}, err
	}
	h.insert(t)
	if t.port != nil {
		t.port.serve()
	}
	h.log.Info("token added", "kind", string(t.Kind), "id", t.ID, "port", t.Port)
	return Added{Token: t.Token, Port: t.Port}, nil
}

// nextCreation is now for a token, and later than for any before: they are listed
// in this order, and kept to the millisecond. It is for who holds changing.
func (h *Hub) nextCreation() time.Time {
	now := time.Now().Truncate(time.Millisecond)
	if next := h.createdAt.Add(time.Millisecond); now.Before(next) {
		now = next
	}
	h.createdAt = now
	return now
}

// check refuses a spec that cannot be, and completes one that can. same is the
// connector token that is asked for, if it is there already.
func (h *Hub) check(spec *TokenSpec) (reverse, same *token, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := spec.Token.Reveal()
	switch {
	case h.draining:
		return nil, nil, errDraining
	case text == linksocks.Anonymous:
		return nil, nil, &TokenError{Invalid, "'anonymous' is reserved and cannot be used as a " + spec.Kind.noun()}
	case len(text) > maxToken:
		return nil, nil, &TokenError{Invalid, "token is longer than 255 bytes"}
	case len(spec.Username) > maxCredential || len(spec.Password.Reveal()) > maxCredential:
		return nil, nil, &TokenError{Invalid, "username and password have at most 255 bytes"}
	}
	if spec.Kind == Connector {
		if spec.ReverseToken.IsZero() {
			return nil, nil, &TokenError{Invalid, "reverse_token is required for connector token"}
		}
		reverse = h.tokens[spec.ReverseToken.Reveal()]
		if reverse == nil || reverse.Kind != Reverse {
			return nil, nil, &TokenError{NotFound, "reverse token does not exist"}
		}
	}
	if text == "" {
		spec.Token = newTokenText()
		return reverse, nil, nil
	}
	other := h.tokens[text]
	switch {
	case other == nil:
		return reverse, nil, nil
	case spec.Kind == Connector && other.Kind == Connector && other.reverse == reverse && other.Instance == uuid.Nil &&
		slices.Equal(other.Allow, spec.Allow) && slices.Equal(other.Deny, spec.Deny):
		return reverse, other, nil
	}
	return nil, nil, &TokenError{Conflict, spec.Kind.noun() + " already exists"}
}

// noun is what messages call a token of the kind.
func (k Kind) noun() string {
	if k == Connector {
		return "connector token"
	}
	return "token"
}

// newTokenText chooses a token's text.
func newTokenText() redact.Secret {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails
	return redact.New(hex.EncodeToString(raw[:]))
}

func (h *Hub) keep(ctx context.Context, t *token) error {
	if t.given || h.opts.Keeper == nil {
		return nil
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	return h.opts.Keeper.Put(ctx, t.Record)
}

// bind binds a SOCKS port: the one that is asked for or, if that is 0, one of
// the pool.
func (h *Hub) bind(ctx context.Context, t *token, asked int) error {
	if asked != 0 {
		if asked < 1 || asked > 65535 || !h.portAllowed(uint16(asked)) {
			return &TokenError{Invalid, "invalid port"}
		}
		return h.bindOne(ctx, t, asked)
	}
	first, last := int(h.opts.SOCKSPool.First), int(h.opts.SOCKSPool.Last)
	n := last - first + 1
	var start [2]byte
	_, _ = rand.Read(start[:]) // never fails
	at := (int(start[0])<<8 | int(start[1])) % max(n, 1)
	for i := range n {
		candidate := first + (at+i)%n
		if !h.portAllowed(uint16(candidate)) {
			continue
		}
		err := h.bindOne(ctx, t, candidate)
		if refused, ok := errors.AsType[*TokenError](err); !ok || refused.Problem != Conflict {
			return err
		}
	}
	return &TokenError{Conflict, "cannot allocate port: the pool has no free one"}
}

func (h *Hub) portAllowed(n uint16) bool { return h.opts.PortAllowed == nil || h.opts.PortAllowed(n) }

func (h *Hub) bindOne(ctx context.Context, t *token, n int) error {
	p := h.newPort(t, n)
	err := p.bind(ctx)
	switch {
	case err == nil:
		t.port, t.Port = p, n
		return nil
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EACCES):
		return &TokenError{Conflict, "cannot allocate port: " + strconv.Itoa(n)}
	}
	return err
}

// Remove forgets a token and cuts all that it carries; a reverse token takes
// its connectors along. The error is a *TokenError for a token that is not there.
func (h *Hub) Remove(ctx context.Context, text redact.Secret) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	h.mu.Lock()
	t := h.tokens[text.Reveal()]
	h.mu.Unlock()
	if t == nil {
		return &TokenError{NotFound, "token does not exist"}
	}
	return h.remove(ctx, t)
}

// remove is for who holds changing.
func (h *Hub) remove(ctx context.Context, t *token) error {
	h.mu.Lock()
	gone := append([]*token{t}, t.connectors...)
	h.mu.Unlock()
	if err := h.unkeep(ctx, gone); err != nil {
		return err
	}
	var links []*link
	h.mu.Lock()
	for _, g := range gone {
		delete(h.tokens, g.Token.Reveal())
		delete(h.hashes, g.hash)
		links = append(links, g.links...)
	}
	if t.reverse != nil {
		t.reverse.connectors = slices.DeleteFunc(t.reverse.connectors, func(c *token) bool { return c == t })
	}
	h.mu.Unlock()
	for _, g := range gone {
		g.cancel()
		if g.port != nil {
			g.port.close()
		}
	}
	for _, l := range links {
		l.session.Close()
	}
	h.log.Info("token removed", "kind", string(t.Kind), "id", t.ID, "with", len(gone)-1, "links", len(links))
	return nil
}

func (h *Hub) unkeep(ctx context.Context, gone []*token) error {
	var ids []string
	for _, g := range gone {
		if !g.given {
			ids = append(ids, g.ID)
		}
	}
	if h.opts.Keeper == nil || len(ids) == 0 {
		return nil
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	return h.opts.Keeper.Delete(ctx, ids...)
}

// lasting is a context for what is kept: a caller who leaves in the middle must
// not part what is kept from what is served.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
}

// Status is the forward and reverse tokens as they are, by creation.
func (h *Hub) Status() []TokenStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	var tokens []*token
	for _, t := range h.tokens {
		if t.Kind != Connector {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, byCreation)
	list := make([]TokenStatus, 0, len(tokens))
	for _, t := range tokens {
		s := TokenStatus{Token: t.Token, Kind: t.Kind, Clients: peers(t.links), Port: t.Port}
		slices.SortFunc(t.connectors, byCreation)
		for _, c := range t.connectors {
			s.Connectors = append(s.Connectors, c.Token)
		}
		list = append(list, s)
	}
	return list
}

func byCreation(a, b *token) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
}
