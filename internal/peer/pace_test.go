package peer

import (
	"testing"
	"time"
)

func TestThePaceDoublesItsBoundUpToHalfAMinute(t *testing.T) {
	t.Parallel()
	const draws = 300
	bounds := []time.Duration{1, 2, 4, 8, 16, 30, 30, 30}
	high := make([]int, len(bounds))
	for range draws {
		var p pace
		for i, bound := range bounds {
			d := p.next()
			if d <= 0 || d > bound*time.Second {
				t.Fatalf("try %d: %v, want more than nothing and at most %v", i+1, d, bound*time.Second)
			}
			if d > bound*time.Second/2 {
				high[i]++
			}
		}
	}
	for i, n := range high { // full jitter: all of the time is used
		if n < draws/4 || n > draws*3/4 {
			t.Errorf("try %d: %d of %d draws above the middle", i+1, n, draws)
		}
	}
}

func TestALinkThatWasUpResetsThePace(t *testing.T) {
	t.Parallel()
	for range 100 {
		var p pace
		for range 10 {
			p.next()
		}
		p.up(time.Millisecond)
		if d := p.next(); d > time.Second {
			t.Fatalf("%v after a link was up", d)
		}
	}
}

func TestLinksThatEndAtOnceSlowThePace(t *testing.T) {
	t.Parallel()
	var p pace
	longest := time.Duration(0)
	for range 100 {
		p.up(time.Millisecond)
		longest = max(longest, p.next())
	}
	if longest < 10*time.Second || longest > maxPause {
		t.Errorf("the longest pause was %v", longest)
	}
	p.up(stableAfter)
	if d := p.next(); d > time.Second {
		t.Errorf("%v after a link that held", d)
	}
}
