package auth

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	guessWindow     = 15 * time.Minute // how long a failure counts
	accountFailures = 10               // of one account within the window
	addressFailures = 50               // of one address within the window

	// maxSuspects bounds what is remembered of accounts, and of addresses: some
	// 20 MB when every entry of both is full.
	maxSuspects = 1 << 15
)

// Guesses slows the guessing of passwords: 10 failures of one account or 50 of
// one address within 15 minutes, and further tries are refused until enough of
// them are older than that, with the right password too. Refused tries and
// those that succeed do not count. It is safe for concurrent use.
//
// Its memory is bounded by 32768 accounts and as many addresses, and those that
// are being tried at the moment. When it is full, what no longer counts is
// forgotten first, then what has the fewest failures, the oldest first. So to
// have an account with nine failures forgotten one must cause nine failures of
// each of 32768 others within 15 minutes, from 5899 addresses, and each of these
// 294912 costs the hash of a password: more than a machine computes in that
// time. Whoever succeeds in it gets ten guesses more.
type Guesses struct {
	born time.Time

	mu        sync.Mutex // guards below
	accounts  suspects
	addresses suspects
}

// NewGuesses makes a Guesses that has seen no failure.
func NewGuesses() *Guesses {
	return &Guesses{
		born:      time.Now(),
		accounts:  suspects{limit: accountFailures, most: maxSuspects, known: map[suspectKey]*suspect{}},
		addresses: suspects{limit: addressFailures, most: maxSuspects, known: map[suspectKey]*suspect{}},
	}
}

// Try is one look at a password. End it by Fail or Done.
type Try struct {
	guesses  *Guesses
	account  *suspect
	address  *suspect // nil: not counted
	finished bool     // guarded by guesses.mu
}

// Begin is called before a password is looked at. account is the e-mail as it
// was given, of an account that exists or not; case does not matter. addr is
// the client's: of IPv6 all of a /64 count as one, and the zero Addr is not
// counted.
//
// When the try is refused there is no Try, and wait says how long until one
// will be looked at, more than 0. Tries for one account are made one at a time,
// and from one address no more at a time than may still fail, so that guessing
// in parallel gains nothing: Begin waits for its turn. The error is that of ctx.
func (g *Guesses) Begin(ctx context.Context, account string, addr netip.Addr) (t *Try, wait time.Duration, err error) {
	who, where := accountKey(account), addressKey(addr)
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		t, wait, turn := g.begin(who, where, addr.IsValid())
		if turn == nil {
			return t, wait, nil
		}
		select {
		case <-turn:
		case <-ctx.Done():
		}
	}
}

// begin begins a try, or tells how long it is refused, or gives what is closed
// when it is worth to ask again. Both counts are asked at one moment.
func (g *Guesses) begin(who, where suspectKey, counted bool) (*Try, time.Duration, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Since(g.born)
	wait := g.accounts.refused(who, now)
	if counted {
		wait = max(wait, g.addresses.refused(where, now))
	}
	if wait > 0 {
		return nil, wait, nil
	}
	account, turn := g.accounts.free(who, 1)
	if turn != nil {
		return nil, 0, turn
	}
	t := &Try{guesses: g, account: account}
	if counted {
		if t.address, turn = g.addresses.free(where, addressFailures); turn != nil {
			g.accounts.drop(account) // if it was made just now
			return nil, 0, turn
		}
		t.address.busy++
	}
	account.busy++
	return t, 0, nil
}

// Fail ends the try and counts it: the password was wrong, or there is no such
// account. After Fail or Done it does nothing.
func (t *Try) Fail() { t.end(true) }

// Done ends the try, which does not count: the password was right, or nobody
// got to look at it. After Fail or Done it does nothing, so that it can be
// deferred.
func (t *Try) Done() { t.end(false) }

func (t *Try) end(failed bool) {
	g := t.guesses
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.finished {
		return
	}
	t.finished = true
	now := time.Since(g.born)
	g.accounts.end(t.account, failed, now)
	if t.address != nil {
		g.addresses.end(t.address, failed, now)
	}
}

