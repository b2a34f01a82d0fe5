package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var somewhere = netip.MustParseAddr("192.0.2.1")

// guess makes one try that fails, and reports whether it was looked at.
func guess(t *testing.T, g *Guesses, account string, addr netip.Addr) bool {
	t.Helper()
	try, wait, err := g.Begin(t.Context(), account, addr)
	if err != nil {
		t.Fatal(err)
	}
	if (try == nil) != (wait > 0) {
		t.Fatalf("try %v and wait %v", try, wait)
	}
	if try == nil {
		return false
	}
	try.Fail()
	return true
}

func wantWait(t *testing.T, g *Guesses, account string, addr netip.Addr, want time.Duration) {
	t.Helper()
	try, wait, err := g.Begin(t.Context(), account, addr)
	if err != nil || wait != want {
		t.Errorf("%s from %v: wait %v, %v; want %v", account, addr, wait, err, want)
	}
	if try != nil {
		try.Done()
	}
}

// host is the nth of many addresses that have nothing to do with each other.
func host(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func TestTenFailuresOfAnAccountRefuseFurtherTriesFromAnywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		for n := range 10 {
			if !guess(t, g, "Mole@Example.org", host(n)) {
				t.Fatalf("guess %d is refused", n+1)
			}
			time.Sleep(time.Minute)
		}
		wantWait(t, g, "mole@example.ORG", host(99), 5*time.Minute)
		wantWait(t, g, "other@example.org", host(0), 0)
	})
}

func TestAFailureIsForgottenFifteenMinutesAfterIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		for range 10 {
			guess(t, g, "mole", somewhere)
			time.Sleep(time.Minute)
		}
		time.Sleep(5*time.Minute - 1)
		wantWait(t, g, "mole", somewhere, 1)
		time.Sleep(1 * time.Nanosecond)
		if !guess(t, g, "mole", somewhere) {
			t.Error("refused although the first failure is 15 minutes old")
		}
		wantWait(t, g, "mole", somewhere, time.Minute)
	})
}

func TestWhatIsRefusedOrSucceedsDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		for range 100 {
			wantWait(t, g, "mole", somewhere, 0) // ends by Done
		}
		for range 10 {
			guess(t, g, "mole", somewhere)
		}
		for range 100 {
			wantWait(t, g, "mole", somewhere, guessWindow)
		}
		time.Sleep(guessWindow)
		wantWait(t, g, "mole", somewhere, 0)
		if len(g.accounts.known)+len(g.addresses.known)+g.accounts.kept+g.addresses.kept != 0 {
			t.Errorf("something is remembered of those that did nothing lately: %+v", g)
		}
	})
}

func TestARefusalByAddressRemembersNoAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		guess(t, g, "mole", host(1))
		time.Sleep(guessWindow)
		for n := range 50 {
			guess(t, g, fmt.Sprint(n), somewhere)
		}
		wantWait(t, g, "mole", somewhere, guessWindow)
		wantWait(t, g, "new", somewhere, guessWindow)
		if n := len(g.accounts.known); n != 50 {
			t.Errorf("%d accounts are remembered, want those 50 that failed", n)
		}
	})
}

func TestATryEndsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		for range 9 {
			try, _, _ := g.Begin(t.Context(), "mole", somewhere)
			try.Fail()
			try.Fail()
			try.Done()
		}
		wantWait(t, g, "mole", somewhere, 0)
		guess(t, g, "mole", somewhere)
		wantWait(t, g, "mole", somewhere, guessWindow)
	})
}

func TestFiftyFailuresOfAnAddressRefuseItForEveryAccount(t *testing.T) {
	t.Parallel()
	for first, same := range map[string]string{
		"192.0.2.1":         "::ffff:192.0.2.1",
		"2001:db8::1":       "2001:db8::ffff:1",
		"fe80::1%eth0":      "fe80::2%eth1",
		"2001:db8:0:1::1":   "2001:db8:0:1:ffff:ffff:ffff:ffff",
		"::ffff:198.51.0.1": "198.51.0.1",
	} {
		synctest.Test(t, func(t *testing.T) {
			g := NewGuesses()
			for n := range 50 {
				if !guess(t, g, fmt.Sprint(n), netip.MustParseAddr(first)) {
					t.Fatalf("%s: guess %d is refused", first, n+1)
				}
			}
			time.Sleep(time.Second)
			wantWait(t, g, "mole", netip.MustParseAddr(same), guessWindow-time.Second)
			wantWait(t, g, "mole", netip.MustParseAddr("2001:db8:0:2::1"), 0)
			wantWait(t, g, "mole", netip.MustParseAddr("192.0.2.2"), 0)
			wantWait(t, g, "mole", netip.Addr{}, 0)
		})
	}
}

