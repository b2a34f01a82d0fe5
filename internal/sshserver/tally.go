package sshserver

import (
	"context"
	"sync"
)

// Counts is what a server has seen, over all its listeners.
type Counts struct {
	Accepted      int // connections, ever
	Authenticated int // connections that logged in, ever
	Current       int // connections open now, logged in or not

	PasswordAttempts int
	KeyboardAttempts int // answers to keyboard-interactive
	KeyOffers        int // public keys that a client asked about or signed with

	ChannelOpens    int // asked for by clients, of any type, refused ones too
	CurrentChannels int // open now, forwarded-tcpip too
	CurrentForwards int // listeners of tcpip-forward open now
}

// Counts gives one consistent view.
func (s *Server) Counts() Counts { return s.tally.snapshot() }

// WaitCounts blocks until ok holds for the counts, or gives ctx's error.
func (s *Server) WaitCounts(ctx context.Context, ok func(Counts) bool) error {
	for {
		counts, changed := s.tally.watch()
		if ok(counts) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tally keeps the counts and wakes who waits for them. The zero value is ready.
type tally struct {
	mu      sync.Mutex // guards below
	counts  Counts
	changed chan struct{} // nil unless somebody waits
}

func (t *tally) update(change func(*Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.counts)
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func (t *tally) snapshot() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// watch gives the counts and a channel that closes with their next change.
func (t *tally) watch() (Counts, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.counts, t.changed
}
