package linksocks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
)

// channelOf is the channel of the messages that Peek reads it of.
func channelOf(m Message) Head {
	h := Head{Type: m.Type()}
	switch m := m.(type) {
	case *Connect:
		h.Channel, h.Proto = m.Channel, m.Proto
	case *Data:
		h.Channel, h.Proto, h.Gzipped = m.Channel, m.Proto, m.Inflated
	case *ConnectResponse:
		h.Channel = m.Channel
	case *Disconnect:
		h.Channel = m.Channel
	}
	return h
}

// wantFault checks that err is a MessageError of this type, for this reason.
func wantFault(t *testing.T, err error, typ Type, fault error) {
	t.Helper()
	var m *MessageError
	if !errors.As(err, &m) || !errors.Is(err, fault) || m.Type != typ {
		t.Errorf("error is %v, want %v of type %v", err, fault, typ)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v passes for the end of a connection", err)
	}
}

func TestDecodeReadsTheSpecifiedBytes(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		msg := wire(t, v.wire...)
		m, err := new(Decoder).Decode(msg)
		if err != nil || !reflect.DeepEqual(m, v.want) {
			t.Errorf("%s: got %+v, %v; want %+v", v.name, m, err, v.want)
		}
		if h, err := Peek(msg); err != nil || h != channelOf(v.want) {
			t.Errorf("%s: peeked %+v, %v; want %+v", v.name, h, err, channelOf(v.want))
		}
	}
}

func TestAMessageCutShortIsRefused(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		msg := wire(t, v.wire...)
		for n := range msg {
			typ := Type(0)
			if n >= 2 {
				typ = v.want.Type()
			}
			m, err := new(Decoder).Decode(msg[:n:n])
			_, peekErr := Peek(msg[:n:n])
			if slices.Contains(v.ends, n) {
				if err != nil || peekErr != nil || m.Type() != typ {
					t.Errorf("%s: %d bytes of %d: %+v, %v, %v", v.name, n, len(msg), m, err, peekErr)
				}
				continue
			}
			if wantFault(t, err, typ, ErrShort); m != nil {
				t.Errorf("%s: %+v came with an error", v.name, m)
			}
			if n < 2 || channelOf(v.want).Channel == id {
				wantFault(t, peekErr, typ, ErrShort)
			} else if peekErr != nil {
				t.Errorf("%s: %d bytes of %d: peek: %v", v.name, n, len(msg), peekErr)
			}
			if t.Failed() {
				t.Fatalf("%s: %d bytes of %d", v.name, n, len(msg))
			}
		}
	}
}

func TestBytesBehindAMessageAreIgnored(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		if v.open {
			continue
		}
		msg := append(wire(t, v.wire...), "\xff more"...)
		if m, err := new(Decoder).Decode(msg); err != nil || !reflect.DeepEqual(m, v.want) {
			t.Errorf("%s: got %+v, %v; want %+v", v.name, m, err, v.want)
		}
	}
}

func TestAnotherMinorVersionIsRead(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		msg := wire(t, v.wire...)
		msg[0] = 0x0f
		if m, err := new(Decoder).Decode(msg); err != nil || !reflect.DeepEqual(m, v.want) {
			t.Errorf("%s: got %+v, %v; want %+v", v.name, m, err, v.want)
		}
	}
}

func TestAnotherMajorVersionIsRefused(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		msg := wire(t, v.wire...)
		for _, version := range []byte{0x10, 0x11, 0xf1} {
			msg[0] = version
			_, err := new(Decoder).Decode(msg)
			wantFault(t, err, v.want.Type(), ErrVersion)
			_, err = Peek(msg)
			wantFault(t, err, v.want.Type(), ErrVersion)
			_, err = DecodeAuth(msg)
			wantFault(t, err, v.want.Type(), ErrVersion)
			_, err = DecodeAuthResponse(msg)
			wantFault(t, err, v.want.Type(), ErrVersion)
		}
	}
}

// The hex of an id, for messages below.
const chanID = "00112233445566778899aabbccddeeff"

func TestMalformedMessagesAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		wire  []string
		typ   Type
		fault error
	}{
		{"data longer than the message", []string{"01 04 01", chanID, "00 ff ff ff ff 68"}, TypeData, ErrShort},
		{"udp data without a trailer", []string{"01 04 02", chanID, "00 00 00 00 00"}, TypeData, ErrShort},
		{"udp data with half a trailer", []string{"01 04 02", chanID, "00 00 00 00 00", "00 00 00"}, TypeData, ErrShort},
		{"gzip of nothing", []string{"01 04 01", chanID, "01 00 00 00 00"}, TypeData, ErrGzip},
		{"gzip that is none", []string{"01 04 01", chanID, "01 00 00 00 05 68 65 6c 6c 6f"}, TypeData, ErrGzip},
		{
			"gzip without its end",
			[]string{"01 04 01", chanID, "01 00 00 00 14", "1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f"},
			TypeData, ErrGzip,
		},
		{
			"gzip with a wrong checksum",
			[]string{"01 04 01", chanID, "01 00 00 00 1c", "1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f", "86a61037 05000000"},
			TypeData, ErrGzip,
		},
		{
			"gzip with too small a size",
			[]string{"01 04 01", chanID, "01 00 00 00 1c", "1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f", "86a61036 04000000"},
			TypeData, ErrGzip,
		},
		{
			"gzip with too great a size",
			[]string{"01 04 01", chanID, "01 00 00 00 1c", "1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f", "86a61036 05000080"},
			TypeData, ErrGzip,
		},
		{
			"gzip with something behind it",
			[]string{"01 04 01", chanID, "01 00 00 00 1d", "1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f", "86a61036 05000000", "00"},
			TypeData, ErrGzip,
		},
		{"gzip that is none, and no trailer", []string{"01 04 02", chanID, "01 00 00 00 01 68"}, TypeData, ErrShort},
		{"connector without an operation", []string{"01 07", chanID, "00 00"}, TypeConnector, ErrOp},
		{"connector with a third operation", []string{"01 07", chanID, "01 63 03"}, TypeConnector, ErrOp},
		{"log of nothing", []string{"01 09 00 00 00 00"}, TypeLog, ErrJSON},
		{"log of a list", []string{"01 09 00 00 00 02 5b 5d"}, TypeLog, ErrJSON},
		{"log cut in the JSON", []string{"01 09 00 00 00 01 7b"}, TypeLog, ErrJSON},
		{"partners of a text", []string{"01 0a 00 00 00 0d", "7b22636f756e74223a2233227d"}, TypePartners, ErrJSON},
		{"partners of a part", []string{"01 0a 00 00 00 0d", "7b22636f756e74223a332e317d"}, TypePartners, ErrJSON},
		{"log longer than the message", []string{"01 09 ff ff ff ff 7b 7d"}, TypeLog, ErrShort},
		{"direct longer than the message", []string{"01 0c 80 00 00 00 7b 7d"}, TypeDirectRendezvous, ErrShort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := new(Decoder).Decode(wire(t, tt.wire...))
			if wantFault(t, err, tt.typ, tt.fault); m != nil {
				t.Errorf("%+v came with an error", m)
			}
		})
	}
}

func TestAnyByteButZeroIsTrue(t *testing.T) {
	t.Parallel()
	for _, b := range []string{"01", "02", "80", "ff"} {
		for _, fields := range [][]string{
			{"01 01 00", b, chanID}, {"01 02", b}, {"01 05", b, chanID}, {"01 08", chanID, b},
		} {
			m, err := new(Decoder).Decode(wire(t, fields...))
			if err != nil {
				t.Fatalf("%v: %v", fields, err)
			}
			var yes bool
			switch m := m.(type) {
			case *Auth:
				yes = m.Reverse
			case *AuthResponse:
				yes = m.OK
			case *ConnectResponse:
				yes = m.OK
			case *ConnectorResponse:
				yes = m.OK
			}
			if !yes {
				t.Errorf("%v is %+v", fields, m)
			}
		}
	}
}

func TestJSONIsReadAsPeersReadIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		typ  Type
		json string
		want Message
	}{
		{TypeLog, `{"level":"debug","msg":"` + ClientHello + `"}`, &Log{Level: HelloLevel, Text: ClientHello}},
		{TypeLog, `{}`, &Log{}}, // not what came before
		{TypeLog, `null`, &Log{}},
		{TypeLog, `{"MSG":"x","more":[1]}`, &Log{Text: "x"}},
		{TypePartners, `{"count":-1}`, &Partners{Count: -1}},
		{TypePartners, `{"count":1,"count":2}`, &Partners{Count: 2}},
		{TypePartners, `{}`, &Partners{}},
	}
	d := new(Decoder)
	for _, tt := range tests {
		m, err := d.Decode(appendBlock(begin(nil, tt.typ), []byte(tt.json)))
		if err != nil || !reflect.DeepEqual(m, tt.want) {
			t.Errorf("%s: got %+v, %v; want %+v", tt.json, m, err, tt.want)
		}
	}
}

func TestLongJSONIsRefusedUnread(t *testing.T) {
	t.Parallel()
	for _, typ := range []Type{TypeLog, TypePartners} {
		fits := "{}" + strings.Repeat(" ", maxJSON-2)
		if _, err := new(Decoder).Decode(appendBlock(begin(nil, typ), []byte(fits))); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
		_, err := new(Decoder).Decode(appendBlock(begin(nil, typ), []byte(fits+" ")))
		wantFault(t, err, typ, ErrTooLarge)
	}
}

func TestNothingOfOneMessageIsSeenInTheNext(t *testing.T) {
	t.Parallel()
	d := new(Decoder)
	for _, v := range slices.Concat(vectors, vectors) {
		if m, err := d.Decode(wire(t, v.wire...)); err != nil || !reflect.DeepEqual(m, v.want) {
			t.Errorf("%s: got %+v, %v; want %+v", v.name, m, err, v.want)
		}
	}
	if !reflect.DeepEqual(d.data, Data{}) {
		t.Error("the decoder holds on to a payload after the next message")
	}
}

