package forward

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
)

func TestTheFastPaceDoublesItsBoundUpToHalfAMinute(t *testing.T) {
	t.Parallel()
	const draws = 500
	bounds := []time.Duration{
		500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second,
		30 * time.Second, 30 * time.Second, 30 * time.Second,
	}
	low, high := make([]int, len(bounds)), make([]int, len(bounds))
	for range draws {
		var p pace
		for i, bound := range bounds {
			d := p.next(false)
			if d <= 0 || d > bound {
				t.Fatalf("try %d: %v, want more than nothing and at most %v", i+1, d, bound)
			}
			if d <= bound/2 {
				low[i]++
			} else {
				high[i]++
			}
		}
	}
	// Full jitter: all of the time up to the bound is used.
	for i := range bounds {
		if low[i] < draws/4 || high[i] < draws/4 {
			t.Errorf("try %d: %d draws below the middle and %d above", i+1, low[i], high[i])
		}
	}
}

func TestTheFastPaceGoesOnForEver(t *testing.T) {
	t.Parallel()
	var p pace
	for i := range 300 {
		if d := p.next(false); d <= 0 || d > 30*time.Second {
			t.Fatalf("try %d: %v", i+1, d)
		}
	}
}

func TestTheSlowPaceIsFixed(t *testing.T) {
	t.Parallel()
	var p pace
	for i, want := range []time.Duration{1, 5, 15, 60, 60, 60} {
		if d := p.next(true); d != want*time.Minute {
			t.Errorf("try %d: %v, want %v", i+1, d, want*time.Minute)
		}
	}
}

func TestEachPaceCountsItsOwnTriesAndAResetForgetsBoth(t *testing.T) {
	t.Parallel()
	var p pace
	p.next(true)
	for range 10 {
		p.next(false)
	}
	if d := p.next(true); d != 5*time.Minute {
		t.Errorf("the second slow try after %v", d)
	}
	p.reset()
	if d := p.next(true); d != time.Minute {
		t.Errorf("the first slow try after a reset: %v", d)
	}
	for range 100 {
		p.reset()
		if d := p.next(false); d > minBackoff {
			t.Fatalf("the first fast try after a reset: %v", d)
		}
	}
}

func TestOnlyWhatAPersonMustMendIsTriedSlowly(t *testing.T) {
	t.Parallel()
	for code, slow := range map[api.Code]bool{
		api.CodeAuthFailed: true, api.CodeHostKeyChanged: true, api.CodeHostKeyUnknown: true, api.CodeCredentialsMissing: true,
		api.CodeListenInUse: true, api.CodeListenDenied: true, api.CodeTargetDenied: true, api.CodeRemoteListenRefused: true,
		api.CodeConnectRefused: false, api.CodeUnreachable: false, api.CodeNameNotFound: false, api.CodeTimeout: false,
		api.CodeConnectionLost: false, api.CodeNotSSH: false, api.CodeNoCommonAlgorithm: false, api.CodeInternal: false,
	} {
		if got := cannotHelp(fmt.Errorf("wrapped: %w", &api.Error{Code: code})); got != slow {
			t.Errorf("%s: slow is %v", code, got)
		}
	}
	if cannotHelp(errors.New("no code")) {
		t.Error("an error without a code is tried slowly")
	}
}
