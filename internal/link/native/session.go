package native

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
)

// Invariants of a Session, each with a test:
//
//  1. What is held for a stream never exceeds the credit that its peer was given.
//     So the goroutine that reads the link never waits: not for the network, not
//     for a stream's user.
//  2. A stream whose user takes nothing stops its own sender, and nobody else.
//  3. Of a stream the answer goes out before its data, its data before its end.
//  4. Credit is given at most once for every byte that a user took, and no byte is
//     received that there was none for.
//  5. A link that ends, ends its streams at once, with an error on both sides,
//     but for those whose peer had said all to who opened them.
//  6. A link that holds more than maxLinkHeld, or holds most when the process holds
//     more than maxHeld, loses the stream that most is held for.
//
// What a stream's window is like is in credit.go.

const (
	maxControl   = 1 << 20
	maxDatagrams = 512 << 10
	// gatherMax is how much of what waits in the outbox goes into one message.
	gatherMax = 16 << 10
	// wishTimeout is how long the relay may take to answer a wish.
	wishTimeout = 10 * time.Second
)

// A Session is one link in this dialect. It is a link.Session.
type Session struct {
	conn    *ws.Conn
	cfg     link.Config
	out     flow.Outbox
	windows windows
	held    atomic.Int64 // bytes that wait for users
	closing chan struct{}
	once    sync.Once
	done    chan struct{}
	group   sync.WaitGroup // of what is served for the peer

	mu           sync.Mutex // guards below
	streams      map[uint32]*Stream
	associations map[uint32]*flow.Association
	wishes       map[uint32]chan wish
	next         uint32 // number of the next stream that this end opens
	highest      uint32 // number of the last stream that the peer opened
	lastWish     uint32
	served       int  // channels that the peer has open
	draining     bool // this end takes no more
	away         bool // the peer takes no more
	ended        bool
}

var _ link.Session = (*Session)(nil)

// New makes a session of a connection on which both ends know each other
// already. client says that this end opened it. Run must follow.
func New(conn *ws.Conn, client bool, cfg link.Config) *Session {
	cfg.Complete()
	s := &Session{
		conn: conn, cfg: cfg, closing: make(chan struct{}), done: make(chan struct{}),
		streams: make(map[uint32]*Stream), associations: make(map[uint32]*flow.Association), wishes: make(map[uint32]chan wish),
		next: 2,
	}
	if client {
		s.next = 1
	}
	s.windows.init(conn)
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
	s.enlist()
	defer s.leave()
	r := reader{s: s, ctx: ctx}
	err := r.run()
	if reason := dead.Load(); reason != nil {
		err = *reason
	}
	if bad, ok := errors.AsType[*Error](err); ok {
		s.cfg.Count("protocol_error")
		s.conn.SendClose(ws.CodeProtocol, bad.Error())
	}
	s.end()
	s.Close()
	own.Wait()
	cancel()
	s.group.Wait()
	return err
}

// Close implements link.Session.
func (s *Session) Close() {
	s.once.Do(func() { close(s.closing) })
	s.conn.Close()
}

// Shut implements link.Session.
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

// Drain implements link.Session: the peer is told by GOAWAY (5.1).
func (s *Session) Drain() {
	s.mu.Lock()
	first := !s.draining
	s.draining = true
	last := s.highest
	s.mu.Unlock()
	if first {
		s.out.Send(goAway{last, verdict{GoingAway, ""}}.append(nil))
	}
}

// TellPartners implements link.Session.
func (s *Session) TellPartners(n int) {
	s.out.Send(appendNumber(nil, typePartners, 0, uint32(max(n, 0))))
}

// Manage implements link.Session (7).
func (s *Session) Manage(ctx context.Context, w link.Wish) (redact.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, wishTimeout)
	defer cancel()
	answer := make(chan wish, 1)
	m := wish{op: opAdd, text: w.Token.Reveal()}
	if w.Remove {
		m.op = opRemove
	}
	if len(m.text) > maxToken {
		return redact.Secret{}, &link.RefusedError{Text: "a token has at most 255 bytes"}
	}
	s.mu.Lock()
	s.lastWish++
	m.request = s.lastWish
	s.wishes[m.request] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.wishes, m.request)
		s.mu.Unlock()
	}()
	s.out.Send(m.append(nil, typeConnector))
	select {
	case a := <-answer:
		if a.op != 1 {
			return redact.Secret{}, &link.RefusedError{Text: a.text}
		}
		return redact.New(a.text), nil
	case <-s.done:
		return redact.Secret{}, link.ErrLost
	case <-ctx.Done():
		return redact.Secret{}, ctx.Err()
	}
}

