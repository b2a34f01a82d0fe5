package peer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

const (
	// linkWait is how long what is to be opened waits for a link.
	linkWait = 10 * time.Second
	// maxAgain is how often it is opened again whose way behind the relay was lost.
	maxAgain = 3
	// answerTimeout is how long the relay may take to say whether it opened
	// something: a dial of 10 seconds, and the way there and back.
	answerTimeout = 15 * time.Second
	// silentAfter is when a link is avoided if there is a better one: the relay
	// is pinged every 10 seconds, and did not answer.
	silentAfter = 15 * time.Second
	// silentLoad is more than a link can carry.
	silentLoad = 1 << 20
)

var errNoLink = errors.New("there is no link to the relay")

// link is one authenticated link.
type link struct {
	wire.Session
	away chan struct{}         // closed when the relay takes no more on it
	why  atomic.Pointer[error] // for which we ended it
}

// end ends the link because of err.
func (l *link) end(err error) {
	l.why.CompareAndSwap(nil, &err)
	l.Close()
}

func (l *link) over() bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

// links are those that are up.
type links struct {
	mu   sync.Mutex // guards below
	up   []*link
	turn int           // whose turn it is, an index of up
	came chan struct{} // closed, and replaced, when one comes up
}

func (ls *links) init() { ls.came = make(chan struct{}) }

func (ls *links) add(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.up = append(ls.up, l)
	close(ls.came)
	ls.came = make(chan struct{})
}

func (ls *links) remove(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.up = slices.DeleteFunc(ls.up, func(other *link) bool { return other == l })
}

// pick gives the link that carries the least and is not in tried, nil if there
// is none; of equals the one whose turn it is. One that has been silent for long
// is taken when all have been. came is closed when another link comes up.
func (ls *links) pick(tried []*link) (picked *link, came <-chan struct{}) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	turn, least := ls.turn, 0
	for i := range ls.up {
		at := (turn + i) % len(ls.up)
		l := ls.up[at]
		if l.over() || slices.Contains(tried, l) {
			continue
		}
		load := l.Streams()
		if l.Silence() >= silentAfter {
			load += silentLoad
		}
		if picked == nil || load < least {
			picked, least, ls.turn = l, load, at+1
		}
	}
	return picked, ls.came
}

// await waits for a link that is not in tried. The error is ctx's.
func (ls *links) await(ctx context.Context, tried []*link) (*link, error) {
	for {
		l, came := ls.pick(tried)
		if l != nil {
			return l, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// overLinks opens something over a link: over the next one if one is lost
// meanwhile, and again if the way behind the relay is, which is safe because no
// byte of the user's has been sent. If none is up for 10 seconds, the error is a
// *site.DialError for an unreachable network.
func overLinks[T any](ctx context.Context, ls *links, address string, open func(context.Context, *link) (T, error)) (T, error) {
	wait, cancel := context.WithTimeout(ctx, linkWait)
	defer cancel()
	var tried []*link
	again := 0
	for {
		l, err := ls.await(wait, tried)
		if err != nil {
			var none T
			if ctx.Err() != nil {
				return none, &site.DialError{Reason: site.ReasonOf(err), Address: address, Err: err}
			}
			return none, &site.DialError{Reason: site.NetworkUnreachable, Address: address, Err: errNoLink}
		}
		opening, cancel := context.WithTimeout(ctx, answerTimeout)
		opened, err := open(opening, l)
		cancel()
		switch {
		case errors.Is(err, wire.ErrBehind) && again < maxAgain:
			again++
		case errors.Is(err, wire.ErrLost):
			tried = append(tried, l)
		default:
			return opened, err
		}
	}
}

// Dial opens a stream to a target in the relay's network.
func (ls *links) Dial(ctx context.Context, network, address string) (pipe.Conn, error) {
	return overLinks(ctx, ls, address, func(ctx context.Context, l *link) (pipe.Conn, error) {
		return l.Dial(ctx, network, address)
	})
}

// DialEarly does not wait until the target is known to be reached.
func (ls *links) DialEarly(ctx context.Context, network, address string) (pipe.Conn, error) {
	return overLinks(ctx, ls, address, func(ctx context.Context, l *link) (pipe.Conn, error) {
		return l.DialEarly(ctx, network, address)
	})
}

// Associate implements site.Associator.
func (ls *links) Associate(ctx context.Context) (site.Association, error) {
	return overLinks(ctx, ls, "udp", func(ctx context.Context, l *link) (site.Association, error) {
		return l.Associate(ctx)
	})
}
