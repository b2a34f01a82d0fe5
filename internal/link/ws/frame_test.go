package ws

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of section 5.7.
var vectors = []struct {
	name   string
	wire   string
	fill   int // so many bytes 0x2a follow
	masked bool
	want   message
	pong   string
}{
	{name: "a single-frame unmasked text message", wire: "81 05 48 65 6c 6c 6f", want: message{Text, "Hello"}},
	{name: "a single-frame masked text message", wire: "81 85 37 fa 21 3d 7f 9f 4d 51 58", masked: true, want: message{Text, "Hello"}},
	{name: "a fragmented unmasked text message", wire: "01 03 48 65 6c 80 02 6c 6f", want: message{Text, "Hello"}},
	{name: "an unmasked ping", wire: "89 05 48 65 6c 6c 6f", pong: "Hello"},
	{name: "a masked pong", wire: "8a 85 37 fa 21 3d 7f 9f 4d 51 58", masked: true},
	{name: "256 bytes in a single unmasked frame", wire: "82 7e 01 00", fill: 256, want: message{Binary, strings.Repeat("*", 256)}},
	{name: "64 KiB in a single unmasked frame", wire: "82 7f 00 00 00 00 00 01 00 00", fill: 65536, want: message{Binary, strings.Repeat("*", 65536)}},
}

func TestTheExamplesOfTheRFCAreRead(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		wire := append(unhex(t, v.wire), bytes.Repeat([]byte("*"), v.fill)...)
		peer := &script{in: wire}
		pongs := ""
		c := New(peer, nil, Config{Client: !v.masked})
		c.OnPong(func(p []byte) { pongs += string(p) })
		got, err := outcomeOf(c)
		if !errors.Is(err, ErrAbrupt) {
			t.Errorf("%s: it ends with %v", v.name, err)
		}
		var want []message
		if v.want.op != 0 {
			want = []message{v.want}
		}
		if !reflect.DeepEqual(got.messages, want) {
			t.Errorf("%s: read %.40q", v.name, got.messages)
		}
		if v.name == "a masked pong" && pongs != "Hello" {
			t.Errorf("%s: OnPong was told %q", v.name, pongs)
		}
		c.Close()
		said, _ := refFrames(peer.out)
		if v.pong == "" && len(said) > 0 || v.pong != "" && (len(said) != 1 || string(said[0].payload) != v.pong || said[0].first != 0x8a) {
			t.Errorf("%s: answered %v", v.name, said)
		}
	}
}

func TestTheExamplesOfTheRFCAreWritten(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		wire := append(unhex(t, v.wire), bytes.Repeat([]byte("*"), v.fill)...)
		f, _, _, _, whole, _ := refFrame(wire)
		if !whole || f.first&finBit == 0 {
			continue // we write no fragments
		}
		h := header{op: Opcode(f.first & opcodeBits), masked: f.masked, key: 0x3d21fa37, length: int64(len(f.payload))}
		got := appendHeader(nil, h)
		at := len(got)
		got = append(got, f.payload...)
		if f.masked {
			applyMask(got[at:], got[at:], h.key)
		}
		if !bytes.Equal(got, wire) {
			t.Errorf("%s: wrote % .20x, want % .20x", v.name, got, wire)
		}
	}
}

