package sshsite

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/api"
)

// moment is too short to matter, and as short as a clock can show.
const moment = time.Nanosecond

func TestASilentConnectionIsAskedAfterFifteenSecondsAndNotBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		pass(15*time.Second - moment)
		b.asked(0)
		pass(moment)
		b.asked(1)
		pass(time.Hour)
		b.lives()
	})
}

func TestAnyByteIsASignOfLife(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		pass(10 * time.Second)
		b.speak()
		pass(15*time.Second - moment)
		b.asked(0)
		pass(moment)
		b.asked(1)
	})
}

func TestABusyConnectionIsNotAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		for range 60 {
			pass(10 * time.Second)
			b.speak()
		}
		b.asked(0)
	})
}

func TestASilentConnectionIsDeadAfterThirtyFiveSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.net.BlackHole(true)
		pass(35*time.Second - moment)
		b.lives()
		pass(moment)
		if err := b.dead(); codeOfError(err) != api.CodeConnectionLost || !errors.Is(err, errSilent) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestTheTimeOfASilentConnectionRunsFromItsLastByte(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		pass(7 * time.Second)
		b.speak()
		b.net.BlackHole(true)
		pass(35*time.Second - moment)
		b.lives()
		pass(moment)
		b.dead()
	})
}

// A server may be slow with its answer, or not know how to give one.
func TestAServerThatSpeaksButNeverAnswersIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.ignore()
		for range 30 {
			pass(18 * time.Second)
			b.speak()
		}
		b.lives()
		b.asked(1) // the answer to the first is still owed
		pass(time.Minute)
		if err := b.dead(); !errors.Is(err, errSilent) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// stall fills the buffers towards the server, which takes no more.
func stall(b *bubble) (written chan error) {
	s, err := b.conn.Dial(b.t.Context(), "tcp", "127.0.0.1:1")
	if err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
	b.wire.StopReading(true)
	written = make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, 1<<20))
		if err == nil {
			_, err = s.Write([]byte("more"))
		}
		written <- err
	}()
	return written
}

func TestAWriteThatStallsForTwentySecondsIsTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		written := stall(b)
		// What the server says meanwhile does not help.
		for range 4 {
			pass(5*time.Second - moment)
			b.lives()
			b.speak()
		}
		pass(4 * moment)
		if err := b.dead(); codeOfError(err) != api.CodeConnectionLost || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("it ended with %v", err)
		}
		if err := <-written; err == nil {
			t.Error("the write succeeded")
		}
		b.asked(0)
	})
}

func TestAWriteThatGoesOnInTimeIsNotTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		written := stall(b)
		pass(14 * time.Second)
		b.speak()
		pass(5 * time.Second)
		b.wire.StopReading(false)
		if err := <-written; err != nil {
			t.Errorf("write: %v", err)
		}
		pass(time.Minute)
		b.lives()
	})
}

func TestALostConnectionEndsWhatWaitsOnIt(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		s, err := b.conn.Dial(t.Context(), "tcp", "127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() { _, err := s.Read(make([]byte, 1)); read <- err }()
		b.net.BlackHole(true)
		pass(35 * time.Second)
		if err := <-read; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read: %v", err)
		}
	})
}
