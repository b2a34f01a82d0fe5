package linksocks

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/redact"
)

// An message is a message that can be sent.
func TestAppendWritesTheSpecifiedBytes(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		m, ok := v.want.(message)
		if v.foreign || !ok {
			continue
		}
		got, err := m.Append([]byte("before"))
		if want := append([]byte("before"), wire(t, v.wire...)...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got % x, %v; want % x", v.name, got, err, want)
		}
	}
}

func TestForeignSpellingsAreWrittenOurWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		m    message
		want []string
	}{
		{AuthResponse{}, []string{"01 02 00 00"}},
		{Log{Level: "info", Text: "hi"}, []string{"01 09 00 00 00 1b 7b226c6576656c223a22696e666f222c226d7367223a226869227d"}},
		{Data{Proto: TCP, Channel: id, Inflated: true, Payload: []byte("!")}, []string{"01 04 01", chanID, "00 00 00 00 01 21"}},
		{Data{Proto: UDP, Channel: id}, []string{"01 04 02", chanID, "00 00 00 00 00 00 00 00 00 00 00"}},
		{Data{Proto: TCP, Channel: id, Target: Endpoint{Port: 1}}, []string{"01 04 01", chanID, "00 00 00 00 00"}},
		{Connect{Proto: UDP, Channel: id, Host: "not sent", Port: 1}, []string{"01 03 02", chanID}},
		{ConnectResponse{OK: true, Channel: id, Cause: "not sent"}, []string{"01 05 01", chanID}},
		{ConnectorResponse{Request: id, Token: redact.New("not sent")}, []string{"01 08", chanID, "00 00"}},
	}
	for _, tt := range tests {
		if got, err := tt.m.Append(nil); err != nil || !bytes.Equal(got, wire(t, tt.want...)) {
			t.Errorf("%+v is % x, %v; want % x", tt.m, got, err, wire(t, tt.want...))
		}
	}
}

func TestWhatDoesNotFitIsNotSent(t *testing.T) {
	t.Parallel()
	long, host := redact.New(strings.Repeat("t", 256)), strings.Repeat("h", 256)
	fits, hostFits := redact.New(strings.Repeat("t", 255)), host[:255]
	tests := []struct {
		m     message
		fault error // nil: it fits
	}{
		{Auth{Token: long}, ErrTooLong},
		{Auth{Token: fits}, nil},
		{AuthResponse{OK: true, Token: long}, ErrTooLong},
		{AuthResponse{OK: true, Token: fits}, nil},
		{Connector{Token: long, Op: OpAdd}, ErrTooLong},
		{Connector{Token: fits, Op: OpAdd}, nil},
		{Connector{}, ErrOp},
		{Connector{Op: 3}, ErrOp},
		{ConnectorResponse{OK: true, Token: long}, ErrTooLong},
		{ConnectorResponse{OK: true, Token: fits}, nil},
		{Connect{Proto: TCP, Host: host}, ErrTooLong},
		{Connect{Proto: TCP, Host: hostFits}, nil},
		{Connect{}, ErrProto},
		{Connect{Proto: 3}, ErrProto},
		{Data{Proto: UDP, Source: Endpoint{Host: []byte(host)}}, ErrTooLong},
		{Data{Proto: UDP, Target: Endpoint{Host: []byte(host)}}, ErrTooLong},
		{Data{Proto: UDP, Source: Endpoint{Host: []byte(hostFits)}, Target: Endpoint{Host: []byte(hostFits)}}, nil},
		{Data{}, ErrProto},
		{Data{Proto: 3}, ErrProto},
		{Data{Proto: TCP, Payload: make([]byte, MaxMessage)}, ErrTooLarge},
		{Log{Text: strings.Repeat("x", maxJSON)}, ErrTooLarge},
		{Direct{Kind: TypeLog}, ErrType},
		{Direct{Kind: 0x0e}, ErrType},
		{Direct{Kind: TypeDirectStatus, JSON: make([]byte, MaxMessage-5)}, ErrTooLarge},
	}
	for _, tt := range tests {
		got, err := tt.m.Append([]byte("dst"))
		if tt.fault == nil {
			if err != nil {
				t.Errorf("%T: %v", tt.m, err)
			}
			continue
		}
		if wantFault(t, err, tt.m.Type(), tt.fault); string(got) != "dst" {
			t.Errorf("%T: dst is %q after an error", tt.m, got)
		}
	}
	if _, _, err := (Data{}).Envelope(nil); err == nil {
		t.Error("an envelope for no protocol")
	}
}

func TestTheLongestDataIsOneThatPeersRead(t *testing.T) {
	t.Parallel()
	host := Endpoint{Host: make([]byte, 255)}
	m := Data{Proto: UDP, Payload: make([]byte, MaxMessage-MaxEnvelope), Source: host, Target: host}
	header, trailer, err := m.Envelope(nil)
	if n := len(header) + len(m.Payload) + len(trailer); err != nil || n != MaxMessage {
		t.Errorf("its length is %d, %v", n, err)
	}
}

func TestLongCausesAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	a := strings.Repeat("a", 300)
	tests := []struct {
		text string
		want int
	}{
		{"", 0}, {a[:254], 254}, {a[:255], 255}, {a[:256], 255}, {a, 255},
		{a[:253] + "é", 255}, {a[:254] + "é", 254}, {a[:255] + "é", 255},
		{a[:252] + "日本", 255}, {a[:253] + "日", 253}, {a[:254] + "日", 254},
		{a[:251] + "😀😀", 255}, {a[:252] + "😀", 252}, {a[:253] + "😀", 253}, {a[:254] + "😀", 254},
		{strings.Repeat("\x80", 300), 255}, // not UTF-8
	}
	for _, tt := range tests {
		for _, m := range []message{
			AuthResponse{Cause: tt.text}, ConnectResponse{Cause: tt.text}, ConnectorResponse{Cause: tt.text}, Disconnect{Cause: tt.text},
		} {
			msg, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := new(Decoder).Decode(msg)
			if err != nil {
				t.Fatal(err)
			}
			cause := reflect.ValueOf(got).Elem().FieldByName("Cause").String()
			if cause != tt.text[:tt.want] || utf8.ValidString(cause) != utf8.ValidString(tt.text) {
				t.Errorf("%T: %d bytes became %d, want %d: %q", m, len(tt.text), len(cause), tt.want, cause)
			}
		}
	}
}

func TestAnEnvelopeAndItsPayloadAreTheMessage(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		m := randomData(r)
		want, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, dataHeader, MaxEnvelope} {
			header, trailer, err := m.Envelope(make([]byte, size))
			if got := slices.Concat(header, m.Payload, trailer); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got % x, %v; want % x", got, err, want)
			}
			if len(trailer) != 0 && m.Proto == TCP {
				t.Fatalf("tcp has the trailer % x", trailer)
			}
			if grown := append(header, "xx"...); !bytes.Equal(slices.Concat(header, m.Payload, trailer), want) {
				t.Fatalf("the header grew into the trailer: % x", grown)
			}
		}
	}
}

func randomText(r *rand.Rand, limit int) string {
	b := make([]byte, r.IntN(limit+1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func randomID(r *rand.Rand) (id uuid.UUID) {
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	return id
}

func randomData(r *rand.Rand) *Data {
	m := &Data{Proto: Proto(1 + r.IntN(2)), Channel: randomID(r), Payload: []byte(randomText(r, 2000))}
	if m.Proto == UDP {
		m.Source = Endpoint{Host: []byte(randomText(r, 255)), Port: uint16(r.Uint32())}
		m.Target = Endpoint{Host: []byte(randomText(r, 255)), Port: uint16(r.Uint32())}
	}
	return m
}

// randomMessage makes a message of any type, with nothing set that is not sent.
func randomMessage(r *rand.Rand) message {
	ok := r.IntN(2) == 0
	cause, token := "", redact.New(randomText(r, 255))
	if !ok {
		cause, token = token.Reveal(), redact.Secret{}
	}
	switch Type(1 + r.IntN(13)) {
	case TypeAuth:
		return &Auth{Token: redact.New(randomText(r, 255)), Reverse: ok, Instance: randomID(r)}
	case TypeAuthResponse:
		return &AuthResponse{OK: ok, Cause: cause, Token: token}
	case TypeConnect:
		if ok {
			return &Connect{Proto: UDP, Channel: randomID(r)}
		}
		return &Connect{Proto: TCP, Channel: randomID(r), Host: cause, Port: uint16(r.Uint32())}
	case TypeData:
		return randomData(r)
	case TypeConnectResponse:
		return &ConnectResponse{OK: ok, Channel: randomID(r), Cause: cut(cause)}
	case TypeDisconnect:
		return &Disconnect{Channel: randomID(r), Cause: cause}
	case TypeConnector:
		return &Connector{Request: randomID(r), Token: token, Op: Op(1 + r.IntN(2))}
	case TypeConnectorResponse:
		return &ConnectorResponse{Request: randomID(r), OK: ok, Cause: cause, Token: token}
	case TypeLog:
		return &Log{Level: "warn", Text: strings.ToValidUTF8(randomText(r, 1000), "\u2028<&>\"\\")}
	case TypePartners:
		return &Partners{Count: int(r.Uint64())}
	}
	return &Direct{Kind: TypeDirectCapabilities + Type(r.IntN(3)), JSON: []byte(randomText(r, 1000))}
}

func TestWhatIsSentIsWhatIsRead(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	d := new(Decoder)
	for range 1500 {
		want := randomMessage(r)
		msg, err := want.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Decode(msg)
		if err != nil || !equal(got, want) {
			t.Fatalf("sent %+v, read %+v, %v", want, got, err)
		}
		if h, err := Peek(msg); err != nil || h != channelOf(want) {
			t.Fatalf("sent %+v, peeked %+v, %v", want, h, err)
		}
	}
}

// equal compares messages; that there are no bytes can be said in two ways.
func equal(a, b Message) bool {
	x, isData := a.(*Data)
	y, also := b.(*Data)
	if !isData || !also {
		return reflect.DeepEqual(a, b)
	}
	same := func(a, b Endpoint) bool { return bytes.Equal(a.Host, b.Host) && a.Port == b.Port }
	return x.Proto == y.Proto && x.Channel == y.Channel && bytes.Equal(x.Payload, y.Payload) &&
		same(x.Source, y.Source) && same(x.Target, y.Target)
}

func TestAConnectNamesItsTarget(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]Connect{
		"[2001:db8::1]:22": {Host: "2001:db8::1", Port: 22},
		"example.com:80":   {Host: "example.com", Port: 80},
		":0":               {},
	} {
		if got := m.Address(); got != want {
			t.Errorf("%+v is %s, want %s", m, got, want)
		}
	}
}
