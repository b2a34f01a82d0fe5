package flow

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// wire is where an outbox writes to: it takes a batch when it is told to.
type wire struct {
	Outbox
	batches chan [][]byte
	ended   chan struct{}
	err     error
}

func newWire(control, datagrams int) *wire {
	w := &wire{batches: make(chan [][]byte), ended: make(chan struct{})}
	w.Init(func(batch [][]byte) error {
		w.batches <- batch
		return w.err
	}, control, datagrams)
	go func() {
		defer close(w.ended)
		w.Run()
	}()
	return w
}

func (w *wire) stop() {
	w.Stop()
	<-w.ended
}

func TestMessagesLeaveInTheirOrderWhateverTheyAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(100, 100)
		defer w.stop()
		w.Send([]byte("a"))
		synctest.Wait() // it is being written
		w.Send([]byte("b"))
		w.SendDatagram([]byte("c"))
		w.Send([]byte("d"))
		var got []string
		for len(got) < 4 {
			for _, msg := range <-w.batches {
				got = append(got, string(msg))
			}
		}
		if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
			t.Errorf("%q left", got)
		}
	})
}

func TestDatagramsThatFindNoRoomAreLostAndControlMessagesAreNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(10, 10)
		defer w.stop()
		w.Send([]byte("first"))
		synctest.Wait()
		for i, want := range []bool{true, true, false} {
			if got := w.SendDatagram([]byte("12345")); got != want {
				t.Errorf("datagram %d: %v", i, got)
			}
		}
		w.Send([]byte("control"))
		if w.Overfull() {
			t.Error("datagrams make it overfull")
		}
		<-w.batches
		if batch := <-w.batches; len(batch) != 3 || string(batch[2]) != "control" {
			t.Errorf("%q left", batch)
		}
		if !w.SendDatagram([]byte("1234567890")) {
			t.Error("there is no room again")
		}
		<-w.batches
	})
}

// What was lost cannot be made good: the link must end, also when its peer reads
// again.
func TestALostControlMessageIsRemembered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(10, 10)
		defer w.stop()
		w.Send([]byte("first"))
		synctest.Wait()
		w.Send([]byte("1234567890"))
		if w.Overfull() {
			t.Error("what fits makes it overfull")
		}
		w.Send([]byte("1"))
		if !w.Overfull() {
			t.Error("11 bytes are not too much")
		}
		w.Send([]byte("lost"))
		<-w.batches
		if batch := <-w.batches; len(batch) != 2 {
			t.Errorf("%q left", batch)
		}
		synctest.Wait()
		if !w.Overfull() {
			t.Error("it is forgotten")
		}
	})
}

func TestAnOutboxThatDrainsInTimeIsNotOverfull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(10, 10)
		defer w.stop()
		w.Send([]byte("first"))
		synctest.Wait()
		w.Send([]byte(strings.Repeat("x", 11))) // the last that fits may be long
		<-w.batches
		<-w.batches
		if w.Overfull() {
			t.Error("nothing was lost")
		}
	})
}

func TestAnOutboxEndsWhenItIsStoppedOrCannotWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(10, 10)
		w.stop()
		w.Send([]byte("late"))
		if w.SendDatagram([]byte("late")) || w.Overfull() {
			t.Error("a stopped outbox takes messages")
		}
		w = newWire(10, 10)
		w.err = errors.New("broken pipe")
		w.Send([]byte("x"))
		<-w.batches
		<-w.ended
	})
}
