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

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
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
//
// The patience that a peer like this one has with a stuck stream, in which it
// does not read, must be less than link.WriteTimeout.

const (
	// maxControl is how many bytes of control messages may wait. A peer that
	// lets more come together does not read.
	maxControl = 1 << 20
	// maxDatagrams is how many bytes of datagrams may wait; what comes then is
	// lost, as datagrams may be.
	maxDatagrams = 512 << 10
)

// ErrTooSlow ends a stream whose reader held up the others for too long.
var ErrTooSlow = errors.New("receiver too slow")

// A Session is one link in this dialect. It is a link.Session.
type Session struct {
	conn    *ws.Conn
	cfg     link.Config
	out     flow.Outbox
	inbound inbound
	once    sync.Once
	closing chan struct{} // closed when Close is called
	closed  chan struct{} // closed when the connection is
	done    chan struct{}
	group   sync.WaitGroup // of what is served for the peer

	mu           sync.Mutex // guards below
	streams      map[uuid.UUID]*Stream
	associations map[uuid.UUID]*flow.Association
	wishes       map[uuid.UUID]chan ConnectorResponse
	ended        bool
	draining     bool
	served       int // channels that the peer opened
}

var _ link.Session = (*Session)(nil)

// New makes a session of a connection on which both ends know each other
// already. Run must follow. The dialect has no word for going away: cfg.GoAway
// is never told.
func New(conn *ws.Conn, cfg link.Config) *Session {
	cfg.Complete()
	s := &Session{
		conn: conn, cfg: cfg, closing: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
		streams: make(map[uuid.UUID]*Stream), associations: make(map[uuid.UUID]*flow.Association),
		wishes: make(map[uuid.UUID]chan ConnectorResponse),
	}
	s.inbound.init(s)
	s.out.Init(s.sendBatch, maxControl, maxDatagrams)
	conn.SetMaxMessage(MaxMessage)
	return s
}

// Run implements link.Session.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	var own sync.WaitGroup
	own.Go(s.out.Run)
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

// Close implements link.Session. Of several calls each returns when the
// connection is closed: with a close frame under way that takes a second.
func (s *Session) Close() {
	first := false
	s.once.Do(func() { first = true })
	if !first {
		<-s.closed
		return
	}
	close(s.closing)
	s.conn.Close()
	close(s.closed)
}

// Shut implements link.Session: the peer is sent a close frame.
func (s *Session) Shut() { s.conn.SendClose(ws.CodeGoingAway, "") }

// Done implements link.Session.
func (s *Session) Done() <-chan struct{} { return s.done }

// Silence implements link.Session.
func (s *Session) Silence() time.Duration { return s.conn.Silence() }

// Streams implements link.Session.
func (s *Session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams) + len(s.associations)
}

// Drain implements link.Session: what the peer opens from now on is refused.
func (s *Session) Drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
}

// A message is one that can be sent.
type message interface {
	Message
	Append(dst []byte) ([]byte, error)
}

// send queues a control message, without waiting. One that cannot be encoded is
// lost: there is none, as long as hosts and tokens are measured before.
func (s *Session) send(m message) {
	if b, err := m.Append(nil); err == nil {
		s.out.Send(b)
	}
}

func (s *Session) sendBatch(batch [][]byte) error {
	for _, msg := range batch {
		if err := s.conn.WriteOwned(ws.Binary, msg); err != nil {
			return err // the reader finds out
		}
	}
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
	s.out.Stop()
	for _, st := range streams {
		st.linkLost()
	}
	for _, a := range associations {
		a.End()
	}
}

// keep asks for signs of life and ends what has none, until the link ends.
func (s *Session) keep() error {
	tick := time.NewTicker(link.CheckInterval)
	defer tick.Stop()
	pinged := time.Now()
	for {
		select {
		case <-s.done:
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if s.conn.Silence() >= link.DeadAfter {
			return link.ErrDead
		}
		if now.Sub(pinged) >= link.PingInterval {
			pinged = now
			if err := s.conn.Ping(nil); err != nil && !errors.Is(err, ws.ErrCloseSent) {
				return err
			}
		}
		if s.out.Overfull() {
			return link.ErrStuck
		}
		s.endIdle(now)
	}
}

// endIdle ends half-closed streams and associations on which nothing moves.
func (s *Session) endIdle(now time.Time) {
	var idle []*flow.Association
	s.mu.Lock()
	for _, a := range s.associations {
		if a.IdleFor(now) >= s.cfg.UDPIdle {
			idle = append(idle, a)
		}
	}
	s.mu.Unlock()
	for _, st := range s.allStreams() {
		st.endIfForgotten(now)
	}
	for _, a := range idle {
		s.cfg.Count("udp_idle")
		a.Close()
	}
}

// Dial implements link.Session.
func (s *Session) Dial(ctx context.Context, _, address string) (pipe.Conn, error) {
	st, err := s.open(address, false)
	if err != nil {
		return nil, err
	}
	if err := st.Opened(ctx); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

// DialEarly implements link.Session. A target that cannot be reached ends the
// stream with the error of Dial.
func (s *Session) DialEarly(_ context.Context, _, address string) (pipe.Conn, error) {
	st, err := s.open(address, true)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (s *Session) open(address string, early bool) (*Stream, error) {
	st := newStream(s, uuid.New(), address)
	st.early = early
	var scratch [1 + 1 + 1 + 16 + 1 + maxText + 2]byte
	host, port, err := splitAddress(address)
	msg := scratch[:0]
	if err == nil {
		msg, err = Connect{Proto: TCP, Channel: st.id, Host: host, Port: port}.Append(msg)
	}
	if err != nil {
		return nil, &site.DialError{Reason: site.Other, Address: address, Err: err}
	}
	if !s.add(st) {
		return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: address, Err: link.ErrLost}
	}
	if err := s.conn.WriteMessage(ws.Binary, msg); err != nil {
		s.forget(st)
		return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: address, Err: fmt.Errorf("%w: %w", link.ErrLost, err)}
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

func (s *Session) allStreams() []*Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Stream, 0, len(s.streams))
	for _, st := range s.streams {
		all = append(all, st)
	}
	return all
}