func TestAnAddressThatIsNotKnownIsNotCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		for n := range 100 {
			if !guess(t, g, fmt.Sprint(n), netip.Addr{}) {
				t.Fatalf("guess %d is refused", n+1)
			}
		}
	})
}

// flood begins many tries at once and lets them fail after a second of work. It
// tells how many were looked at, and how many at the same time.
func flood(t *testing.T, tries int, begin func(n int) (*Try, time.Duration, error)) (looked, together int32) {
	t.Helper()
	var all sync.WaitGroup
	var sum, now, most atomic.Int32
	for n := range tries {
		all.Go(func() {
			try, _, err := begin(n)
			if err != nil {
				t.Error(err)
			}
			if try == nil {
				return
			}
			sum.Add(1)
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			try.Fail()
		})
	}
	all.Wait()
	return sum.Load(), most.Load()
}

func TestGuessingInParallelGainsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		looked, together := flood(t, 200, func(n int) (*Try, time.Duration, error) {
			return g.Begin(t.Context(), "mole", host(n))
		})
		if looked != 10 || together != 1 {
			t.Errorf("one account: %d looked at, %d at the same time", looked, together)
		}
		looked, _ = flood(t, 200, func(n int) (*Try, time.Duration, error) {
			return g.Begin(t.Context(), fmt.Sprint(n), somewhere)
		})
		if looked != 50 {
			t.Errorf("one address: %d looked at", looked)
		}
	})
}

func TestManyWhoKnowTheirPasswordsLogInFromOneAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		for n := range 49 {
			guess(t, g, fmt.Sprint("wrong", n), somewhere)
		}
		var all sync.WaitGroup
		var in atomic.Int32
		for n := range 60 {
			all.Go(func() {
				try, wait, err := g.Begin(t.Context(), fmt.Sprint(n), somewhere)
				if err != nil || try == nil {
					t.Errorf("refused for %v, %v", wait, err)
					return
				}
				time.Sleep(time.Second)
				try.Done()
				in.Add(1)
			})
		}
		all.Wait()
		if in.Load() != 60 {
			t.Errorf("%d of 60 got in", in.Load())
		}
	})
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		first, _, err := g.Begin(t.Context(), "mole", somewhere)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if try, wait, err := g.Begin(ctx, "mole", host(1)); try != nil || wait != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v, %v", try, wait, err)
		}
		first.Done()
		wantWait(t, g, "mole", somewhere, 0)
		if n := len(g.accounts.known) + len(g.addresses.known); n != 0 {
			t.Errorf("%d entries of tries that are over", n)
		}
	})
}

// The tenth wrong one is under way while the eleventh waits: it must hear of it.
func TestTheCountIsAskedAgainAfterTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGuesses()
		for range 9 {
			guess(t, g, "mole", somewhere)
		}
		tenth, _, _ := g.Begin(t.Context(), "mole", somewhere)
		refused := make(chan time.Duration)
		go func() {
			_, wait, _ := g.Begin(t.Context(), "mole", host(1))
			refused <- wait
		}()
		synctest.Wait()
		tenth.Fail()
		if wait := <-refused; wait != guessWindow {
			t.Errorf("wait %v", wait)
		}
	})
}

// small is a Guesses that is soon full.
func small() *Guesses {
	g := NewGuesses()
	g.accounts.most, g.addresses.most = 100, 100
	return g
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := small()
		for n := range 1000 {
			if !guess(t, g, fmt.Sprint(n), host(n)) {
				t.Fatal("refused")
			}
			time.Sleep(time.Millisecond)
		}
		for _, s := range []*suspects{&g.accounts, &g.addresses} {
			if len(s.known) != 100 || s.kept != 100 {
				t.Errorf("%d entries, %d counted; want 100", len(s.known), s.kept)
			}
		}
		time.Sleep(guessWindow)
		guess(t, g, "mole", somewhere)
		if len(g.accounts.known) != 1 || g.accounts.kept != 1 {
			t.Errorf("%d entries are left of what no longer counts", len(g.accounts.known)-1)
		}
	})
}

func TestFillingTheMemoryDoesNotResetAnAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := small()
		for range 9 {
			guess(t, g, "mole", host(0))
		}
		for n := range 800 { // eight for each entry there is
			guess(t, g, fmt.Sprint(n%100), host(1+n))
			time.Sleep(time.Millisecond)
		}
		guess(t, g, "mole", host(0))
		if guess(t, g, "mole", host(0)) {
			t.Error("an eleventh guess was looked at")
		}
	})
}

func BenchmarkGuessWhenTheMemoryIsFull(b *testing.B) {
	g := NewGuesses()
	n := 0
	fail := func() {
		n++
		if try, _, _ := g.Begin(b.Context(), fmt.Sprint(n), host(n)); try != nil {
			try.Fail()
		}
	}
	for range maxSuspects {
		fail()
	}
	for b.Loop() {
		fail()
	}
}
