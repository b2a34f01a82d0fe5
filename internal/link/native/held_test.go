package native

import (
	"testing"
	"testing/synctest"

	"github.com/adit-tunnel/adit/internal/link"
)

// Invariant 6. What is held beside these streams is made up.

// holding gives a link with a stream for each of these, for which so much waits.
func holding(t *testing.T, amounts ...int) (*end, *peer, []*Stream) {
	e, p := byHand(t, true, link.Config{})
	var streams []*Stream
	for _, n := range amounts {
		st := p.opened()
		p.say(data(st.id, noise(1, n)))
		streams = append(streams, st)
	}
	synctest.Wait()
	return e, p, streams
}

func closeAll(t *testing.T, streams ...*Stream) {
	t.Helper()
	for _, st := range streams {
		must(t, st.Close())
	}
}

// wantEndedForTooMuch wants one stream to have been ended, and the rest to go on.
func wantEndedForTooMuch(t *testing.T, e *end, p *peer, which *Stream) {
	t.Helper()
	if g := p.hear(typeReset); g.stream != which.id || Reason(g.payload[0]) != Failed {
		t.Errorf("stream %d was reset, %d", g.stream, g.payload[0])
	}
	p.hearsNothing()
	wantFailure(t, which, errTooMuch)
	if n := e.counts.of("receiver_too_slow"); n != 1 {
		t.Errorf("it was counted %d times", n)
	}
}

func TestALinkThatHoldsTooMuchLosesItsFullestStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p, streams := holding(t, 10000, 60000, 20000)
		const others = maxLinkHeld - 100000
		e.held.Add(others)
		p.say(data(streams[0].id, noise(2, 10000)))
		p.hearsNothing()
		p.say(data(streams[0].id, noise(3, 1)))
		wantEndedForTooMuch(t, e, p, streams[1])
		e.held.Add(-others)
		if n := e.held.Load(); n != 40001 {
			t.Errorf("%d bytes are held", n)
		}
		wantRead(t, streams[0], append(noise(1, 10000), append(noise(2, 10000), noise(3, 1)...)...))
		wantRead(t, streams[2], noise(1, 20000))
		closeAll(t, streams...)
		wantNothingLeft(t, e)
	})
}

// Not parallel: what is held is the process's.
func TestAProcessThatHoldsTooMuchRelievesTheLinkThatHoldsMost(t *testing.T) {
	before := held.Load()
	synctest.Test(t, func(t *testing.T) {
		small, theirs, few := holding(t, 30000)
		large, p, many := holding(t, 20000, 50000, 20000)
		const others = maxHeld - 130000
		held.Add(others - before)
		theirs.say(data(few[0].id, noise(2, 10000)))
		theirs.hearsNothing()
		p.hearsNothing()
		theirs.say(data(few[0].id, noise(3, 1))) // the last of too many
		wantEndedForTooMuch(t, large, p, many[1])
		theirs.hearsNothing()
		wantRead(t, few[0], append(noise(1, 30000), append(noise(2, 10000), noise(3, 1)...)...))
		held.Add(before - others)
		if n := small.held.Load() + large.held.Load(); n != 40000 || held.Load() != before+n {
			t.Errorf("the links hold %d bytes, the process %d", n, held.Load()-before)
		}
		closeAll(t, append(few, many...)...)
		wantNothingLeft(t, small, large)
		for _, e := range []*end{small, large} {
			e.Close()
			<-e.over
		}
	})
	if n := held.Load(); n != before || len(holders.sessions) != 0 {
		t.Errorf("%d bytes are held by %d links", n-before, len(holders.sessions))
	}
}