func TestPayloadsAndAddressesAreNotCopiedAndCannotGrowIntoEachOther(t *testing.T) {
	t.Parallel()
	msg := wire(t, "01 04 02", chanID, "00 00 00 00 02 68 69", "01 61 00 01", "01 62 00 02")
	before := bytes.Clone(msg)
	m, err := new(Decoder).Decode(msg)
	if err != nil {
		t.Fatal(err)
	}
	data := m.(*Data)
	_ = append(data.Payload, 'x')
	_ = append(data.Source.Host, 'x')
	_ = append(data.Target.Host, 'x')
	if !bytes.Equal(msg, before) {
		t.Errorf("appending changed the message to % x", msg)
	}
	msg[24], msg[27], msg[31] = 'H', 'A', 'B'
	if got := fmt.Sprintf("%s %s %s", data.Payload, data.Source.Host, data.Target.Host); got != "Hi A B" {
		t.Errorf("got %s: a copy", got)
	}
}

func TestDecodeAuthReadsAnAuth(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		msg := wire(t, v.wire...)
		auth, err := DecodeAuth(msg)
		if v.want.Type() != TypeAuth {
			if wantFault(t, err, v.want.Type(), ErrUnexpected); auth != (Auth{}) {
				t.Errorf("%s: %+v came with an error", v.name, auth)
			}
			continue
		}
		if err != nil || auth != *v.want.(*Auth) {
			t.Errorf("%s: got %+v, %v; want %+v", v.name, auth, err, v.want)
		}
		for n := range msg {
			auth, err := DecodeAuth(msg[:n])
			if wantFault(t, err, min(Type(n/2), TypeAuth), ErrShort); auth != (Auth{}) {
				t.Errorf("%s: %+v came with an error", v.name, auth)
			}
		}
	}
}

func TestDecodeAuthResponseReadsAnAuthResponse(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		msg := wire(t, v.wire...)
		got, err := DecodeAuthResponse(msg)
		if v.want.Type() != TypeAuthResponse {
			wantFault(t, err, v.want.Type(), ErrUnexpected)
			continue
		}
		if err != nil || got != *v.want.(*AuthResponse) {
			t.Errorf("%s: got %+v, %v; want %+v", v.name, got, err, v.want)
		}
		for n := range msg {
			if _, err := DecodeAuthResponse(msg[:n]); !slices.Contains(v.ends, n) {
				wantFault(t, err, min(Type(n/2)*TypeAuthResponse, TypeAuthResponse), ErrShort)
			} else if err != nil {
				t.Errorf("%s: %d bytes: %v", v.name, n, err)
			}
		}
	}
}

func TestALongFirstMessageIsRefused(t *testing.T) {
	t.Parallel()
	msg := wire(t, vectors[0].wire...)
	msg = append(msg, make([]byte, MaxAuth-len(msg))...)
	if _, err := DecodeAuth(msg); err != nil {
		t.Errorf("%d bytes: %v", len(msg), err)
	}
	_, err := DecodeAuth(append(msg, 0))
	wantFault(t, err, TypeAuth, ErrTooLarge)
	msg = append([]byte{Version, byte(TypeAuthResponse), 1}, make([]byte, MaxAuth-2)...)
	_, err = DecodeAuthResponse(msg)
	wantFault(t, err, TypeAuthResponse, ErrTooLarge)
}

func TestTokensAreNotPrinted(t *testing.T) {
	t.Parallel()
	token := redact.New("hush")
	for _, m := range []Message{&Auth{Token: token}, &AuthResponse{Token: token}, &Connector{Token: token}, &ConnectorResponse{Token: token}} {
		if s := fmt.Sprintf("%v %+v %#v", m, m, m); strings.Contains(s, "hush") {
			t.Errorf("a token prints in %s", s)
		}
	}
}

func TestErrorsSayTypeAndReason(t *testing.T) {
	t.Parallel()
	tests := []struct {
		msg          []byte
		text, reason string
	}{
		{nil, "linksocks unknown: message ends too early", "short"},
		{[]byte{1, 3}, "linksocks connect: message ends too early", "short"},
		{[]byte{0x21, 4}, "linksocks data: other major version: version byte 0x21", "version"},
		{append([]byte{1, 7}, make([]byte, 18)...), "linksocks connector: unknown operation 0", "op"},
	}
	for _, tt := range tests {
		_, err := new(Decoder).Decode(tt.msg)
		var m *MessageError
		if !errors.As(err, &m) || m.Error() != tt.text || m.Reason() != tt.reason {
			t.Errorf("% x: error is %v, want %s (%s)", tt.msg, err, tt.text, tt.reason)
		}
	}
	if r := (&MessageError{Err: io.EOF}).Reason(); r != "other" {
		t.Errorf("a foreign error has the reason %q", r)
	}
}

func TestEveryUnknownTypeHasOneName(t *testing.T) {
	t.Parallel()
	names := make(map[string]int)
	for b := range 256 {
		names[Type(b).String()]++
	}
	if len(names) != 14 || names["unknown"] != 256-13 {
		t.Errorf("the names are %v", names)
	}
}