func TestWhatTheProtocolForbidsIsRefused(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		wire string // for a client: unmasked
		code Code
	}{
		"the first reserved bit":                  {"c1 00", CodeProtocol},
		"the second reserved bit":                 {"a1 00", CodeProtocol},
		"the third reserved bit":                  {"91 00", CodeProtocol},
		"a reserved bit of a control frame":       {"c9 00", CodeProtocol},
		"opcode 3":                                {"83 00", CodeProtocol},
		"opcode 7":                                {"87 00", CodeProtocol},
		"opcode 11":                               {"8b 00", CodeProtocol},
		"opcode 15":                               {"8f 00", CodeProtocol},
		"a mask from a server":                    {"82 80 00 00 00 00", CodeProtocol},
		"125 in two bytes":                        {"82 7e 00 7d", CodeProtocol},
		"0 in two bytes":                          {"82 7e 00 00", CodeProtocol},
		"65535 in eight bytes":                    {"82 7f 00 00 00 00 00 00 ff ff", CodeProtocol},
		"the highest bit of the length":           {"82 7f 80 00 00 00 00 01 00 00", CodeProtocol},
		"all bits of the length":                  {"82 7f ff ff ff ff ff ff ff ff", CodeProtocol},
		"a ping in fragments":                     {"09 00", CodeProtocol},
		"a close in fragments":                    {"08 00", CodeProtocol},
		"a ping of 126 bytes":                     {"89 7e 00 7e", CodeProtocol},
		"a ping of 64 KiB":                        {"89 7f 00 00 00 00 00 01 00 00", CodeProtocol},
		"a continuation of nothing":               {"80 00", CodeProtocol},
		"a continuation after a whole message":    {"82 00 80 00", CodeProtocol},
		"a message inside another":                {"02 01 00 82 01 00", CodeProtocol},
		"a fragmented message inside another":     {"02 01 00 01 01 00", CodeProtocol},
		"a close with half a code":                {"88 01 03", CodeProtocol},
		"a close with code 999":                   {"88 02 03 e7", CodeProtocol},
		"a close with code 1004":                  {"88 02 03 ec", CodeProtocol},
		"a close with code 1005":                  {"88 02 03 ed", CodeProtocol},
		"a close with code 1006":                  {"88 02 03 ee", CodeProtocol},
		"a close with code 1015":                  {"88 02 03 f7", CodeProtocol},
		"a close with code 2999":                  {"88 02 0b b7", CodeProtocol},
		"a close with code 5000":                  {"88 02 13 88", CodeProtocol},
		"a close whose reason is not UTF-8":       {"88 03 03 e8 ff", CodeInvalid},
		"a frame of more than the limit":          {"82 7e 03 e9", CodeTooBig},
		"a frame of 2^63-1 bytes":                 {"82 7f 7f ff ff ff ff ff ff ff", CodeTooBig},
		"fragments of more than the limit in all": {"02 01 00 00 7f 7f ff ff ff ff ff ff ff", CodeTooBig},
	} {
		peer := &script{in: unhex(t, v.wire)}
		c := New(peer, nil, Config{Client: true, MaxMessage: 1000})
		got, err := outcomeOf(c)
		var wrong *ProtocolError
		if !errors.As(err, &wrong) || wrong.Code != v.code || wrong.Problem == "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if _, again := c.Next(); again != err {
			t.Errorf("%s: after its end the reader says %v", name, again)
		}
		if err := c.WriteMessage(Binary, nil); err != ErrCloseSent {
			t.Errorf("%s: a message can still be written: %v", name, err)
		}
		c.Close()
		said, whole := refFrames(peer.out)
		if !whole || len(said) != 1 || said[0].first != 0x88 || fmt.Sprintf("%x", said[0].payload[:2]) != fmt.Sprintf("%04x", int(v.code)) {
			t.Errorf("%s: the peer was told %v", name, said)
		}
	}
}

func TestAServerRefusesWhatIsNotMasked(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{"82 01 00", "89 00", "88 00"} {
		c := New(&script{in: unhex(t, wire)}, nil, Config{})
		var wrong *ProtocolError
		if _, err := c.Next(); !errors.As(err, &wrong) || wrong.Code != CodeProtocol {
			t.Errorf("% x: %v", wire, err)
		}
		c.Close()
	}
}

// Every length around the places where its form changes, both ways.
func TestEveryLengthIsWrittenTheShortestWay(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{0, 1, 125, 126, 127, 255, 256, 65535, 65536, 1 << 31, 1<<63 - 1} {
		for _, masked := range []bool{false, true} {
			h := header{op: Binary, fin: true, masked: masked, length: length}
			if masked {
				h.key = 0xdeadbeef
			}
			wire := appendHeader(nil, h)
			got, problem := parseHeader(wire)
			if problem != "" || got != h || headerSize(wire[1]) != len(wire) {
				t.Errorf("%d, masked %v: % x reads as %+v %s", length, masked, wire, got, problem)
			}
			if _, n, shortest, _, _, _ := refFrame(wire); n != uint64(length) || !shortest {
				t.Errorf("%d: % x is %d, shortest %v", length, wire, n, shortest)
			}
		}
	}
}

func TestTheMaskIsTheOneOfTheRFC(t *testing.T) {
	t.Parallel()
	src := make([]byte, 300)
	for i := range src {
		src[i] = byte(i * 7)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for n := range len(src) {
		for _, split := range []int{0, 1, 2, 3, 5, 8, 13, 64, 67, n} {
			split = min(split, n)
			dst := make([]byte, n)
			next := applyMask(dst[:split], src[:split], 0x3d21fa37)
			applyMask(dst[split:], src[split:n], next)
			for i := range dst {
				if dst[i] != src[i]^key[i%4] {
					t.Fatalf("%d bytes split at %d: byte %d is wrong", n, split, i)
				}
			}
		}
	}
}

func TestErrorsSayWhatHappened(t *testing.T) {
	t.Parallel()
	if !errors.Is(ErrAbrupt, io.ErrUnexpectedEOF) {
		t.Error("an abrupt end is no io.ErrUnexpectedEOF")
	}
	for want, err := range map[string]error{
		`closed by the peer with code 1001: "bye"`:                              &CloseError{CodeGoingAway, "bye"},
		"closed by the peer with code 1005":                                     &CloseError{Code: CodeNoStatus},
		"websocket peer broke the protocol (1002): an unknown opcode":           &ProtocolError{CodeProtocol, "an unknown opcode"},
		"websocket ended without a close frame: " + io.ErrUnexpectedEOF.Error(): ErrAbrupt,
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
