package native

import (
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
)

// The budgets of links and of the process, and what windows make of them.

// spend takes all of n, as if there were streams that have it.
func (w *windows) spend(n int64) {
	w.granted.given.Add(n)
	credit.given.Add(n)
}

func TestABudgetGivesHalfOfWhatIsLeftAtMost(t *testing.T) {
	t.Parallel()
	b := budget{limit: 1 << 20}
	var got []int64
	for _, n := range []int64{initialWindow - 1, 200 << 10, 1 << 20, 1 << 20, 1 << 20, 1 << 20, initialWindow} {
		got = append(got, b.take(n)>>10)
	}
	if want := []int64{0, 192, 384, 192, 128, 64, 0}; !slices.Equal(got, want) {
		t.Errorf("%d KiB were given, not %d", got, want)
	}
	if b.give(512 << 10); b.short() {
		t.Error("it is short with less than half given")
	}
	if n := b.take(128 << 10); n != 128<<10 || !b.short() {
		t.Errorf("%d bytes were given", n)
	}
}

// Not parallel: the account is the process's.
func TestWhatTheProcessHasNotTheLinkKeeps(t *testing.T) {
	before := credit.given.Load()
	others := int64(maxCredit - 256<<10 - before)
	credit.given.Add(others)
	w := new(windows)
	w.granted.limit = maxLinkCredit
	if n := w.widen(4 << 20); n != 128<<10 || w.granted.given.Load() != 128<<10 {
		t.Errorf("%d bytes were given, %d are on the account", n, w.granted.given.Load())
	}
	w.release(128 << 10)
	credit.given.Add(-others)
	if n := credit.given.Load(); n != before {
		t.Errorf("%d bytes are left on the account", n-before)
	}
}

func TestTheWindowsOfALinkHave64MiBBesideWhatEveryStreamBeginsWith(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, g := newGiver(t, false)
		g.net.SetLatency(50 * time.Millisecond)
		const others = 60 << 20
		e.windows.spend(others)
		first, second := g.stream(), g.stream()
		drain(first, second)
		go g.keepUp()
		time.Sleep(800 * time.Millisecond)
		given := e.windows.granted.given.Load() - others
		must(t, first.Close())
		left := e.windows.granted.given.Load() - others
		must(t, second.Close())
		if given < 2<<20 || given >= 4<<20 || left >= given {
			t.Errorf("%d bytes were given, and %d when one had ended", given, left)
		}
		e.windows.release(others)
		wantNothingLeft(t, e)
	})
}

// Not parallel: the account is the process's.
func TestTheWindowsOfAProcessHave256MiB(t *testing.T) {
	before := credit.given.Load()
	const left = 15 * initialWindow // and the last of it nobody gets
	const others = 256<<20 - left
	credit.given.Add(others)
	defer func() {
		credit.given.Add(-others)
		if n := credit.given.Load(); n != before {
			t.Errorf("%d bytes are on the process's account, not %d", n, before)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		e, g := newGiver(t, true)
		g.net.SetLatency(50 * time.Millisecond)
		st, other := g.stream(), g.stream()
		drain(st)
		go g.keepUp()
		time.Sleep(time.Second)
		if n := windowOf(st); n != left || credit.given.Load() != before+256<<20-initialWindow {
			t.Errorf("the window has %d bytes, the process %d", n, credit.given.Load())
		}
		drain(other)
		time.Sleep(time.Second)
		if n := windowOf(other); n != initialWindow {
			t.Errorf("the other window has %d bytes", n)
		}
		g.net.Cut()
		synctest.Wait()
		_ = st.Close()
		if n := credit.given.Load(); n != before+others {
			t.Errorf("the process has %d bytes after the end", n)
		}
		_ = other.Close()
		wantNothingLeft(t, e)
	})
}

func TestANewcomerGetsItsShareOfALinkOnWhichOthersHaveMuch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, g := newGiver(t, false)
		g.net.SetLatency(50 * time.Millisecond)
		others := 0
		for range 6 {
			others += e.windows.widen(maxWindow - initialWindow)
		}
		st := g.stream()
		drain(st)
		go g.keepUp()
		time.Sleep(time.Second)
		if n := windowOf(st); n < 1<<20 {
			t.Errorf("the window has %d bytes, the others %d more than they began with", n, others)
		}
		must(t, st.Close())
		e.windows.release(others)
		wantNothingLeft(t, e)
	})
}

// grown is a stream with a window of so many bytes, all of which wait for its user.
func (g *giver) grown(size int) *Stream {
	g.t.Helper()
	st := g.stream()
	go g.keepUp()
	for windowOf(st) < size {
		_, err := io.ReadFull(st, zeros(windowOf(st)))
		must(g.t, err)
	}
	time.Sleep(time.Second)
	if n := windowOf(st); n != size || st.State().Waiting <= size*3/4 {
		g.t.Fatalf("the window has %d bytes, of which %d wait", n, st.State().Waiting)
	}
	return st
}

