package linksocks

import (
	"context"
	"errors"
	"net"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/site"
)

// newAssociation makes an association; served says that the peer opened it.
func (s *Session) newAssociation(id uuid.UUID, served bool) *flow.Association {
	return flow.NewAssociation(flow.Wire{
		Send: func(p []byte, host string, port uint16) bool {
			m := Data{Proto: UDP, Channel: id, Payload: p}
			if at := (Endpoint{Host: []byte(host), Port: port}); served {
				m.Source = at
			} else {
				m.Target = at
			}
			msg, err := m.Append(make([]byte, 0, MaxEnvelope+len(p)))
			return err == nil && s.out.SendDatagram(msg)
		},
		Bye: func() { s.send(Disconnect{Channel: id}) },
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

// Associate implements link.Session.
func (s *Session) Associate(ctx context.Context) (site.Association, error) {
	id := uuid.New()
	a := s.newAssociation(id, false)
	lost := &site.DialError{Reason: site.NetworkUnreachable, Address: "udp", Err: link.ErrLost}
	if !s.addAssociation(id, a) {
		return nil, lost
	}
	s.send(Connect{Proto: UDP, Channel: id})
	if err := a.Opened(ctx); err != nil {
		a.Close()
		if errors.Is(err, net.ErrClosed) {
			return nil, lost
		}
		return nil, err
	}
	return a, nil
}

func (s *Session) addAssociation(id uuid.UUID, a *flow.Association) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.associations[id] = a
	return true
}

func (s *Session) association(id uuid.UUID) *flow.Association {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.associations[id]
}
