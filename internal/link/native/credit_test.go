package native

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// Invariants 1, 2 and 4 of Session, from the side of who is given credit, and
// from the side of who gives it.

func TestWhoIsGivenNoCreditSends65536BytesAndNoMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := byHand(t, false, link.Config{Dial: serving(func(c *memnet.Conn) { _, _ = c.Write(zeros(1 << 20)) })})
		st := p.opened()
		ids := []uint32{st.id, p.open()}
		go func() { _, _ = st.Write(zeros(1 << 20)) }()
		frames := p.all()
		for _, id := range ids {
			if n := len(payloads(frames, id)); n != 65536 {
				t.Errorf("%d bytes came of stream %d", n, id)
			}
		}
		time.Sleep(time.Hour)
		p.hearsNothing()
		for _, more := range []int{1, 1000, 131072, 131073} {
			for _, id := range ids {
				p.say(window(id, uint32(more)))
				if n := len(payloads(p.all(), id)); n != more {
					t.Errorf("%d bytes came of stream %d for %d of credit", n, id, more)
				}
			}
		}
		must(t, st.Close())
	})
}

// giver is a peer that uses all the credit that it is given.
type giver struct {
	*peer
	credit map[uint32]int
	sent   map[uint32]int
}

func newGiver(t *testing.T, client bool) (*end, *giver) {
	e, p := byHand(t, client, link.Config{Dial: serving(echo)})
	p.net.SetBuffer(1 << 30)
	return e, &giver{p, map[uint32]int{}, map[uint32]int{}}
}

func (g *giver) stream() *Stream {
	st := g.opened()
	g.credit[st.id] = initialWindow
	return st
}

// use sends all that there is credit for, after these frames.
func (g *giver) use(frames ...got) {
	for _, f := range frames {
		if f.kind != typeWindow {
			g.t.Errorf("heard %s", f.kind)
			continue
		}
		g.credit[f.stream] += credits([]got{f}, f.stream)
		if n := g.credit[f.stream]; n > 16<<20 {
			g.t.Errorf("%d bytes of credit are open", n)
		}
	}
	for id, n := range g.credit {
		for n > 0 {
			part := min(n, maxData)
			g.say(data(id, zeros(part)))
			n, g.sent[id] = n-part, g.sent[id]+part
		}
		g.credit[id] = 0
	}
}

// keepUp uses credit as it comes, until the link ends.
func (g *giver) keepUp() {
	g.use()
	for f := range g.heard {
		if f.kind != typeReset {
			g.use(f)
		}
	}
}

func TestCreditIsGivenForWhatTheUserTookAndForNoMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, g := newGiver(t, false)
		st := g.stream()
		g.use()
		time.Sleep(time.Hour)
		g.hearsNothing()
		taken := 0
		for _, n := range []int{1, 16382, 1, 10000, 6385, 32768, 0, 7} {
			read, err := io.ReadFull(st, zeros(n))
			must(t, err)
			taken += read
			before := g.sent[st.id]
			g.use(g.all()...)
			given := g.sent[st.id] - initialWindow
			if given > taken || taken-given >= initialWindow/4 {
				t.Errorf("%d bytes of credit were given for %d that were taken (%d before)", given, taken, before)
			}
		}
	})
}

// A reader that takes less than half a window in a round trip keeps it.
func TestAReaderThatIsSlowerThanTheWayKeepsItsWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, g := newGiver(t, true)
		g.net.SetLatency(50 * time.Millisecond)
		st := g.stream()
		for range 200 { // 12 KiB in a round trip, whatever way the pings go
			g.use(g.all()...)
			_, err := io.ReadFull(st, zeros(4<<10))
			must(t, err)
			time.Sleep(33 * time.Millisecond)
		}
		if st.window != initialWindow || e.windows.granted.given.Load() != 0 {
			t.Errorf("the window is %d, %d bytes are given", st.window, e.windows.granted.given.Load())
		}
	})
}

// The way takes 100 ms, and the reader 64 KiB every 10: 640 KiB are under way.
func TestAWindowGrowsToWhatTheWayHoldsAndNotFurther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, g := newGiver(t, true)
		g.net.SetLatency(50 * time.Millisecond)
		st := g.stream()
		go g.keepUp()
		windows := []int{st.window}
		reads, late := 0, 0
		for range 300 {
			reads++
			if st.State().Waiting < 64<<10 {
				late++
			}
			_, err := io.ReadFull(st, zeros(64<<10))
			must(t, err)
			if last := windows[len(windows)-1]; st.window != last {
				windows = append(windows, st.window)
				if st.window != 4*last {
					t.Errorf("the window went from %d to %d", last, st.window)
				}
				late = 0
			}
			time.Sleep(10 * time.Millisecond)
		}
		if late > 12 || st.window > 4<<20 {
			t.Errorf("%d reads of %d had to wait with the last window, the windows were %v", late, reads, windows)
		}
		if n := e.windows.granted.given.Load(); n != int64(st.window-initialWindow) {
			t.Errorf("%d bytes are on the account", n)
		}
		must(t, st.Close())
		wantNothingLeft(t, e)
	})
}

