package linksocks

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/site"
)

const (
	// maxDatagram is the longest payload of a UDP datagram that is passed on.
	maxDatagram = 65507
	// arrivedQueue is how many datagrams wait for their reader; more are lost.
	arrivedQueue = 64
)

// association is one UDP association over a link. On the end that opened it,
// it is a site.Association; on the other, target exchanges its datagrams.
type association struct {
	s        *Session
	id       uuid.UUID
	movedAt  atomic.Int64 // nanoseconds since 1970 of the last datagram
	answered chan error   // the peer's word, for who opened it
	came     chan datagram
	first    chan datagram // what Await took
	once     sync.Once
	ended    chan struct{}
	served   bool
	target   atomic.Pointer[site.Association] // on the end that serves it, once it is open
}

type datagram struct {
	payload []byte
	source  netip.AddrPort
}

func newAssociation(s *Session, id uuid.UUID) *association {
	a := &association{s: s, id: id, answered: make(chan error, 1), came: make(chan datagram, arrivedQueue), first: make(chan datagram, 1), ended: make(chan struct{})}
	a.moved()
	return a
}

func (a *association) moved() { a.movedAt.Store(time.Now().UnixNano()) }

func (a *association) idleSince(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - a.movedAt.Load())
}

// Associate opens an association in the peer's network.
func (s *Session) Associate(ctx context.Context) (site.Association, error) {
	a := newAssociation(s, uuid.New())
	if !s.addAssociation(a) {
		return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: "udp", Err: ErrLinkLost}
	}
	_ = s.Send(Connect{Proto: UDP, Channel: a.id}) // it can always be encoded
	var err error
	select {
	case err = <-a.answered:
	case <-a.ended:
		err = &site.DialError{Reason: site.NetworkUnreachable, Address: "udp", Err: ErrLinkLost}
	case <-ctx.Done():
		err = &site.DialError{Reason: site.ReasonOf(ctx.Err()), Address: "udp", Err: ctx.Err()}
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (s *Session) addAssociation(a *association) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.associations[a.id] = a
	return true
}

func (s *Session) association(id uuid.UUID) *association {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.associations[id]
}

// answer is the peer's word on an association that this end opened.
func (a *association) answer(m *ConnectResponse) {
	var err error
	if !m.OK {
		err = refusal("udp", m.Cause)
	}
	select {
	case a.answered <- err:
	default: // it has been heard already
	}
}

// Send implements site.Association.
func (a *association) Send(p []byte, host string, port uint16) error {
	select {
	case <-a.ended:
		return net.ErrClosed
	default:
	}
	a.send(Data{Proto: UDP, Channel: a.id, Payload: p, Target: Endpoint{Host: []byte(host), Port: port}})
	return nil
}

func (a *association) send(m Data) {
	msg, err := m.Append(make([]byte, 0, MaxEnvelope+len(m.Payload)))
	if err != nil || !a.s.out.datagram(msg) {
		a.s.cfg.Count("udp_lost")
		return
	}
	a.moved()
}

// arrived takes a datagram that the peer sent. It runs on the reading goroutine.
func (a *association) arrived(m *Data) {
	if len(m.Payload) > maxDatagram { // no network gave it that
		a.s.cfg.Count("udp_malformed")
		return
	}
	a.moved()
	if a.served {
		target := a.target.Load()
		if target == nil {
			a.s.cfg.Count("udp_lost")
			return
		}
		if err := (*target).Send(m.Payload, string(m.Target.Host), m.Target.Port); err != nil {
			a.s.cfg.Count("udp_unsent") // lost, like any that a network cannot deliver
		}
		return
	}
	source, ok := m.Source.AddrPort()
	if !ok {
		a.s.cfg.Count("udp_malformed")
		return
	}
	select {
	case a.came <- datagram{append([]byte(nil), m.Payload...), source}:
	default:
		a.s.cfg.Count("udp_lost")
	}
}

// Await implements site.Association.
func (a *association) Await() error {
	if len(a.first) > 0 {
		return nil
	}
	select {
	case d := <-a.came:
		a.first <- d
		return nil
	case <-a.ended:
		return net.ErrClosed
	}
}

// Receive implements site.Association.
func (a *association) Receive(p []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-a.first:
		return copy(p, d.payload), d.source, nil
	default:
	}
	select {
	case d := <-a.came:
		return copy(p, d.payload), d.source, nil
	case <-a.ended:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// Close implements site.Association.
func (a *association) Close() error {
	select {
	case <-a.ended:
	default:
		_ = a.s.Send(Disconnect{Channel: a.id}) // it can always be encoded
	}
	a.end()
	return nil
}

// end ends the association; the peer is not told.
func (a *association) end() {
	a.once.Do(func() {
		close(a.ended)
		a.s.mu.Lock()
		delete(a.s.associations, a.id)
		if a.served {
			a.s.served--
		}
		a.s.mu.Unlock()
	})
}

// serveDatagrams opens an association for the peer, which may give it up
// meanwhile.
func (s *Session) serveDatagrams(ctx context.Context, id uuid.UUID) {
	a := newAssociation(s, id)
	a.served = true
	if !s.addServedAssociation(a) {
		return
	}
	s.group.Go(func() {
		target, err := s.associateFor(ctx, a)
		if err == nil && !a.start(target) {
			target.Close()
			return
		}
		// It must leave before the first datagram, and both go by the outbox.
		s.respond(id, err)
		if err != nil {
			a.end()
			return
		}
		closing := context.AfterFunc(ctx, a.end)
		defer closing()
		a.carryBack(target)
	})
}

func (s *Session) associateFor(ctx context.Context, a *association) (site.Association, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	defer cancel()
	opened := make(chan struct{})
	defer close(opened)
	s.group.Go(func() {
		select {
		case <-a.ended:
			cancel()
		case <-opened:
		}
	})
	return s.cfg.UDP.Associate(ctx)
}

// start gives the association its target, unless it has ended. What came before
// is lost.
func (a *association) start(target site.Association) bool {
	a.target.Store(&target)
	select {
	case <-a.ended:
		return false
	default:
		return true
	}
}

func (s *Session) addServedAssociation(a *association) bool {
	s.mu.Lock()
	_, twice := s.associations[a.id]
	_, other := s.streams[a.id]
	ok := !twice && !other && !s.ended
	if ok {
		s.associations[a.id] = a
		s.served++
	}
	s.mu.Unlock()
	if twice || other {
		s.cfg.Count("channel_twice")
	}
	return ok
}

var datagramBuffers = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

func (a *association) carryOne(target site.Association) error {
	buf := datagramBuffers.Get().(*[maxDatagram]byte)
	defer datagramBuffers.Put(buf)
	n, source, err := target.Receive(buf[:])
	if err == nil {
		var host [40]byte
		a.send(Data{Proto: UDP, Channel: a.id, Payload: buf[:n], Source: EndpointAt(host[:], source)})
	}
	return err
}

// carryBack sends the peer what its targets say, until the association ends.
func (a *association) carryBack(target site.Association) {
	stop := make(chan struct{})
	a.s.group.Go(func() {
		select {
		case <-a.ended:
		case <-stop:
		}
		target.Close()
	})
	for target.Await() == nil && a.carryOne(target) == nil {
	}
	close(stop)
	a.Close()
}
