package flow

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/adit-tunnel/adit/internal/pipe"
)

var (
	_ pipe.Source  = (*Inbox)(nil)
	_ pipe.Pusher  = (*Inbox)(nil)
	_ pipe.Breaker = (*Inbox)(nil)
)

func anyRoom(int) bool { return true }

// ledger counts what is taken of an inbox.
type ledger struct {
	Inbox
	freed atomic.Int64
}

func newLedger() *ledger {
	l := new(ledger)
	l.Init(func(n int) { l.freed.Add(int64(n)) })
	return l
}

func (l *ledger) give(t *testing.T, text string) {
	t.Helper()
	if got := l.Offer(filled([]byte(text)), anyRoom); got != Took {
		t.Fatalf("%q was answered %d", text, got)
	}
}

// sink is a destination that takes so much at once, and what was written to it.
type sink struct {
	took func(n int) int
	got  []byte
	n    int // calls
}

func (s *sink) TryWrite(p []byte) int {
	n := s.took(len(p))
	s.got = append(s.got, p[:n]...)
	s.n++
	return n
}

func whole(n int) int { return n }

func TestShortThingsAreWrittenAtOnceWhileTheReaderWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in, d := newLedger(), &sink{took: whole}
		in.PushTo(d)
		ended := make(chan error)
		go func() {
			_, err := in.Next()
			ended <- err
		}()
		synctest.Wait()
		in.give(t, "one ")
		in.give(t, "two")
		synctest.Wait()
		if string(d.got) != "one two" || in.freed.Load() != 7 || in.State().Taken != 7 || in.State().Waiting != 0 {
			t.Errorf("%q was written, %d freed, the inbox is %+v", d.got, in.freed.Load(), in.State())
		}
		in.End()
		if err := <-ended; err != io.EOF {
			t.Errorf("the reader got %v", err)
		}
	})
}

func TestWhatIsPushedIsWrittenAtOnceOrNotAtAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in, d := newLedger(), &sink{took: func(n int) int { return min(n, 5) }}
		push := func(text string, want int) {
			t.Helper()
			if n := in.Push([]byte(text)); n != want {
				t.Errorf("%d bytes of %.20q were written, want %d", n, text, want)
			}
		}
		push("nobody waits", 0)
		ended := make(chan error)
		go func() {
			_, err := in.Next()
			ended <- err
		}()
		synctest.Wait()
		push("there is no place for it", 0)
		in.PushTo(d)
		push("one", 3)
		push("too many", 5)
		push(string(noise(1, directMax+1)), 0)
		if s := in.State(); string(d.got) != "onetoo m" || s.Taken != 8 || s.Waiting != 0 || in.freed.Load() != 0 {
			t.Errorf("%q was written, %d freed, the inbox is %+v", d.got, in.freed.Load(), s)
		}
		d.took = func(int) int { return 0 }
		in.give(t, "something waits") // until the reader, which is told of it, takes it
		push("behind it", 0)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		in.Close()
		push("late", 0)
	})
}

func TestWhatIsLongIsForTheReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in, d := newLedger(), &sink{took: whole}
		in.PushTo(d)
		got := make(chan []byte)
		go func() {
			chunk, _ := in.Next()
			got <- bytes.Clone(chunk)
		}()
		synctest.Wait()
		want := noise(1, directMax+1)
		in.give(t, string(want))
		if !bytes.Equal(<-got, want) || d.n != 0 {
			t.Errorf("it was written directly %d times", d.n)
		}
		in.Release()
	})
}

func TestNothingIsWrittenDirectlyWhileTheReaderHoldsAChunkOrSomethingWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in, d := newLedger(), &sink{took: whole}
		in.PushTo(d)
		in.give(t, "early") // nobody waits for it yet
		if _, err := in.Next(); err != nil {
			t.Fatal(err)
		}
		in.give(t, "while it is busy")
		if chunk, err := in.Next(); string(chunk) != "while it is busy" || err != nil {
			t.Errorf("next %q, %v", chunk, err)
		}
		if d.n != 0 {
			t.Errorf("%q was written", d.got)
		}
		got := make(chan string)
		go func() {
			for {
				chunk, err := in.Next()
				if err != nil {
					close(got)
					return
				}
				got <- string(chunk) // it holds the chunk until somebody hears
			}
		}()
		synctest.Wait()
		d.took = func(n int) int { return n - 1 }
		in.give(t, "partly")
		synctest.Wait()
		d.took = whole
		in.give(t, "behind the rest")
		if first, second := <-got, <-got; string(d.got) != "partl" || first != "y" || second != "behind the rest" {
			t.Errorf("%q was written, then %q and %q were read", d.got, first, second)
		}
		synctest.Wait()
		in.give(t, "!")
		if string(d.got) != "partl!" {
			t.Errorf("%q was written", d.got)
		}
		in.End()
		<-got
	})
}