// What one stream found out about the way, the next need not find out again.
// Not parallel: the account is the process's.
func TestAWindowIsAtOnceAsWideAsOthersHadUseFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g := newGiver(t, true)
		g.net.SetLatency(50 * time.Millisecond)
		first, second := g.stream(), g.stream()
		go g.keepUp()
		for range 100 { // 1 MiB is under way
			_, err := io.CopyN(io.Discard, first, 100<<10)
			must(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		had := first.window
		if had < 1<<20 {
			t.Errorf("the first window has %d bytes", had)
		}
		must(t, first.Close())
		time.Sleep(time.Second) // a pong that is on its way would begin a round in the middle of what follows
		_, err := io.CopyN(io.Discard, second, initialWindow/2)
		must(t, err)
		if n := windowOf(second); n != initialWindow {
			t.Errorf("the window has %d bytes when half of the first was taken", n)
		}
		_, err = io.CopyN(io.Discard, second, 1)
		must(t, err)
		if n := windowOf(second); n <= 4*initialWindow || n < had/4 || n > had {
			t.Errorf("the window has %d bytes, the first had use for %d of %d", n, had/4, had)
		}
		must(t, second.Close())
		wantNothingLeft(t, e)
	})
}

// Who takes a little and is idle then keeps what he got, which must not be all.
// Not parallel: the account is the process's.
func TestThoseWhoTakeLittleLeaveCreditToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g := newGiver(t, true)
		g.net.SetLatency(50 * time.Millisecond)
		first := g.stream()
		var others []*Stream
		for range 40 {
			others = append(others, g.stream())
		}
		go g.keepUp()
		for range 100 { // 1 MiB is under way
			_, err := io.CopyN(io.Discard, first, 100<<10)
			must(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		must(t, first.Close())
		for _, st := range others {
			_, err := io.CopyN(io.Discard, st, 40<<10)
			must(t, err)
			time.Sleep(200 * time.Millisecond)
		}
		if n := e.windows.granted.given.Load(); n < maxLinkCredit/8 || n > maxLinkCredit/2 {
			t.Errorf("they have %d bytes of the link's %d", n, maxLinkCredit)
		}
		for _, st := range others {
			must(t, st.Close())
		}
		wantNothingLeft(t, e)
	})
}

func windowOf(st *Stream) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.window
}

// drain reads all that comes for streams.
func drain(streams ...*Stream) {
	for _, st := range streams {
		go func() { _, _ = io.Copy(io.Discard, st) }()
	}
}

func TestAWindowHas16MiBAtMost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, g := newGiver(t, false)
		g.net.SetLatency(50 * time.Millisecond)
		st := g.stream()
		drain(st)
		go g.keepUp() // which looks at what is open
		size := func() int64 { return e.windows.granted.given.Load() + initialWindow }
		for limit := time.Now().Add(5 * time.Second); size() < 16<<20 && time.Now().Before(limit); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(120 * time.Millisecond)
		if n := size(); n != 16<<20 {
			t.Errorf("the window has %d bytes", n)
		}
		must(t, st.Close())
		wantNothingLeft(t, e)
	})
}

// Invariant 2.
func TestAStalledReaderHoldsItsWindowAndNobodyElseUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		words := noise(1, 3<<20)
		wrote := 0
		l := newLink(t, link.Config{}, link.Config{Dial: serving(func(c *memnet.Conn) {
			head := zeros(1)
			_, _ = c.Read(head)
			for ; wrote < len(words) && head[0] == 's'; wrote += 1 << 10 {
				_, _ = c.Write(words[wrote : wrote+1<<10])
			}
			echo(c)
		})})
		stalled := dial(t, l.near)
		_, err := stalled.Write([]byte("s"))
		must(t, err)
		synctest.Wait()
		at := wrote
		if n := stalled.State().Waiting; n != initialWindow || at > 400<<10 {
			t.Errorf("%d bytes wait, %d were written", n, at)
		}
		for range 10 {
			st := dial(t, l.near)
			payload := noise(2, 1<<20)
			if d := took(func() {
				go func() { _, _ = st.Write(append([]byte("e"), payload...)) }()
				wantRead(t, st, payload)
			}); d != 0 {
				t.Errorf("the neighbour took %v", d)
			}
			must(t, st.Close())
			time.Sleep(time.Minute) // and the link's pings go on
		}
		if n := stalled.State().Waiting; n != initialWindow || wrote != at {
			t.Errorf("%d bytes wait, %d were written", n, wrote)
		}
		must(t, stalled.CloseWrite())
		wantAll(t, stalled, words)
		must(t, stalled.Close())
		wantNothingLeft(t, l.near, l.far)
	})
}

// No credit is given to who has said all.
func TestNoCreditIsGivenAfterFIN(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := byHand(t, true, link.Config{})
		st := p.opened()
		p.say(data(st.id, noise(1, 60000)), bare(typeFin, st.id))
		wantAll(t, st, noise(1, 60000))
		p.hearsNothing()
		must(t, st.Close())
		p.hear(typeReset) // for it has said nothing
	})
}
