// Package relay is the hub: it knows which tokens there are, which links have
// proved to hold one, and who reaches whom. Links of forward tokens reach this
// machine's network; those of connector tokens, and the SOCKS ports of reverse
// tokens, reach that of the reverse token's providers.
//
// It keeps tokens by a Keeper, if it has one, and serves the WebSocket endpoint.
// It knows no HTTP API and no database.
package relay

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/lobby"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/site"
)

// Invariants, each with a test:
//
//  1. What opens a link is a token's text or its hash, and nothing else: no id of
//     our own making is a credential.
//  2. A link is known to others only after its peer was told that it is welcome:
//     the answer is the first message.
//  3. No lock is held while anything is written to a link, or to the Keeper,
//     that somebody else may wait for who does not change tokens himself.
//  4. A token that is removed has no link, no port and no stream when Remove
//     returns, but for what ends within a second.
//  5. Providers open nothing here and change no connector tokens but their own.

const (
	// providerWait is how long a SOCKS connection waits for a provider.
	providerWait = 10 * time.Second
	// reachTimeout is how long a provider may take to reach a target: its own
	// time-out of 10 s, and the way there and back.
	reachTimeout = 15 * time.Second
	// partingTime is how long peers have to take note of our end.
	partingTime = time.Second
	// maxStrangers is how many links may be without authentication.
	maxStrangers = 4096
)

// A Place is where the relay delivers what forward tokens ask for.
type Place struct {
	Dial func(ctx context.Context, network, address string) (pipe.Conn, error)
	UDP  site.Associator // nil: no datagrams
}

// Options are what a Hub is made of.
type Options struct {
	// Policy holds for every target, whoever delivers it.
	Policy *policy.Policy
	// Deliver makes the place that obeys a policy; nil: this machine.
	Deliver func(p *policy.Policy) Place
	// Keeper keeps the tokens; nil: nobody does.
	Keeper Keeper

	SOCKSHost   string                 // where SOCKS ports listen
	SOCKSPool   PortRange              // of which ports are taken that nobody named
	PortAllowed func(port uint16) bool // which ports reverse tokens may have; nil: all

	NoWait        bool          // do not let SOCKS connections wait for a provider
	ConnectorWait time.Duration // how long a connector's wait; 0: 5 s, below 0: not at all
	FastOpen      bool          // of SOCKS ports
	UDPIdle       time.Duration // 0: 2 minutes

	// Address tells a peer's address for the log; nil: that of its connection.
	Address func(r *http.Request) string
	Logger  *slog.Logger
}

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// Hub is a relay.
type Hub struct {
	opts      Options
	log       *slog.Logger
	metrics   *metrics
	ctx       context.Context // of everything that runs
	cancel    context.CancelFunc
	group     sync.WaitGroup
	strangers *lobby.Lobby

	// changing is held by who adds or removes tokens, also while they are kept
	// and their ports are bound. Nothing else waits for it.
	changing  sync.Mutex
	createdAt time.Time // of the youngest token; guarded by changing

	mu       sync.Mutex // guards below
	tokens   map[string]*token
	hashes   map[string]*token
	links    map[*link]struct{}
	draining bool
}

// New makes a hub of the tokens that were kept. SOCKS ports that cannot be bound
// now are tried again until they can: Run must follow, or Close.
func New(ctx context.Context, o Options, kept []Record) (*Hub, error) {
	if o.ConnectorWait == 0 {
		o.ConnectorWait = 5 * time.Second
	}
	if o.Deliver == nil {
		o.Deliver = Here
	}
	h := &Hub{
		opts: o, log: o.Logger, strangers: lobby.New(maxStrangers),
		tokens: make(map[string]*token), hashes: make(map[string]*token), links: make(map[*link]struct{}),
	}
	h.metrics = newMetrics(h)
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	h.restore(kept)
	h.group.Go(h.sweepAll)
	return h, nil
}

// Here is this machine as a place, under a policy.
func Here(p *policy.Policy) Place {
	here := &site.Here{Check: p.CheckHere}
	return Place{Dial: here.Dial, UDP: here}
}

// Collector has the hub's metrics.
func (h *Hub) Collector() prometheus.Collector { return h.metrics }

// Drain takes no more links and no more connections, and waits until those that
// are open have ended, or ctx has.
func (h *Hub) Drain(ctx context.Context) {
	h.mu.Lock()
	h.draining = true
	var ports []*port
	for _, t := range h.tokens {
		if t.port != nil {
			ports = append(ports, t.port)
		}
	}
	for l := range h.links {
		l.session.Drain()
	}
	h.mu.Unlock()
	for _, p := range ports {
		p.close()
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for h.streams() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// streams counts what is open.
func (h *Hub) streams() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.links {
		n += l.session.Streams()
	}
	return n
}

// Close ends everything. When it returns, nothing of the hub runs on.
func (h *Hub) Close() {
	h.changing.Lock() // who is adding a token has added it, or finds us draining
	h.mu.Lock()
	h.draining = true
	var ports []*port
	for _, t := range h.tokens {
		if t.port != nil {
			ports = append(ports, t.port)
		}
	}
	h.mu.Unlock()
	h.changing.Unlock()
	h.partFromAll()
	h.cancel()
	for _, p := range ports {
		p.close()
	}
	h.group.Wait()
}

// partFromAll tells every peer that its link ends, and gives it a moment to see
// that.
func (h *Hub) partFromAll() {
	h.mu.Lock()
	links := slices.Collect(maps.Keys(h.links))
	h.mu.Unlock()
	for _, l := range links {
		l.session.Shut()
	}
	limit := time.NewTimer(partingTime)
	defer limit.Stop()
	for _, l := range links {
		select {
		case <-l.session.Done():
		case <-limit.C:
			return
		}
	}
}

// Count notes an event by one of a few fixed words.
func (h *Hub) Count(event string) { h.metrics.events.WithLabelValues(event).Inc() }

var errDraining = &api.Error{Code: api.CodeUnavailable, Message: "the relay is about to stop"}
