package audit

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

const (
	refusalWindow = time.Minute
	// maxRefusals is how many refusals of one actor the audit is told of within
	// the window. Each is a synced commit, and stays for a year.
	maxRefusals = 60
	// maxRefused bounds of how many actors the refusals are counted apart; those
	// beyond count as one.
	maxRefused = 4096

	// leftOutAction is that of the entry which tells how many have none.
	leftOutAction = "refusals-left-out"
)

// refusals counts what the audit is told of actors who are refused. The zero
// value is ready.
type refusals struct {
	mu    sync.Mutex // guards below
	known map[string]*refusalCount
}

type refusalCount struct {
	since time.Time
	told  int
	left  int // out
}

// count counts a refusal. tell is false when it is one too many; first says that
// it is the first such one, and ends when its window does: whoever gets that must
// call settle then.
func (r *refusals) count(key string, at time.Time) (counted string, tell, first bool, ends time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.known[key]
	if n == nil && len(r.known) >= maxRefused {
		r.forgetLocked(at)
		if len(r.known) >= maxRefused {
			key = ""
			n = r.known[key]
		}
	}
	if n == nil {
		n = &refusalCount{since: at}
		if r.known == nil {
			r.known = map[string]*refusalCount{}
		}
		r.known[key] = n
	}
	if n.left == 0 && at.Sub(n.since) >= refusalWindow {
		*n = refusalCount{since: at}
	}
	if n.told < maxRefusals {
		n.told++
		return key, true, false, time.Time{}
	}
	n.left++
	return key, false, n.left == 1, n.since.Add(refusalWindow)
}

// forgetLocked drops what no longer counts.
func (r *refusals) forgetLocked(at time.Time) {
	for key, n := range r.known {
		if n.left == 0 && at.Sub(n.since) >= refusalWindow {
			delete(r.known, key)
		}
	}
}

// settle ends a window, and tells how many refusals were left out of it.
func (r *refusals) settle(key string) (left int, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.known[key]
	delete(r.known, key)
	return n.left, n.since
}

// tellable reports whether an entry of a refusal is to be saved. Of one actor, or
// address where nobody is logged in, so many a minute are; how many are not is
// told in one entry when the minute is over.
func (l *Log) tellable(e store.AuditEntry) bool {
	key := e.ActorID
	if key == "" {
		key = network(e.Address)
	}
	counted, tell, first, ends := l.refused.count(key, time.Now())
	if first {
		who := store.AuditEntry{ActorID: e.ActorID, Actor: e.Actor, Address: e.Address}
		if counted != key {
			who = store.AuditEntry{}
		}
		l.work.Go(func() { l.tellLeftOut(counted, who, ends) })
	}
	return tell
}

// tellLeftOut waits for the end of a window, or of the Log, and tells then.
func (l *Log) tellLeftOut(key string, who store.AuditEntry, ends time.Time) {
	over := time.NewTimer(time.Until(ends))
	defer over.Stop()
	select {
	case <-over.C:
	case <-l.running.Done():
	}
	left, since := l.refused.settle(key)
	who.ID, who.At, who.Scope, who.Action, who.Result = store.NewID(), store.Now(), access.Installation(), leftOutAction, string(api.CodeTooManyRequests)
	who.Detail = fmt.Sprintf("%d refusals from %s on are not recorded", left, since.UTC().Format(time.RFC3339))
	l.save(context.WithoutCancel(l.running), who)
}

// network is what counts as one address: a /64 of IPv6.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "nowhere"
	}
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		prefix, _ := addr.Prefix(64) // never fails: it has 128 bits
		addr = prefix.Addr()
	}
	return addr.String()
}
