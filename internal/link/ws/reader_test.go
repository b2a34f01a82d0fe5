package ws

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// sentence is a message in fragments with control frames between and empty
// fragments among them, and what follows it.
func sentence(masked bool) (wire []byte, want []message) {
	payload := noise(300)
	parts := frames(Text, payload, 100, masked)
	for i := 0; len(parts) > 0; i++ {
		_, _, _, _, _, rest := refFrame(parts)
		wire = append(wire, parts[:len(parts)-len(rest)]...)
		parts = rest
		if i < 2 {
			wire = append(wire, frames(opPing, []byte{'p', byte('0' + i)}, 125, masked)...)
			wire = append(wire, frames(opPong, []byte{'q'}, 125, masked)...)
			empty := frames(Opcode(0), nil, 1, masked)
			empty[0] &^= finBit
			wire = append(wire, empty...)
		}
	}
	wire = append(wire, frames(Binary, nil, 1, masked)...)
	wire = append(wire, frames(Binary, noise(20000), 4096, masked)...)
	return wire, []message{{Text, string(payload)}, {Binary, ""}, {Binary, string(noise(20000))}}
}

func TestFragmentsAreJoinedAroundControlFrames(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{false, true} {
		wire, want := sentence(!client)
		for _, chunk := range []int{0, 1, 2, 3, 5, 13, 14, 139, 4095, 4096, 4097} {
			pongs := 0
			peer := &script{in: bytes.Clone(wire), chunk: chunk}
			c := New(peer, nil, Config{Client: client})
			c.OnPong(func([]byte) { pongs++ })
			got, err := outcomeOf(c)
			if err != ErrAbrupt || !reflect.DeepEqual(got.messages, want) {
				t.Errorf("%d bytes at a time: %d messages, %v", chunk, len(got.messages), err)
			}
			if pongs != 2 {
				t.Errorf("%d bytes at a time: told of %d pongs", chunk, pongs)
			}
			c.Close()
			said, whole := refFrames(peer.out)
			if !whole || len(said) == 0 || string(said[len(said)-1].payload) != "p1" {
				t.Errorf("%d bytes at a time: answered %+v", chunk, said)
			}
		}
	}
}

func TestAMessageIsReadAsAStream(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 4096, 60 << 10, 200 << 10} {
		for _, piece := range []int{1 << 10, 5000, 1 << 20} {
			payload := noise(150 << 10)
			wire := append(frames(Binary, payload, size, true), frames(Text, []byte("next"), 9, true)...)
			c := New(&script{in: wire, chunk: 30000}, nil, Config{})
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("before the first message Read says %v", err)
			}
			if op, err := c.Next(); op != Binary || err != nil {
				t.Fatal(op, err)
			}
			var got []byte
			for p := make([]byte, piece); ; {
				n, err := c.Read(p)
				got = append(got, p[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, payload) {
				t.Errorf("frames of %d in pieces of %d: the bytes differ", size, piece)
			}
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("behind the message Read says %v", err)
			}
			if op, got, err := c.ReadMessage(nil); op != Text || string(got) != "next" || err != nil {
				t.Error(op, string(got), err)
			}
			c.Close()
		}
	}
}

func TestAMessageThatIsThereIsGivenWhole(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{false, true} {
		one, two := noise(100), noise(3000)
		wire := frames(Binary, one, 1<<10, masked)
		wire = append(wire, frames(opPing, []byte("between"), 125, masked)...)
		wire = append(wire, frames(Text, two, 1<<12, masked)...)
		c := New(&script{in: wire}, nil, Config{Client: !masked})
		for _, want := range []struct {
			op      Opcode
			payload []byte
		}{{Binary, one}, {Text, two}} {
			op, err := c.Next()
			if err != nil || op != want.op {
				t.Fatal(op, err)
			}
			if got := c.Whole(); !bytes.Equal(got, want.payload) {
				t.Errorf("masked %v: %d bytes, or others", masked, len(got))
			}
			if got := c.Whole(); got != nil {
				t.Errorf("masked %v: %d bytes a second time", masked, len(got))
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("masked %v: %d bytes are left, %v", masked, n, err)
			}
		}
		if _, err := c.Next(); err != ErrAbrupt {
			t.Error(err)
		}
		c.Close()
	}
}

