package linksocks

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for _, v := range vectors {
		f.Add(wire(f, v.wire...))
	}
	f.Add(gzipped(deflated(f, minInflated)))
	f.Add(gzipped(deflated(f, minInflated+1)))
	f.Add(gzipped(claiming(deflated(f, minInflated+1), 9)))
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := bytes.Clone(msg)
		d := &Decoder{MaxInflated: minInflated}
		m, err := d.Decode(msg)
		if !bytes.Equal(msg, before) {
			t.Fatal("decoding changed the message")
		}
		head, peekErr := Peek(msg)
		if err != nil {
			wantKnownFault(t, err)
			if m != nil {
				t.Errorf("%+v came with the error %v", m, err)
			}
			return
		}
		if want := channelOf(m); peekErr != nil || head.Channel != want.Channel || head.Type != want.Type || head.Proto != want.Proto {
			t.Errorf("peeked %+v, %v of %+v", head, peekErr, m)
		}
		if data, ok := m.(*Data); ok {
			checkPayload(t, data, msg)
		}
		checkRewritten(t, m)
	})
}

func wantKnownFault(t *testing.T, err error) {
	t.Helper()
	var m *MessageError
	if !errors.As(err, &m) || m.Reason() == "other" {
		t.Errorf("error %v has no reason", err)
	}
}

// checkPayload sees to it that a payload is no larger than it may be.
func checkPayload(t *testing.T, m *Data, msg []byte) {
	t.Helper()
	limit := len(msg)
	if m.Inflated {
		limit = minInflated
	}
	if len(m.Payload) > limit || cap(m.Payload) != len(m.Payload) {
		t.Errorf("a payload of %d bytes in %d came from a message of %d", len(m.Payload), cap(m.Payload), len(msg))
	}
}

// checkRewritten writes what was read and reads it again.
func checkRewritten(t *testing.T, m Message) {
	t.Helper()
	a, ok := m.(message)
	if !ok {
		if m.Type().String() != "unknown" {
			t.Errorf("%+v cannot be written", m)
		}
		return
	}
	msg, err := a.Append(nil)
	if err != nil {
		wantKnownFault(t, err)
		var proto Proto
		switch m := m.(type) {
		case *Connect:
			proto = m.Proto
		case *Data:
			proto = m.Proto
		case *Log: // escaped, it may have become too long
			return
		}
		if !errors.Is(err, ErrProto) || proto.known() {
			t.Errorf("%+v was read, and is not written: %v", m, err)
		}
		return
	}
	again, err := new(Decoder).Decode(msg)
	if err != nil || !equal(again, m) {
		t.Errorf("%+v was written % x and read %+v, %v", m, msg, again, err)
	}
}

func FuzzDecodeAuth(f *testing.F) {
	for _, v := range vectors {
		f.Add(wire(f, v.wire...))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		auth, err := DecodeAuth(msg)
		if err != nil {
			wantKnownFault(t, err)
			if auth != (Auth{}) {
				t.Errorf("%+v came with the error %v", auth, err)
			}
		} else {
			if m, err := new(Decoder).Decode(msg); err != nil || !reflect.DeepEqual(m, &auth) {
				t.Errorf("%+v is read %+v, %v behind the gate", auth, m, err)
			}
			checkRewritten(t, &auth)
		}
		if len(msg) > MaxAuth && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrUnexpected) && !errors.Is(err, ErrVersion) {
			t.Errorf("%d bytes: %v", len(msg), err)
		}
		response, err := DecodeAuthResponse(msg)
		if err != nil {
			wantKnownFault(t, err)
			if response != (AuthResponse{}) {
				t.Errorf("%+v came with the error %v", response, err)
			}
		} else {
			checkRewritten(t, &response)
		}
	})
}
