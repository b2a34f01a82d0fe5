package server

import (
	"context"
	"time"
)

// houseInterval is how often the house is kept.
const houseInterval = time.Hour

// keepHouse does now and then what nobody asks for, until ctx ends: a new key
// for signing when the old one has its age, and old audit entries removed.
func (s *Server) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	for {
		if err := s.tidy(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Error("not everything is tidy; it is tried again later", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) tidy(ctx context.Context, now time.Time) error {
	tokens, err := s.data.tokens(ctx, s.log, now)
	if err != nil {
		return err
	}
	s.app.SetTokens(tokens)
	return s.app.TrimAudit(ctx)
}
