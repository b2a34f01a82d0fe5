package ws

import (
	"reflect"
	"testing"
)

// FuzzReader compares the reader with the plain one of reference_test.go, at
// once and byte by byte, and has what was read written and read again.
func FuzzReader(f *testing.F) {
	for _, v := range vectors[:5] {
		f.Add(unhex(f, v.wire), !v.masked)
	}
	f.Fuzz(func(t *testing.T, in []byte, client bool) {
		const limit = 300
		want := reference(in, client, limit)
		for _, chunk := range []int{0, 1, 7} {
			peer := &script{in: in, chunk: chunk}
			c := New(peer, nil, Config{Client: client, MaxMessage: limit})
			got, err := outcomeOf(c)
			c.Close()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%d bytes at a time: %+v (%v), want %+v", chunk, got, err, want)
			}
			answers(t, peer.out, client, got)
		}
		again := &script{}
		w := New(again, nil, Config{Client: !client})
		for _, m := range want.messages {
			if err := w.WriteMessage(m.op, []byte(m.payload)); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		r := New(&script{in: again.out}, nil, Config{Client: client, MaxMessage: limit})
		got, err := outcomeOf(r)
		if err != ErrAbrupt || !reflect.DeepEqual(got.messages, want.messages) {
			t.Errorf("written and read again: %+v (%v), want %+v", got.messages, err, want.messages)
		}
	})
}

// answers checks that what was said to a peer are pongs, and a close frame at
// the end if one is due.
func answers(t *testing.T, out []byte, client bool, o outcome) {
	t.Helper()
	said, whole := refFrames(out)
	if !whole {
		t.Fatalf("% x are not whole frames", out)
	}
	for i, f := range said {
		last := i == len(said)-1
		if f.masked != client || f.first != 0x8a && !(f.first == 0x88 && last) {
			t.Errorf("said %+v", f)
		}
	}
	if due := o.code != 0; due != (len(said) > 0 && said[len(said)-1].first == 0x88) {
		t.Errorf("ended with %+v and said %+v", o, said)
	}
}

// FuzzGrowth gives a reader what looks like the beginning of a long message. It
// must not get memory for it before its bytes are there.
func FuzzGrowth(f *testing.F) {
	f.Add(uint64(1)<<40, uint16(100), true)
	f.Add(uint64(65536), uint16(65535), false)
	f.Fuzz(func(t *testing.T, claim uint64, sent uint16, fin bool) {
		claim &= 1<<63 - 1
		wire := appendHeader(nil, header{op: Binary, length: int64(claim)})
		if !fin {
			wire[0] &^= finBit
		}
		wire = append(wire, make([]byte, min(uint64(sent), claim))...)
		c := New(&script{in: wire}, nil, Config{Client: true, MaxMessage: 1 << 62})
		_, got, _ := c.ReadMessage(nil)
		c.Close()
		if want := min(int(claim), int(sent)); claim <= 1<<62 && len(got) != want {
			t.Errorf("%d bytes came back of %d", len(got), want)
		}
		// Twice what came, the first 4 KiB, and what append rounds up.
		if most := (2*int(sent) + firstGrowth) * 5 / 4; cap(got) > most {
			t.Errorf("%d bytes of memory for %d bytes of a claimed %d", cap(got), sent, claim)
		}
	})
}
