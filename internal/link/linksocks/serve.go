package linksocks

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// serve does what a peer's Connect asks for. The channel is there when it
// returns, so that data which follows at once finds it.
func (s *Session) serve(ctx context.Context, m *Connect) {
	if err := s.refuse(m); err != nil {
		s.cfg.Count("connect_refused")
		s.send(response(m.Channel, err))
		return
	}
	if m.Proto == UDP {
		id := m.Channel
		a := s.newAssociation(id, true)
		if s.addServed(id, nil, a) {
			s.group.Go(func() { s.serveDatagrams(ctx, a, id) })
		}
		return
	}
	st := newStream(s, m.Channel, m.Address())
	st.served = true
	if s.addServed(st.id, st, nil) {
		s.group.Go(func() { s.serveStream(ctx, st) })
	}
}

// refuse says why a Connect is not followed.
func (s *Session) refuse(m *Connect) error {
	if !m.Proto.known() {
		return fmt.Errorf("%w %d", ErrProto, m.Proto)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Refuse(m.Proto == UDP, m.Host, m.Port, s.draining, s.served)
}

// addServed registers what the peer opened, a stream or an association. An id
// that is in use already is the peer's mistake, and what has it goes on.
func (s *Session) addServed(id uuid.UUID, st *Stream, a *flow.Association) bool {
	s.mu.Lock()
	_, twice := s.streams[id]
	_, other := s.associations[id]
	ok := !twice && !other && !s.ended
	if ok {
		s.served++
		if st != nil {
			s.streams[id] = st
		} else {
			s.associations[id] = a
		}
	}
	s.mu.Unlock()
	if twice || other {
		s.cfg.Count("channel_twice")
	}
	return ok
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
	st.OnBreak(nil)
	if err != nil {
		cancel()
		st.reject(err)
		st.Close()
		return
	}
	if pending, ok := target.(site.Pending); ok {
		// What the peer sent early need not wait for the answer, here or
		// further on. Join closes the target if the stream breaks, and that
		// ends the waiting.
		s.group.Go(func() {
			defer cancel()
			if err := pending.Opened(ctx); err != nil {
				st.reject(err)
				return
			}
			st.accept()
		})
	} else {
		cancel()
		st.accept()
	}
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

func (s *Session) serveDatagrams(ctx context.Context, a *flow.Association, id uuid.UUID) {
	a.Serve(ctx, s.cfg.UDP, s.cfg.DialTimeout, func(err error) { s.send(response(id, err)) })
}