// What is not there yet, or not in one piece, is read with Read, from its beginning.
func TestAMessageThatIsNotThereIsNotGivenWhole(t *testing.T) {
	t.Parallel()
	long := noise(20000)
	for name, from := range map[string]*script{
		"in pieces":             {in: frames(Binary, long, len(long), true), chunk: 7000},
		"in pieces of one byte": {in: frames(Binary, long[:300], 300, true), chunk: 1},
		"in fragments":          {in: frames(Binary, long[:3000], 1000, true)},
		"begun":                 {in: frames(Binary, long[:3000], 3000, true)},
		"empty":                 {in: frames(Binary, nil, 1, true)},
	} {
		want := map[string]int{"in pieces": 20000, "in pieces of one byte": 300, "empty": 0}
		n, ok := want[name]
		if !ok {
			n = 3000
		}
		c := New(from, nil, Config{})
		if _, err := c.Next(); err != nil {
			t.Fatal(name, err)
		}
		var got []byte
		if name == "begun" {
			got = make([]byte, 1)
			if _, err := c.Read(got); err != nil {
				t.Fatal(name, err)
			}
		}
		if p := c.Whole(); p != nil {
			t.Errorf("%s: %d bytes", name, len(p))
		}
		rest, err := io.ReadAll(c)
		if got = append(got, rest...); err != nil || !bytes.Equal(got, long[:n]) {
			t.Errorf("%s: %d bytes of %d, or others; %v", name, len(got), n, err)
		}
		c.Close()
	}
}

func TestNextDropsWhatIsUnreadOfAMessage(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 4096, 100 << 10} {
		wire := append(frames(Binary, noise(150<<10), size, true), frames(Text, []byte("next"), 9, true)...)
		c := New(&script{in: wire}, nil, Config{})
		c.Next()
		io.ReadFull(c, make([]byte, 70))
		if op, err := c.Next(); op != Text || err != nil {
			t.Fatal(op, err)
		}
		if got, err := io.ReadAll(c); string(got) != "next" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
	}
}

func TestWhatTheHandshakeReadIsNotLost(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 5, 4096, 6000, 9000} {
		wire := append(frames(Binary, noise(8000), 3000, true), frames(Text, []byte("next"), 9, true)...)
		n = min(n, len(wire))
		early := bytes.Clone(wire[:n])
		c := New(&script{in: wire[n:]}, early, Config{})
		clear(early)
		got, err := outcomeOf(c)
		if want := []message{{Binary, string(noise(8000))}, {Text, "next"}}; err != ErrAbrupt || !reflect.DeepEqual(got.messages, want) {
			t.Errorf("with %d bytes early: %d messages, %v", n, len(got.messages), err)
		}
		c.Close()
	}
}

func TestTheLimitCountsAllFragments(t *testing.T) {
	t.Parallel()
	read := func(limit int64, wire []byte) error {
		c := New(&script{in: wire}, nil, Config{MaxMessage: limit})
		defer c.Close()
		_, _, err := c.ReadMessage(nil)
		return err
	}
	wire := frames(Binary, noise(10000), 1000, true)
	if err := read(10000, bytes.Clone(wire)); err != nil {
		t.Errorf("a message as long as the limit: %v", err)
	}
	var wrong *ProtocolError
	if err := read(9999, bytes.Clone(wire)); !errors.As(err, &wrong) || wrong.Code != CodeTooBig || !strings.Contains(wrong.Problem, "9999") {
		t.Errorf("one byte over the limit: %v", err)
	}
	c := New(&script{in: bytes.Repeat(wire, 3)}, nil, Config{MaxMessage: 10000})
	defer c.Close()
	for range 2 {
		if _, _, err := c.ReadMessage(nil); err != nil {
			t.Error(err)
		}
	}
	c.SetMaxMessage(9000)
	if _, _, err := c.ReadMessage(nil); !errors.As(err, &wrong) || wrong.Code != CodeTooBig {
		t.Errorf("with a lower limit the same message: %v", err)
	}
}

