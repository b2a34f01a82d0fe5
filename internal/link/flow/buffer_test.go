package flow

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// memory is what a queue really holds.
func (q *queue) memory() (n int) {
	for _, b := range q.waiting {
		n += len(b.memory)
	}
	if q.held != nil {
		n += len(q.held.memory)
	}
	return n
}

// fill queues a payload as a session does.
func (q *queue) fill(payload []byte) {
	for len(payload) > 0 {
		b := Take(len(payload))
		payload = payload[copy(b.Bytes(), payload):]
		q.push(b)
	}
}

func TestAQueueGivesWhatItTook(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var q queue
	var want, got []byte
	for range 300 {
		payload := noise(byte(r.Uint32()), []int{0, 1, 100, smallBuffer, joinBelow, joinBelow + 1, mediumBuffer, middleBuffer, largeBuffer + 1}[r.IntN(9)])
		want = append(want, payload...)
		q.fill(payload)
		if q.bytes != len(want)-len(got) {
			t.Fatalf("%d bytes are said to wait, want %d", q.bytes, len(want)-len(got))
		}
		if q.bytes == 0 {
			continue
		}
		if r.IntN(2) == 0 {
			chunk, n := q.next()
			if n != len(chunk) || n == 0 {
				t.Fatalf("%d bytes are said to be %d", len(chunk), n)
			}
			got = append(got, chunk...)
			continue
		}
		p := make([]byte, r.IntN(3*largeBuffer))
		got = append(got, p[:q.read(p)]...)
	}
	rest := make([]byte, q.bytes)
	got = append(got, rest[:q.read(rest)]...)
	if !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, or others", len(got), len(want))
	}
	q.release()
	if q.bytes != 0 || q.memory() != 0 || q.waiting != nil {
		t.Errorf("when all is read %d bytes wait in %d", q.bytes, q.memory())
	}
}

func TestAChunkIsGoodUntilTheNext(t *testing.T) {
	t.Parallel()
	var q queue
	first, second := noise(1, 3000), noise(2, 3000)
	q.fill(first)
	chunk, _ := q.next()
	q.fill(second) // must not land behind the chunk, nor in its memory
	var other queue
	other.fill(noise(3, 3000))
	if n := q.drop(); n != len(second) {
		t.Errorf("dropped %d", n)
	}
	other.fill(noise(4, 9000))
	if !bytes.Equal(chunk, first) {
		t.Error("the chunk changed")
	}
	q.release()
	if q.memory() != 0 {
		t.Errorf("%d bytes are held", q.memory())
	}
}

// A peer must not make us hold much more than it sent, however it cuts it up.
func TestWhatAQueueHoldsIsInProportionToWhatItWasSent(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 100, smallBuffer - 1, smallBuffer, smallBuffer + 1, 5000, joinBelow, joinBelow + 1,
		mediumBuffer, mediumBuffer + 1, middleBuffer, middleBuffer + 1, 100 << 10, largeBuffer, largeBuffer + 1} {
		var q queue
		payload := make([]byte, n)
		for q.bytes < 1<<18 {
			q.fill(payload)
		}
		// 4 at the worst: just what is too much for the next smaller buffer.
		if m := q.memory(); m > 4*q.bytes+largeBuffer {
			t.Errorf("%d bytes in pieces of %d take %d", q.bytes, n, m)
		}
		q.drop()
	}
	var q queue
	for range 1 << 17 {
		q.fill([]byte{1})
	}
	if m := q.memory(); m > 1<<17+largeBuffer {
		t.Errorf("128 KiB of single bytes takes %d", m)
	}
}