// The reader writes where the direct writes go, as a copy loop does: the race
// detector sees it when both do so at a time.
func TestEveryByteIsWrittenOnceInOrderAndFreedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		in := newLedger()
		d := &sink{took: func(n int) int { return r.IntN(n + 1) }}
		var held atomic.Int64
		in.Taken = func(n int) { held.Add(int64(-n)) }
		in.PushTo(d)
		done := make(chan error)
		go func() {
			for {
				chunk, err := in.Next()
				if err != nil {
					done <- err
					return
				}
				d.got = append(d.got, chunk...)
			}
		}()
		var want []byte
		for i := range 2000 {
			p := noise(byte(i), 1+r.IntN([]int{10, 5000, 40000}[r.IntN(3)]))
			want = append(want, p...)
			b := filled(p)
			if in.Offer(b, func(int) bool { held.Add(int64(len(p))); return true }) != Took {
				t.Fatal("it was refused")
			}
			if r.IntN(2) == 0 {
				synctest.Wait()
			}
		}
		in.End()
		if err := <-done; err != io.EOF {
			t.Error(err)
		}
		if !bytes.Equal(d.got, want) || held.Load() != 0 || in.State().Taken != int64(len(want)) {
			t.Errorf("%d of %d bytes or others, %d are held, %d taken", len(d.got), len(want), held.Load(), in.State().Taken)
		}
		if d.n < 100 {
			t.Errorf("only %d direct writes", d.n)
		}
	})
}

// stuck is a destination in which a write stays until it is let go.
type stuck struct {
	entered, leave chan struct{}
	left           atomic.Bool
}

func (s *stuck) TryWrite(p []byte) int {
	close(s.entered)
	<-s.leave
	s.left.Store(true)
	return len(p)
}

func TestTheEndOfPushingWaitsForTheWriteUnderWay(t *testing.T) {
	t.Parallel()
	in := newLedger()
	d := &stuck{entered: make(chan struct{}), leave: make(chan struct{})}
	in.PushTo(d)
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { _, _ = in.Next() })
	for {
		in.mu.Lock()
		parked := in.parked
		in.mu.Unlock()
		if parked {
			break
		}
		runtime.Gosched()
	}
	work.Go(func() { in.Offer(filled([]byte("x")), anyRoom) })
	<-d.entered
	begun, done := make(chan struct{}), make(chan bool)
	work.Go(func() {
		close(begun)
		in.PushTo(nil)
		done <- d.left.Load()
	})
	<-begun
	for range 100 {
		runtime.Gosched()
	}
	close(d.leave)
	if !<-done {
		t.Error("the destination is still in use")
	}
	in.Offer(filled([]byte("for the reader")), anyRoom)
}

// An idle link may know a stream that is over for long.
func TestAnInboxThatIsOverHoldsNothingOfWhatItWasJoinedTo(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(in *ledger, join func()){
		"Close":          func(in *ledger, join func()) { join(); in.Close() },
		"Fail":           func(in *ledger, join func()) { join(); in.Fail(io.ErrUnexpectedEOF) },
		"before, Close":  func(in *ledger, join func()) { in.Close(); join() },
		"before, Failed": func(in *ledger, join func()) { in.Fail(io.ErrUnexpectedEOF); join() },
	} {
		in := newLedger()
		var joined weak.Pointer[[1 << 10]byte]
		end(in, func() {
			memory := new([1 << 10]byte)
			in.OnBreak(func(error) { memory[0] = 1 })
			joined = weak.Make(memory)
		})
		runtime.GC()
		if joined.Value() != nil {
			t.Errorf("%s: it is still held", name)
		}
		runtime.KeepAlive(in)
	}
}