// suspectKey is the digest of a name or address: names have any length, and
// what is remembered of them should not.
type suspectKey [sha256.Size]byte

// accountKey folds case as the store does for its own comparison.
func accountKey(account string) suspectKey { return sha256.Sum256([]byte(strings.ToLower(account))) }

// addressKey is of an address, or of the /64 that one IPv6 host usually has to itself.
func addressKey(addr netip.Addr) suspectKey {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // never fails: it has 128 bits
		addr = prefix.Addr()
	}
	return sha256.Sum256(addr.AsSlice())
}

// suspects are the accounts, or the addresses, that failed lately or are being
// tried. Their instants are durations since Guesses.born.
type suspects struct {
	limit int // failures within the window
	most  int // entries with failures
	kept  int // how many there are
	known map[suspectKey]*suspect
}

type suspect struct {
	key      suspectKey
	failures []time.Duration // within the window, oldest first; limit at most
	busy     int             // tries that have begun and not ended
	turn     chan struct{}   // closed when one of them ends; nil while nobody waits
}

// refused tells how long no try is allowed; 0 when one is.
func (s *suspects) refused(key suspectKey, now time.Duration) time.Duration {
	e := s.known[key]
	if e == nil {
		return 0
	}
	s.forget(e, now)
	s.drop(e)
	if len(e.failures) < s.limit {
		return 0
	}
	return e.failures[0] + guessWindow - now
}

// free gives the entry of key, made when there is none, if one more try of it
// may begin: fewer than atOnce are under way, and they could all fail. If not,
// the channel is closed when to ask again. Call refused first.
func (s *suspects) free(key suspectKey, atOnce int) (*suspect, <-chan struct{}) {
	e := s.known[key]
	if e == nil {
		e = &suspect{key: key}
		s.known[key] = e
	}
	if e.busy < min(atOnce, s.limit-len(e.failures)) {
		return e, nil
	}
	if e.turn == nil {
		e.turn = make(chan struct{})
	}
	return nil, e.turn
}

// end ends one try of an entry.
func (s *suspects) end(e *suspect, failed bool, now time.Duration) {
	s.forget(e, now)
	if failed {
		if len(e.failures) == 0 {
			s.makeRoom(now)
			s.kept++
		}
		e.failures = append(e.failures, now)
	}
	e.busy--
	if e.turn != nil {
		close(e.turn)
		e.turn = nil
	}
	s.drop(e)
}

// forget drops the failures of an entry that no longer count.
func (s *suspects) forget(e *suspect, now time.Duration) {
	old := 0
	for old < len(e.failures) && now-e.failures[old] >= guessWindow {
		old++
	}
	if old > 0 && old == len(e.failures) {
		s.kept--
	}
	e.failures = e.failures[:copy(e.failures, e.failures[old:])]
}

// drop removes an entry that there is nothing to remember of.
func (s *suspects) drop(e *suspect) {
	if len(e.failures) == 0 && e.busy == 0 {
		delete(s.known, e.key)
	}
}

// makeRoom forgets one entry with failures if there are as many as may be: all
// that no longer count, else that with the fewest failures, the oldest first.
// It looks at every entry, for two milliseconds or so: little beside the hash
// of the password that has failed. What is being tried is not forgotten.
func (s *suspects) makeRoom(now time.Duration) {
	if s.kept < s.most {
		return
	}
	var least *suspect
	for _, e := range s.known {
		s.forget(e, now)
		s.drop(e)
		if len(e.failures) > 0 && e.busy == 0 && (least == nil || e.before(least)) {
			least = e
		}
	}
	if s.kept >= s.most && least != nil {
		least.failures = nil
		s.kept--
		s.drop(least)
	}
}

// before reports whether e is forgotten before o.
func (e *suspect) before(o *suspect) bool {
	if len(e.failures) != len(o.failures) {
		return len(e.failures) < len(o.failures)
	}
	return e.failures[len(e.failures)-1] < o.failures[len(o.failures)-1]
}
