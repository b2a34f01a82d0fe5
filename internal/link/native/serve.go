package native

import (
	"context"
	"errors"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// serve does what a peer's OPEN asks for.
func (s *Session) serve(ctx context.Context, id uint32, m opening) error {
	udp := m.kind == openUDP
	if !udp && m.kind != openTCP {
		return wrong("4.2", "an OPEN of kind %d", m.kind)
	}
	if len(m.early) > 0 && udp {
		return wrong("4.2", "early data of an association")
	}
	s.mu.Lock()
	if id <= s.highest || id%2 == s.next%2 {
		s.mu.Unlock()
		return wrong("4.1", "stream %d after %d", id, s.highest)
	}
	s.highest = id
	refusal := s.cfg.Refuse(udp, m.host, m.port, s.draining, s.served)
	if refusal != nil {
		s.mu.Unlock()
		s.cfg.Count("connect_refused")
		s.out.Send(refused(refusal).append(nil, typeReset, id))
		return nil
	}
	s.served++
	if udp {
		a := s.newAssociation(id, true)
		s.associations[id] = a
		s.mu.Unlock()
		s.group.Go(func() { s.serveDatagrams(ctx, a, id) })
		return nil
	}
	st := newStream(s, m.address())
	st.id, st.served = id, true
	s.streams[id] = st
	s.mu.Unlock()
	if len(m.early) > 0 {
		b := flow.Take(len(m.early))
		copy(b.Bytes(), m.early)
		st.allowed -= len(m.early) // all of it at most
		st.receive(b)
	}
	s.group.Go(func() { s.serveStream(ctx, st) })
	return nil
}

// refused is what the peer is told of a dial that failed.
func refused(err error) verdict {
	reason := reasonOf(err)
	switch {
	case errors.Is(err, link.ErrDraining):
		reason = GoingAway
	case errors.Is(err, link.ErrTooMany):
		reason = TooMany
	case errors.Is(err, link.ErrNoProvider):
		reason = NoProvider
	case errors.Is(err, link.ErrLost):
		reason = LinkLost
	}
	if dial, ok := errors.AsType[*site.DialError](err); ok {
		err = dial.Err
	}
	if broken, ok := errors.AsType[*BrokenError](err); ok {
		return verdict{broken.Reason.passed(), broken.Text} // as a peer behind us said it
	}
	return verdict{reason, err.Error()}
}

func (s *Session) serveDatagrams(ctx context.Context, a *flow.Association, id uint32) {
	a.Serve(ctx, s.cfg.UDP, s.cfg.DialTimeout, func(err error) {
		s.mu.Lock()
		wanted := s.associations[id] == a
		s.mu.Unlock()
		switch {
		case !wanted: // the peer gave it up
			return
		case err != nil:
			s.out.Send(refused(err).append(nil, typeReset, id))
			return
		}
		s.out.Send(appendHeader(nil, typeAccept, id, 0))
	})
}

// serveStream carries a stream that the peer opened, to its end.
func (s *Session) serveStream(ctx context.Context, st *Stream) {
	if s.cfg.Accept != nil {
		s.handOver(st)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	st.OnBreak(func(error) { cancel() }) // a peer that gives up meanwhile ends the dial
	target, err := s.cfg.Dial(ctx, "tcp", st.address)
	if pending, ok := target.(site.Pending); ok && err == nil {
		// What the peer sent early need not wait for the answer, here or
		// further on.
		s.group.Go(func() {
			defer cancel()
			if err := pending.Opened(ctx); err != nil {
				st.reject(err)
				return
			}
			st.accept()
		})
		_ = pipe.Join(st, pending, s.cfg.Meter) // both sides are told
		return
	}
	st.OnBreak(nil)
	cancel()
	if err != nil {
		st.reject(err)
		st.Close()
		return
	}
	st.accept()
	_ = pipe.Join(st, target, s.cfg.Meter) // both sides are told
}

// handOver gives a stream to who accepts streams in place of Dial.
func (s *Session) handOver(st *Stream) {
	take, err := s.cfg.Accept(st.address)
	if err != nil {
		st.reject(err)
		st.Close()
		return
	}
	st.accept()
	take(st)
}

// accept answers the peer's OPEN, once. Whoever writes waits until the answer
// has left: it must be there before any data.
func (st *Stream) accept() {
	if !st.served {
		return
	}
	st.answers.Do(func() {
		if st.settle(false) {
			return
		}
		var scratch [headerSize]byte
		_ = st.s.conn.WriteMessage(ws.Binary, appendHeader(scratch[:0], typeAccept, st.id, 0)) // an error ends the link too
		st.settle(true)
	})
}

// settle notes whether the peer has been answered, and reports whether the
// stream has ended. It tells the peer of a stream that was closed here: who
// closed it did not, since there was no answer yet.
func (st *Stream) settle(answered bool) (gone bool) {
	st.mu.Lock()
	st.heard = answered
	over, closed, parting := st.over != nil, st.closed, st.parting
	st.mu.Unlock()
	if closed && !over {
		st.s.out.Send(parting.append(nil, typeReset, st.id))
	}
	return over || closed
}

// reject answers the peer's OPEN with a reason, once.
func (st *Stream) reject(err error) {
	st.answers.Do(func() {
		st.mu.Lock()
		st.heard = true
		over := st.over != nil
		st.mu.Unlock()
		if !over { // else the peer gave it up
			st.s.out.Send(refused(err).append(nil, typeReset, st.id))
		}
		st.fail(err)
	})
}
