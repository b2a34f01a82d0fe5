package peer

import (
	"math/rand/v2"
	"time"
)

const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// stableAfter is how long a link must have been up for its loss to count as
	// the first: one that ends as soon as it is up is no better than none.
	stableAfter = 5 * time.Second
)

// pace says when to try again. The zero value is ready.
type pace struct {
	tries int // since a link was up
	flaps int // links in a row that were up for a moment
}

// up notes a link that was up for so long.
func (p *pace) up(lived time.Duration) {
	if lived >= stableAfter {
		p.flaps = 0
	}
	p.tries = p.flaps
	p.flaps++
}

// next is the time until the next try: exponential with full jitter.
func (p *pace) next() time.Duration {
	limit := maxPause
	if p.tries < 5 {
		limit = min(limit, firstPause<<p.tries)
	}
	p.tries++
	return rand.N(limit) + 1
}