// sendBatch sends control frames, several in one message (1.3).
func (s *Session) sendBatch(batch [][]byte) error {
	var parts [][]byte
	size := 0
	flush := func() error {
		if size == 0 {
			return nil
		}
		err := s.conn.WriteOwned(ws.Binary, parts...)
		parts, size = parts[:0], 0
		return err
	}
	for _, frame := range batch {
		if size+len(frame) > gatherMax {
			if err := flush(); err != nil {
				return err
			}
		}
		parts, size = append(parts, frame), size+len(frame)
	}
	return flush()
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
			if err := s.windows.ping(); err != nil && !errors.Is(err, ws.ErrCloseSent) {
				return err
			}
		}
		if s.out.Overfull() {
			return link.ErrStuck
		}
		s.endIdle(now)
	}
}

// endIdle ends associations on which nothing moves, and streams that the peer
// has not answered.
func (s *Session) endIdle(now time.Time) {
	idle := make(map[uint32]*flow.Association)
	var unanswered []*Stream
	s.mu.Lock()
	for id, a := range s.associations {
		if a.IdleFor(now) >= s.cfg.UDPIdle {
			idle[id] = a
		}
	}
	for _, st := range s.streams {
		if st.early && now.Sub(st.openedAt) >= link.AnswerTimeout {
			unanswered = append(unanswered, st)
		}
	}
	s.mu.Unlock()
	for id, a := range idle {
		s.cfg.Count("udp_idle")
		s.out.Send(verdict{reason: Idle}.append(nil, typeReset, id))
		a.End()
	}
	for _, st := range unanswered {
		st.answerOverdue()
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

// DialEarly implements link.Session.
func (s *Session) DialEarly(_ context.Context, _, address string) (pipe.Conn, error) {
	st, err := s.open(address, true)
	if err != nil {
		return nil, err // and no stream that is not quite nil
	}
	return st, nil
}

// open sends an OPEN. Numbers must go out in ascending order (4.1), so the
// number is chosen by who has the turn to write.
func (s *Session) open(address string, early bool) (*Stream, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &site.DialError{Reason: site.Other, Address: address, Err: err}
	}
	port, err := net.LookupPort("tcp", text)
	if err == nil && len(host) > maxHost {
		err = errors.New("the name is longer than 255 bytes")
	}
	if err != nil {
		return nil, &site.DialError{Reason: site.Other, Address: address, Err: err}
	}
	st := newStream(s, address)
	st.early = early
	m := opening{kind: openTCP, host: host, port: uint16(port)}
	if err := s.sendOpen(m, func(id uint32) { st.id = id; s.streams[id] = st }); err != nil {
		return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: address, Err: err}
	}
	return st, nil
}

// sendOpen gives what is opened a number, and asks the peer for it.
func (s *Session) sendOpen(m opening, register func(id uint32)) error {
	frame := make([]byte, 0, headerSize+4+len(m.host))
	err := s.conn.WriteMade(ws.Binary, func() ([]byte, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.ended:
			return nil, link.ErrLost
		case s.away, s.next > 1<<32-4:
			return nil, fmt.Errorf("%w: the peer takes no more streams", link.ErrLost)
		}
		id := s.next
		s.next += 2
		register(id)
		return m.append(frame, id), nil
	})
	if err != nil && !errors.Is(err, link.ErrLost) {
		err = fmt.Errorf("%w: %w", link.ErrLost, err)
	}
	return err
}

// Associate implements link.Session.
func (s *Session) Associate(ctx context.Context) (site.Association, error) {
	var a *flow.Association
	err := s.sendOpen(opening{kind: openUDP}, func(id uint32) {
		a = s.newAssociation(id, false)
		s.associations[id] = a
	})
	if err == nil {
		if err = a.Opened(ctx); err != nil {
			a.Close()
		}
	}
	if errors.Is(err, net.ErrClosed) {
		err = link.ErrLost
	}
	if dial, ok := errors.AsType[*site.DialError](err); ok {
		return nil, dial
	}
	if err != nil {
		return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: "udp", Err: err}
	}
	return a, nil
}

func (s *Session) newAssociation(id uint32, served bool) *flow.Association {
	return flow.NewAssociation(flow.Wire{
		Send: func(p []byte, host string, port uint16) bool {
			if len(p) > maxDatagram || len(host) > maxHost {
				return false
			}
			frame := make([]byte, 0, headerSize+3+len(host)+len(p))
			return s.out.SendDatagram(datagram{host, port, p}.append(frame, id))
		},
		Bye: func() { s.out.Send(verdict{reason: GivenUp}.append(nil, typeReset, id)) },
		Forget: func() {
			s.mu.Lock()
			delete(s.associations, id)
			if served {
				s.served--
			}
			s.mu.Unlock()
		},
		Count: s.cfg.Count,
	}, served)
}

// forget takes a closed stream off the books, with its credit above the initial window.
func (s *Session) forget(st *Stream, extra int) {
	s.mu.Lock()
	if s.streams[st.id] == st {
		delete(s.streams, st.id)
	}
	if st.served {
		s.served--
	}
	s.mu.Unlock()
	s.windows.release(extra)
}
