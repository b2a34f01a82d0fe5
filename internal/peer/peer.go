// Package peer is the other end of a relay: a client or connector, whose SOCKS
// port leads to the relay, or a provider, which lends its network to it. It
// keeps links to the relay, as many as it is told, and makes lost ones anew.
//
// Invariants, each with a test:
//
//  1. Streams live and die with their link: a lost one ends its own at once, and
//     nobody else's. What has not begun goes to another link.
//  2. A client and a connector dial nothing for the relay.
//  3. Neither a token nor its hash is in an error or a line of the log.
//  4. When Run returns, nothing that it started runs on.
package peer

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/native"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/socks5"
)

// Role is what a peer does. Its token must be of the kind that fits.
type Role int

// The roles.
const (
	Client    Role = iota // its SOCKS port leads to the relay's network; by a forward token
	Provider              // lends its own network; by a reverse token
	Connector             // its SOCKS port leads to providers; by a connector token
	Either                // whatever its token is for; for programs, which open no SOCKS port
)

// Options are what a peer is told.
type Options struct {
	// URL is where the relay is, as handshake.NormalizeURL gives it. A path of
	// exactly /socket has the token's hash go into the query, as stock clients
	// do it; with any other path the token itself is the first message.
	URL  *url.URL
	Role Role
	// Token is 1 to 255 bytes; zero is linksocks.Anonymous.
	Token redact.Secret
	// ConnectorToken is what a provider has the relay add, so that connectors
	// come to it alone; zero for none.
	ConnectorToken redact.Secret
	// Threads is how many links there are side by side; 1 at least.
	Threads int
	Dialer  handshake.Dialer
	// Linksocks keeps to the dialect of that name. Else the relay is offered
	// our own, and chooses.
	Linksocks bool
	// NoReconnect makes the first link that fails, or ends, the end of Run.
	NoReconnect bool
	// RetryAuth treats a refused token as a relay that cannot be reached.
	RetryAuth bool

	// Of clients and connectors.

	// Listen opens the SOCKS port.
	Listen func(ctx context.Context) (pipe.Listener, error)
	SOCKS  socks5.Server
	// FastOpen tells SOCKS clients of success before it is known.
	FastOpen bool
	// NoWait opens the SOCKS port at once, not when the first link is up.
	NoWait bool

	// Of providers.

	// Dial connects to a target, "host:port", if policy lets it. Its errors
	// are of type *site.DialError.
	Dial func(ctx context.Context, network, address string) (pipe.Conn, error)
	// Accept takes streams in place of Dial, as that of link.Config.
	Accept func(address string) (take func(pipe.Conn), err error)
	// UDP is where datagrams leave from; nil refuses them.
	UDP site.Associator

	// UDPIdle is how long a UDP association lives without a datagram. 0 means
	// two minutes.
	UDPIdle time.Duration
	// Ready is called once, when the SOCKS port accepts, with its address; of a
	// provider, when the first link is up and the connector token, if there is
	// one, was added, with nil. Its error ends Run. It may be nil.
	Ready  func(socks net.Addr) error
	Logger *slog.Logger // nil for none
}

// peer is one Run.
type peer struct {
	o        Options
	instance uuid.UUID // the same on all links, or the relay takes us for several
	shown    string    // the relay's URL for people
	links    links
	log      *slog.Logger
	secrets  *strings.Replacer
	said     budget // of the relay's words
	retried  budget
	ctx      context.Context // of all that runs
	quit     context.CancelFunc
	group    sync.WaitGroup

	lastTry atomic.Pointer[string] // why the last try for a link failed

	mu  sync.Mutex // guards below
	err error      // why Run ends
}

// Run is a peer until ctx ends, and returns nil then. Else the error says why it
// cannot go on, as a rule an *api.Error: the relay refuses a token, the SOCKS
// port cannot be opened, or with NoReconnect a link.
func Run(ctx context.Context, o Options) error {
	p := begin(ctx, o)
	defer p.quit()
	p.group.Go(func() { p.front(p.ctx) })
	return p.wait()
}

