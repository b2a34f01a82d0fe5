package linksocks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// Invariants of a Session, each with a test:
//
//  1. One goroutine reads the link. It never waits for the network to take
//     something, and for a stream's reader only within the link's patience.
//  2. What is held for a stream whose reader is slow is bounded, and so is the
//     sum over the link. What does not fit ends that stream with an error on
//     both sides; no byte of a stream that goes on is dropped.
//  3. Of a channel the answer goes out before its data, its data before its end.
//  4. A channel belongs to the link that it was opened on: no other can name it.
//  5. A link that ends, ends its streams at once, but for those whose peer had
//     said all: what it said is still delivered.

// WriteTimeout is how long a peer may take nothing of what it is sent, before
// its link is given up. It must be more than the patience that a peer like this
// one has with a stuck stream, in which it does not read.
const WriteTimeout = 30 * time.Second

const (
	// pingInterval is how often every peer is asked for a sign of life.
	pingInterval = 10 * time.Second
	// checkInterval is how often is looked at what may have ended.
	checkInterval = 2 * time.Second
	// deadAfter is how long a link that is read may bring nothing.
	deadAfter = 30 * time.Second
	// dialTimeout bounds the dial of a target for the peer.
	dialTimeout = 10 * time.Second
	// answerTimeout is how long the peer may take to answer a Connect that is
	// not waited for.
	answerTimeout = 15 * time.Second
	// maxChannels is how many channels one link may have open.
	maxChannels = 16384
	// defaultUDPIdle is how long an association lives without a datagram.
	defaultUDPIdle = 2 * time.Minute
)

// Why a link or a stream ends, beside what the network says.
var (
	// ErrDead ends a link whose peer gave no sign of life.
	ErrDead = errors.New("the peer gave no sign of life")
	// ErrStuck ends a link whose peer does not take what it is sent.
	ErrStuck = errors.New("the peer takes no messages")
	// ErrLinkLost ends the streams of a link that ended.
	ErrLinkLost = errors.New("the link was lost")
	// ErrTooSlow ends a stream whose reader held up the others for too long.
	ErrTooSlow = errors.New("receiver too slow")
	// ErrAborted ends a stream that the peer gave up.
	ErrAborted = errors.New("the peer gave the stream up")
)

// Config is what a Session is told about its peer and its surroundings.
type Config struct {
	// Dial connects to what the peer asks for. nil refuses everything: a
	// provider has nothing to ask for.
	Dial func(ctx context.Context, network, address string) (pipe.Conn, error)
	// DialTimeout bounds Dial. 0 means 10 seconds.
	DialTimeout time.Duration
	// UDP exchanges datagrams for the peer. nil refuses.
	UDP site.Associator
	// UDPIdle ends an association that brought no datagram for so long. 0 means
	// two minutes.
	UDPIdle time.Duration
	// Control is told of each Connector, ConnectorResponse, Log and Partners. It
	// runs on the reading goroutine and must not block; the message is valid
	// until it returns. It may be nil.
	Control func(Message)
	// Count is told of what an operator wants to see counted, as one of a few
	// fixed words. It may be nil.
	Count func(event string)
	// Meter counts the bytes of streams that the peer opened. It may be nil.
	Meter *pipe.Meter
}

// A Session is one authenticated link, on either end. It carries streams and
// associations that this end opens (Dial, DialEarly, Associate) and serves
// those that the peer opens.
type Session struct {
	conn    *ws.Conn
	cfg     Config
	out     outbox
	inbound inbound
	closing chan struct{}
	once    sync.Once
	done    chan struct{}
	group   sync.WaitGroup // of what is served for the peer

	mu           sync.Mutex // guards below
	streams      map[uuid.UUID]*Stream
	associations map[uuid.UUID]*association
	ended        bool
	draining     bool
	served       int // channels that the peer opened
}

// New makes a session of a connection on which both ends know each other
// already. Run must follow.
func New(conn *ws.Conn, cfg Config) *Session {
	if cfg.Count == nil {
		cfg.Count = func(string) {}
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = dialTimeout
	}
	if cfg.UDPIdle == 0 {
		cfg.UDPIdle = defaultUDPIdle
	}
	s := &Session{
		conn: conn, cfg: cfg, closing: make(chan struct{}), done: make(chan struct{}),
		streams: make(map[uuid.UUID]*Stream), associations: make(map[uuid.UUID]*association),
	}
	s.inbound.init(s)
	s.out.init(conn)
	conn.SetMaxMessage(MaxMessage)
	return s
}