// A user that takes 48 KiB in a round trip needs no window of 4 MiB. It never
// has to wait, for what is absorbed was more than it had use for.
func TestAWindowThatIsNotUsedGetsNarrowerIfCreditIsShort(t *testing.T) {
	for name, short := range map[string]int64{"short": maxLinkCredit / 2, "plenty": 0} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, g := newGiver(t, true)
				g.net.SetLatency(50 * time.Millisecond)
				st := g.grown(4 << 20)
				e.windows.spend(short)
				for range 400 {
					if n := st.State().Waiting; n < 16<<10 {
						t.Fatalf("%d bytes wait of a window of %d", n, windowOf(st))
					}
					_, err := io.ReadFull(st, zeros(16<<10))
					must(t, err)
					if short == 0 {
						e.windows.probe() // as other streams have it done
					}
					time.Sleep(33 * time.Millisecond)
				}
				n := windowOf(st)
				if short == 0 && n != 4<<20 || short > 0 && (n > 8*64<<10 || n < 128<<10) {
					t.Errorf("the window has %d bytes", n)
				}
				if left := e.windows.granted.given.Load() - short; left != int64(n-initialWindow) {
					t.Errorf("%d bytes are on the account of a window of %d", left, n)
				}
				must(t, st.Close())
				e.windows.release(int(short))
				wantNothingLeft(t, e)
			})
		})
	}
}

// 192 KiB in a round trip are more than an eighth of 1 MiB.
func TestAWindowThatIsUsedStaysIfCreditIsShort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, g := newGiver(t, false)
		g.net.SetLatency(50 * time.Millisecond)
		st := g.grown(1 << 20)
		e.windows.spend(maxLinkCredit / 2)
		for range 200 {
			_, err := io.ReadFull(st, zeros(64<<10))
			must(t, err)
			time.Sleep(33 * time.Millisecond)
		}
		if n := windowOf(st); n != 1<<20 {
			t.Errorf("the window has %d bytes", n)
		}
		must(t, st.Close())
		e.windows.release(maxLinkCredit / 2)
		wantNothingLeft(t, e)
	})
}

// Who has said all needs no credit: only what waits is held.
func TestAFINGivesBackWhatIsNotUsedAndThenWhatIsTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		p.net.SetLatency(50 * time.Millisecond)
		st := p.opened()
		p.say(data(st.id, zeros(initialWindow)))
		time.Sleep(100 * time.Millisecond)
		_, err := io.ReadFull(st, zeros(initialWindow))
		must(t, err)
		p.hear(typeWindow)
		if n := windowOf(st); n != 256<<10 {
			t.Fatalf("the window has %d bytes", n)
		}
		p.say(data(st.id, zeros(100<<10)))
		p.say(bare(typeFin, st.id))
		time.Sleep(time.Second)
		for _, step := range []struct{ take, window int }{{0, 100 << 10}, {10 << 10, 90 << 10}, {80 << 10, 64 << 10}, {10 << 10, 64 << 10}} {
			_, err := io.ReadFull(st, zeros(step.take))
			must(t, err)
			if n, left := windowOf(st), e.windows.granted.given.Load(); n != step.window || left != int64(n-initialWindow) {
				t.Errorf("%d bytes were taken, the window has %d, %d are on the account", step.take, n, left)
			}
		}
		p.hearsNothing()
		must(t, st.Close())
		p.hear(typeReset)
		wantNothingLeft(t, e)
	})
}

// What credit.go says of windows, in every order of things.
func TestAWindowIsAccountedForAndOpenWhateverHappensToIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		random := rand.New(rand.NewPCG(1, 2))
		st := p.opened()
		waiting, narrowest := 0, 0
		spent := int64(0) // by others
		for i := range 30000 {
			switch i {
			case 10000:
				spent = maxLinkCredit * 3 / 4
				e.windows.granted.given.Add(spent)
			case 20000:
				e.windows.granted.given.Add(-spent)
				spent = 0
			}
			if random.IntN(3) == 0 { // a pong
				e.windows.epoch.Add(1)
				e.windows.asked.Store(e.windows.epoch.Load())
			}
			if n := random.IntN(st.allowed + 1); random.IntN(2) == 0 {
				wanted, err := st.came(n)
				if must(t, err); !wanted {
					t.Fatal("nobody wants what came")
				}
				waiting += n
			}
			n := random.IntN(waiting + 1)
			if i%5000 > 500 || random.IntN(8) != 0 {
				n /= 20 + random.IntN(200) // slowly
			}
			waiting -= n
			st.s.hold(n)
			st.grant(n)
			if st.window == initialWindow && i%5000 > 500 {
				narrowest++
			}
			extra := e.windows.granted.given.Load() - spent
			switch {
			case st.allowed+waiting+st.pending != st.window, 4*st.pending >= st.window,
				st.window < initialWindow, st.window > maxWindow, extra != int64(st.window-initialWindow):
				t.Fatalf("%d may come, %d wait, %d are pending of a window of %d, for which %d are on the account", st.allowed, waiting, st.pending, st.window, extra)
			}
			if len(p.heard) > 1<<15 {
				p.all()
			}
		}
		if narrowest < 100 {
			t.Errorf("the window was at its narrowest only %d times", narrowest)
		}
		must(t, st.Close())
		wantNothingLeft(t, e)
	})
}