// begin makes a peer that keeps its links up until ctx ends, or quit is called.
func begin(ctx context.Context, o Options) *peer {
	p := newPeer(o)
	p.ctx, p.quit = context.WithCancel(ctx)
	for n := range max(1, o.Threads) {
		t := &thread{peer: p, log: p.log}
		if o.Threads > 1 {
			t.log = p.log.With("thread", n+1)
		}
		p.group.Go(func() { t.run(p.ctx) })
	}
	return p
}

func (p *peer) wait() error {
	p.group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// A Peer keeps links to a relay, for a program that uses them itself.
type Peer struct{ p *peer }

// Open makes a peer and waits until its first link is up. The error is that of
// Run, or ctx's. Close must follow.
func Open(ctx context.Context, o Options) (*Peer, error) {
	p := begin(context.WithoutCancel(ctx), o)
	up := make(chan error, 1)
	p.group.Go(func() {
		_, err := p.links.await(p.ctx, nil)
		up <- err
	})
	var err error
	select {
	case err = <-up:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		return &Peer{p}, nil
	}
	p.quit()
	if why := p.wait(); why != nil {
		return nil, why
	}
	if last := p.lastTry.Load(); last != nil {
		err = fmt.Errorf("%w; the last try: %s", err, *last)
	}
	return nil, err
}

// Dial opens a stream to a target, over the next link if there is none. The end
// of the peer ends the wait.
func (p *Peer) Dial(ctx context.Context, network, address string) (pipe.Conn, error) {
	ctx, cancel := p.whileUp(ctx)
	defer cancel()
	return p.p.links.Dial(ctx, network, address)
}

// DialEarly is Dial that does not wait until the stream is known to be open.
func (p *Peer) DialEarly(ctx context.Context, network, address string) (pipe.Conn, error) {
	ctx, cancel := p.whileUp(ctx)
	defer cancel()
	return p.p.links.DialEarly(ctx, network, address)
}

// whileUp is ctx that ends with the peer, too.
func (p *Peer) whileUp(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(p.p.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Err is why the peer has ended by itself; nil while it has not.
func (p *Peer) Err() error {
	p.p.mu.Lock()
	defer p.p.mu.Unlock()
	return p.p.err
}

// Done is closed when the peer has ended, by Close or because the relay will
// have no more to do with it.
func (p *Peer) Done() <-chan struct{} { return p.p.ctx.Done() }

// Close ends the peer, and returns why it had ended already, if it had.
func (p *Peer) Close() error {
	p.p.quit()
	return p.p.wait()
}

func newPeer(o Options) *peer {
	shown := url.URL{Scheme: o.URL.Scheme, Host: o.URL.Host, Path: o.URL.Path}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if !o.Linksocks {
		o.Dialer.Subprotocols = []string{native.Subprotocol}
	}
	p := &peer{o: o, instance: uuid.New(), shown: shown.String(), secrets: scrubber(o.Token, o.ConnectorToken)}
	p.log = o.Logger.With("relay", p.shown)
	p.links.init()
	return p
}

// fail ends the peer with err, unless it is ending already: what breaks then
// broke for that.
func (p *peer) fail(ctx context.Context, err error) {
	p.mu.Lock()
	if ctx.Err() == nil {
		p.err = err
		p.quit()
	}
	p.mu.Unlock()
}

// token is what the relay knows us by.
func (p *peer) token() redact.Secret {
	if p.o.Token.IsZero() {
		return redact.New(linksocks.Anonymous)
	}
	return p.o.Token
}

// front is what the links are for.
func (p *peer) front(ctx context.Context) {
	switch {
	case p.o.Role != Provider:
		p.serveSOCKS(ctx)
	case !p.o.ConnectorToken.IsZero():
		p.keepConnector(ctx)
	default:
		if _, err := p.links.await(ctx, nil); err == nil {
			p.ready(ctx, nil)
		}
	}
}

// ready tells who wants to know, and reports whether to go on.
func (p *peer) ready(ctx context.Context, socks net.Addr) bool {
	if p.o.Ready == nil {
		return true
	}
	if err := p.o.Ready(socks); err != nil {
		p.fail(ctx, err)
		return false
	}
	return true
}