func TestReadMessageKeepsTheBuffer(t *testing.T) {
	t.Parallel()
	wire := append(frames(Binary, noise(5000), 5000, true), frames(Binary, noise(6000), 5000, true)[:5500]...)
	c := New(&script{in: wire}, nil, Config{})
	defer c.Close()
	buf := make([]byte, 3, 5000)
	_, got, err := c.ReadMessage(buf)
	if err != nil || !bytes.Equal(got, noise(5000)) || &got[0] != &buf[0] {
		t.Errorf("%d bytes, %v, or not in the buffer", len(got), err)
	}
	_, got, err = c.ReadMessage(got)
	if err != ErrAbrupt || len(got) < 5000 || cap(got) < 5000 {
		t.Errorf("a message cut off gives %d bytes back, %v", len(got), err)
	}
}

// What a connection holds is what counts for those who wait by the thousand.
func TestAWaitingConnectionHoldsTheSmallBuffer(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string][]byte{
		"a message in many frames": frames(Binary, noise(100<<10), 4096, true),
		"a long frame":             frames(Binary, noise(100<<10), 100<<10, true),
		"many messages":            bytes.Repeat(frames(Binary, noise(100), 100, true), 2000),
	} {
		n := len(wire)
		peer := &script{in: wire}
		c := New(peer, nil, Config{})
		took := false
		for {
			if _, err := c.Next(); err != nil {
				break
			}
			io.Copy(onlyWriter{io.Discard}, c)
			took = took || c.r.large != nil
			if len(peer.in) == 0 && c.r.start == c.r.end {
				// Before it waits for the next message it has no large buffer.
				c.r.chooseBuffer()
				if c.r.large != nil {
					t.Errorf("%s: waits with the large buffer", name)
				}
			}
		}
		if name != "a long frame" && !took {
			t.Errorf("%s, %d bytes: the large buffer was never used", name, n)
		}
		c.Close()
	}
}

type onlyWriter struct{ io.Writer }

func TestAPeerWithALowLimitGetsNoLargeBuffer(t *testing.T) {
	t.Parallel()
	c := New(&script{in: bytes.Repeat(frames(opPong, noise(125), 125, true), 1000)}, nil, Config{MaxMessage: 1 << 10})
	c.r.onPong = func([]byte) {
		if c.r.large != nil {
			t.Error("it has one")
		}
	}
	c.Next()
	c.Close()
	// The largest size of which the allocator does not take half as much again.
	if size := unsafe.Sizeof(Conn{}); size > 5376 {
		t.Errorf("a connection is %d bytes", size)
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	wire := bytes.Repeat(append(frames(Binary, noise(64<<10), 4096, true), frames(Binary, noise(64<<10), 64<<10, true)...), 3)
	peer := &script{}
	c := New(peer, nil, Config{})
	defer c.Close()
	buf := make([]byte, 0, 64<<10)
	if n := testing.AllocsPerRun(50, func() {
		peer.in = wire
		for len(peer.in) > 0 || c.r.start < c.r.end {
			if _, _, err := c.ReadMessage(buf); err != nil {
				t.Fatal(err)
			}
		}
	}); n >= 1 && !(poolForgets && n <= 6) {
		t.Errorf("%v allocations for six messages", n)
	}
}

func TestSilenceIsCountedOnlyWhileWeListen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		defer far.Close()
		c := New(near, nil, Config{Client: true})
		made := time.Now()
		time.Sleep(time.Minute)
		if c.Silence() != 0 || !c.LastReceived().Equal(made) {
			t.Errorf("nobody reads: silence %v, last heard of after %v", c.Silence(), c.LastReceived().Sub(made))
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, _, err := c.ReadMessage(nil); err != nil {
					return
				}
			}
		}()
		time.Sleep(7 * time.Second)
		if c.Silence() != 7*time.Second {
			t.Errorf("after 7 s of waiting: silence %v", c.Silence())
		}
		far.Write([]byte{0x8a}) // half of a pong
		time.Sleep(2 * time.Second)
		if c.Silence() != 2*time.Second || !c.LastReceived().Equal(made.Add(67*time.Second)) {
			t.Errorf("2 s after a byte: silence %v, last heard of after %v", c.Silence(), c.LastReceived().Sub(made))
		}
		c.Close()
		<-done
		if c.Silence() != 0 {
			t.Errorf("after the end: silence %v", c.Silence())
		}
	})
}

func TestAReadDeadlineOfTheCallerEndsReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		defer far.Close()
		c := New(near, nil, Config{})
		defer c.Close()
		near.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, _, err := c.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}