func TestRoomIsAskedWithWhatWaitsAndOnlyForWhatIsWanted(t *testing.T) {
	t.Parallel()
	in := newLedger()
	in.give(t, "12345")
	asked := -1
	full := func(waiting int) bool { asked = waiting; return false }
	b := filled([]byte("678"))
	if got := in.Offer(b, full); got != Full || asked != 5 || b.Len() != 3 {
		t.Errorf("answered %d, asked with %d, %d bytes are left", got, asked, b.Len())
	}
	if in.Offer(b, anyRoom) != Took || in.State().Waiting != 8 {
		t.Errorf("the inbox is %+v", in.State())
	}
	p := make([]byte, 100)
	if n, err := in.Read(p); string(p[:n]) != "12345678" || err != nil || in.freed.Load() != 8 {
		t.Errorf("read %q, %v; %d freed", p[:n], err, in.freed.Load())
	}
	for name, end := range map[string]func(in *ledger){
		"End":   func(in *ledger) { in.End() },
		"Fail":  func(in *ledger) { in.Fail(io.ErrUnexpectedEOF) },
		"Close": func(in *ledger) { in.Close() },
	} {
		in := newLedger()
		end(in)
		asked = -1
		if got := in.Offer(filled([]byte("late")), full); got != Refused || asked != -1 {
			t.Errorf("after %s: answered %d, asked with %d", name, got, asked)
		}
	}
}

func TestWhatCameBeforeTheEndIsReadFirstAndAnErrorComesAtOnce(t *testing.T) {
	t.Parallel()
	in := newLedger()
	in.give(t, "last")
	if !in.End() || in.End() {
		t.Error("the first end is news, the second is none")
	}
	if chunk, err := in.Next(); string(chunk) != "last" || err != nil {
		t.Errorf("next %q, %v", chunk, err)
	}
	if _, err := in.Next(); err != io.EOF {
		t.Errorf("next: %v", err)
	}
	broken := errors.New("broken")
	in = newLedger()
	in.give(t, "lost")
	var told []error
	in.OnBreak(func(cause error) { told = append(told, cause) })
	if !in.Fail(broken) || in.Fail(errors.New("again")) || in.End() {
		t.Error("only the first error is news")
	}
	in.OnBreak(func(cause error) { told = append(told, cause) })
	if _, err := in.Read(make([]byte, 9)); err != broken {
		t.Errorf("read: %v", err)
	}
	in.Close()
	if _, err := in.Next(); err != broken { // a reader that comes to look after that
		t.Errorf("next: %v", err)
	}
	if len(told) != 2 || told[0] != broken || told[1] != broken || in.freed.Load() != 4 {
		t.Errorf("told %v; %d freed", told, in.freed.Load())
	}
	if s := in.State(); s.Waiting != 0 || s.Err != broken || !s.Over() || s.Taken != 0 {
		t.Errorf("the inbox is %+v", s)
	}
}

func TestClosingSaysWhatIsDroppedOnceAndWakesTheReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in := newLedger()
		in.give(t, "unread")
		if n, first := in.Close(); n != 6 || !first || in.freed.Load() != 6 {
			t.Errorf("dropped %d, first: %v, freed %d", n, first, in.freed.Load())
		}
		if n, first := in.Close(); n != 0 || first || in.Fail(io.EOF) || in.freed.Load() != 6 {
			t.Errorf("dropped %d, first: %v, freed %d", n, first, in.freed.Load())
		}
		in = newLedger()
		go func() {
			time.Sleep(time.Second)
			in.Close()
		}()
		if _, err := in.Next(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("next: %v", err)
		}
	})
}

func TestADeadlineEndsAReadAndNotTheStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in := newLedger()
		begun := time.Now()
		_ = in.SetReadDeadline(begun.Add(3 * time.Second))
		if _, err := in.Next(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		in.give(t, "late")
		if chunk, err := in.Next(); len(chunk) > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("next %q, %v", chunk, err)
		}
		_ = in.SetReadDeadline(time.Time{})
		if chunk, err := in.Next(); string(chunk) != "late" || err != nil {
			t.Errorf("next %q, %v", chunk, err)
		}
		in.Release()
	})
}

func TestAFloodOfSingleBytesIsHeldInLittleMore(t *testing.T) {
	t.Parallel()
	in := newLedger()
	const n = 10000
	for range n {
		in.give(t, "x")
	}
	if m := in.queue.memory(); in.State().Waiting != n || m > 2*n {
		t.Errorf("%d bytes are held in %d", in.State().Waiting, m)
	}
}