// Run serves the link until it ends or ctx does, and returns why. When it
// returns, nothing of the session runs on and every stream has ended, but for
// those that this end opened and whose peer had said all: they deliver it.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	var own sync.WaitGroup
	own.Go(func() { s.out.run() })
	var dead atomic.Pointer[error]
	own.Go(func() {
		if err := s.keep(); err != nil {
			dead.Store(&err)
			s.Close()
		}
	})
	err := s.inbound.read(ctx)
	if reason := dead.Load(); reason != nil {
		err = *reason
	}
	s.end()
	s.Close()
	own.Wait()
	cancel()
	s.group.Wait()
	return err
}

// Close ends the link; Run returns.
func (s *Session) Close() {
	s.once.Do(func() { close(s.closing) })
	s.conn.Close()
}

// Shut begins an orderly end: the peer is sent a close frame with a code, and
// the link ends within a second.
func (s *Session) Shut(code ws.Code, reason string) { s.conn.SendClose(code, reason) }

// Done is closed when the link has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Silence is how long the link has been read in vain. The peer is pinged every
// 10 seconds, so that more than that is a bad sign.
func (s *Session) Silence() time.Duration { return s.conn.Silence() }

// Streams is how many streams and associations are open.
func (s *Session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams) + len(s.associations)
}

// Drain refuses what the peer opens from now on. What is open goes on.
func (s *Session) Drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
}

// Send sends a message that belongs to no channel, without waiting.
func (s *Session) Send(m interface {
	Append(dst []byte) ([]byte, error)
}) error {
	b, err := m.Append(nil)
	if err != nil {
		return err
	}
	s.out.send(b)
	return nil
}

// end fails every stream and association.
func (s *Session) end() {
	s.mu.Lock()
	s.ended = true
	streams, associations := s.streams, s.associations
	s.streams, s.associations = nil, nil
	s.mu.Unlock()
	close(s.done)
	s.out.stop()
	for _, st := range streams {
		st.linkLost()
	}
	for _, a := range associations {
		a.end()
	}
}

// keep asks for signs of life and ends what has none, until the link ends.
func (s *Session) keep() error {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	pinged := time.Now()
	for {
		select {
		case <-s.done:
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if s.conn.Silence() >= deadAfter {
			return ErrDead
		}
		if now.Sub(pinged) >= pingInterval {
			pinged = now
			if err := s.conn.Ping(nil); err != nil && !errors.Is(err, ws.ErrCloseSent) {
				return err
			}
		}
		if s.out.overfull() {
			return ErrStuck
		}
		s.endIdle(now)
	}
}

// endIdle ends half-closed streams and associations on which nothing moves.
func (s *Session) endIdle(now time.Time) {
	s.mu.Lock()
	var streams []*Stream
	for _, st := range s.streams {
		streams = append(streams, st)
	}
	var idle []*association
	for _, a := range s.associations {
		if a.idleSince(now) >= s.cfg.UDPIdle {
			idle = append(idle, a)
		}
	}
	s.mu.Unlock()
	for _, st := range streams {
		st.endIfForgotten(now)
	}
	for _, a := range idle {
		s.cfg.Count("udp_idle")
		a.Close()
	}
}

// Dial opens a stream to address, as the peer sees it, and waits for the peer's
// word. The error is a *site.DialError; that of a link which ended wraps
// ErrLinkLost.
func (s *Session) Dial(ctx context.Context, network, address string) (pipe.Conn, error) {
	st, err := s.open(address, false)
	if err != nil {
		return nil, err
	}
	if err := st.opened(ctx); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

// DialEarly is Dial that does not wait: data may be written at once. A target
// that cannot be reached ends the stream with the error of Dial.
func (s *Session) DialEarly(ctx context.Context, network, address string) (pipe.Conn, error) {
	return s.open(address, true)
}

func (s *Session) open(address string, early bool) (*Stream, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, &site.DialError{Reason: site.Other, Address: address, Err: err}
	}
	st := newStream(s, uuid.New(), address)
	st.early = early
	var scratch [1 + 1 + 1 + 16 + 1 + maxText + 2]byte
	msg, err := Connect{Proto: TCP, Channel: st.id, Host: host, Port: port}.Append(scratch[:0])
	if err == nil && !s.add(st) {
		err = ErrLinkLost
	}
	if err == nil {
		if err = s.conn.WriteMessage(ws.Binary, msg); err != nil {
			s.forget(st)
			err = fmt.Errorf("%w: %w", ErrLinkLost, err)
		}
	}
	if err != nil {
		return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: address, Err: err}
	}
	return st, nil
}

func splitAddress(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := net.LookupPort("tcp", text)
	return host, uint16(n), err
}

func (s *Session) add(st *Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.streams[st.id] = st
	return true
}

func (s *Session) forget(st *Stream) {
	s.mu.Lock()
	delete(s.streams, st.id)
	if st.served {
		s.served--
	}
	s.mu.Unlock()
}

func (s *Session) stream(id uuid.UUID) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}
