package linksocks

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/redact"
)

// What belongs to no channel.

// wishTimeout is how long the relay may take to answer a wish.
const wishTimeout = 10 * time.Second

// TellPartners implements link.Session.
func (s *Session) TellPartners(n int) { s.send(Partners{Count: n}) }

// Manage implements link.Session. A relay that says nothing for 10 seconds is
// given up with ctx's error.
func (s *Session) Manage(ctx context.Context, w link.Wish) (redact.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, wishTimeout)
	defer cancel()
	m := Connector{Request: uuid.New(), Token: w.Token, Op: OpAdd}
	if w.Remove {
		m.Op = OpRemove
	}
	if len(w.Token.Reveal()) > maxText {
		return redact.Secret{}, &link.RefusedError{Text: "a token has at most 255 bytes"}
	}
	came := make(chan ConnectorResponse, 1)
	s.mu.Lock()
	s.wishes[m.Request] = came
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.wishes, m.Request)
		s.mu.Unlock()
	}()
	s.send(m)
	select {
	case answer := <-came:
		if !answer.OK {
			return redact.Secret{}, &link.RefusedError{Text: answer.Cause}
		}
		return answer.Token, nil
	case <-s.done:
		return redact.Secret{}, link.ErrLost
	case <-ctx.Done():
		return redact.Secret{}, ctx.Err()
	}
}

// managed hears the relay's word on a wish. One that nobody waits for is dropped.
func (s *Session) managed(m *ConnectorResponse) {
	s.mu.Lock()
	came := s.wishes[m.Request]
	delete(s.wishes, m.Request)
	s.mu.Unlock()
	if came != nil {
		came <- *m
	}
}

// fulfil has a provider's wish seen to, and answers.
func (s *Session) fulfil(m *Connector) {
	request := m.Request
	s.cfg.Manage(link.Wish{Remove: m.Op == OpRemove, Token: m.Token}, func(added redact.Secret, refusal string) {
		s.send(ConnectorResponse{Request: request, OK: refusal == "", Cause: refusal, Token: added})
	})
}
