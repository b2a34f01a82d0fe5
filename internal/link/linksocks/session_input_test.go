package linksocks

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
)

// Each is a message after which stock peers end the link, too.
var malformed = map[string]struct {
	wire   []string
	reason string
}{
	"nothing":                               {nil, "short"},
	"a version alone":                       {[]string{"01"}, "short"},
	"another major version":                 {[]string{"11 06", chanID}, "version"},
	"a connect without a channel":           {[]string{"01 03 01"}, "short"},
	"a connect without a port":              {[]string{"01 03 01", chanID, "01 61"}, "short"},
	"a data without a length":               {[]string{"01 04 01", chanID, "00 00 00"}, "short"},
	"a data longer than its message":        {[]string{"01 04 01", chanID, "00 00 00 00 05", "61 62"}, "short"},
	"a large data longer than its message":  {[]string{"01 04 01", chanID, "00 7f ff ff ff", "61 62"}, "short"},
	"a data of 4 GiB":                       {[]string{"01 04 01", chanID, "00 ff ff ff ff", "61 62"}, "short"},
	"a datagram without a trailer":          {[]string{"01 04 02", chanID, "00 00 00 00 01", "61"}, "short"},
	"a datagram with half a trailer":        {[]string{"01 04 02", chanID, "00 00 00 00 01", "61", "00 0000"}, "short"},
	"a bad gzip":                            {[]string{"01 04 01", chanID, "01 00 00 00 02", "61 62"}, "gzip"},
	"a gzip longer than its message":        {[]string{"01 04 01", chanID, "01 00 00 00 05", "61 62"}, "short"},
	"a failed answer without a cause":       {[]string{"01 05 00", chanID}, "short"},
	"an answer without a channel":           {[]string{"01 05 01"}, "short"},
	"a disconnect without a channel":        {[]string{"01 06"}, "short"},
	"a disconnect with half a cause":        {[]string{"01 06", chanID, "05 61"}, "short"},
	"a connector with another operation":    {[]string{"01 07", chanID, "00 03"}, "op"},
	"a failed connector response, no cause": {[]string{"01 08", chanID, "00"}, "short"},
	"a log that is no JSON":                 {[]string{"01 09 00 00 00 01 7b"}, "json"},
	"a log longer than its message":         {[]string{"01 09 00 00 00 05 7b 7d"}, "short"},
	"partners that are no number":           {[]string{"01 0a 00 00 00 0d 7b 22 63 6f 75 6e 74 22 3a 22 78 22 7d"}, "json"},
}

func TestAMalformedMessageEndsTheLinkAndIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, bad := range malformed {
			e, p := byHand(t, false, link.Config{Dial: serving(echo)})
			channel := p.open()
			st, _ := opened(t, e, p)
			msg := bytes.ReplaceAll(wire(t, bad.wire...), id[:], channel[:])
			p.sayBytes(msg)
			<-e.over
			var m *MessageError
			if !errors.As(e.err, &m) || m.Reason() != bad.reason {
				t.Errorf("%s: the link ended with %v", name, e.err)
			}
			if n := e.counts.of("message_" + bad.reason); n != 1 {
				t.Errorf("%s: counted %d times", name, n)
			}
			wantFailure(t, st, link.ErrLost)
		}
	})
}

// What is none of our business, or late, or not meant for this role.
func harmless(t *testing.T) map[string][]byte {
	text := func(msg []byte, behind string) []byte { return append(msg, behind...) }
	stranger := uuid.New()
	long := make([]byte, 3<<20)
	direct := func(kind Type) []byte { return encoded(t, Direct{Kind: kind, JSON: long}) }
	list := map[string][]byte{
		"an unknown type":                    {Version, 0x0e},
		"an unknown type of type 0":          {Version, 0x00, 1, 2, 3},
		"the last type":                      {Version, 0xff},
		"a long unknown type":                append([]byte{Version, 0x42}, long...),
		"direct capabilities":                direct(TypeDirectCapabilities),
		"a direct rendezvous":                direct(TypeDirectRendezvous),
		"a direct status":                    direct(TypeDirectStatus),
		"a direct message that is no JSON":   {Version, byte(TypeDirectStatus), 0, 0, 0, 9, 1},
		"an auth":                            encoded(t, Auth{}),
		"an auth response":                   encoded(t, AuthResponse{}),
		"an answer for nobody":               encoded(t, ConnectResponse{Channel: stranger, Cause: "no"}),
		"data for nobody":                    encoded(t, Data{Proto: TCP, Channel: stranger, Payload: long}),
		"no data for nobody":                 encoded(t, Data{Proto: TCP, Channel: stranger}),
		"compressed data for nobody":         zipped(stranger, long),
		"a datagram for nobody":              encoded(t, Data{Proto: UDP, Channel: stranger, Payload: []byte("x")}),
		"a datagram in a stream's channel":   encoded(t, Data{Proto: UDP, Channel: id, Payload: []byte("x")}),
		"data of no known protocol":          append(append([]byte{Version, byte(TypeData), 9}, stranger[:]...), 0, 0, 0, 0, 0),
		"an end of nobody":                   encoded(t, Disconnect{Channel: stranger, Cause: "EOF"}),
		"a disconnect with bytes behind":     text(encoded(t, Disconnect{Channel: stranger, Cause: "x"}), "more"),
		"a log with bytes behind":            text(encoded(t, Log{Text: "x"}), "more"),
		"another minor version":              {0x0f, byte(TypePartners), 0, 0, 0, 2, '{', '}'},
		"an answer to what the peer opened":  encoded(t, ConnectResponse{Channel: id, Cause: "no"}),
		"a yes to what the peer opened":      encoded(t, ConnectResponse{OK: true, Channel: id}),
		"a log of nearly 64 KiB":             encoded(t, Log{Text: string(bytes.Repeat([]byte{'x'}, 65000))}),
		"partners below zero":                encoded(t, Partners{Count: -1}),
		"direct status with nothing in it":   {Version, byte(TypeDirectStatus)},
		"a connector response without token": encoded(t, ConnectorResponse{OK: true}),
	}
	return list
}

func TestWhatIsNotForUsIsIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, msg := range harmless(t) {
			e, p := byHand(t, false, link.Config{Dial: serving(echo)})
			channel := p.open()
			msg = bytes.ReplaceAll(msg, id[:], channel[:])
			p.sayBytes(msg)
			if len(msg) < 100<<10 {
				p.sayInFragments(msg)
			}
			p.data(channel, []byte("still there"))
			synctest.Wait()
			select {
			case m := <-p.heard:
				if d, ok := m.(*Data); !ok || string(d.Payload) != "still there" {
					t.Errorf("%s: heard %+v", name, m)
				}
			case <-e.over:
				t.Errorf("%s: the link ended: %v", name, e.err)
			}
			e.Close()
			<-e.over
		}
	})
}

func TestWhatIsNotForUsIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		p.say(Auth{})
		p.sayBytes([]byte{Version, 0x42})
		p.data(uuid.New(), []byte("x"))
		p.sayBytes(zipped(uuid.New(), []byte("x")))
		p.say(Data{Proto: UDP, Channel: uuid.New()})
		synctest.Wait()
		for event, want := range map[string]int{"message_role": 1, "message_unknown": 1, "data_unknown_channel": 3} {
			if n := e.counts.of(event); n != want {
				t.Errorf("%s is counted %d times, want %d", event, n, want)
			}
		}
	})
}

func TestAMessageThatIsTooLongEndsTheLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		p.raw.Write([]byte{0x82, 0xff, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0}) // 32 MiB and a byte
		<-e.over
		var bad *ws.ProtocolError
		if !errors.As(e.err, &bad) || bad.Code != ws.CodeTooBig {
			t.Errorf("the link ended with %v", e.err)
		}
	})
}

// Not parallel: it measures memory.
func TestAMessageThatMayNotBeLongIsNotReadWhole(t *testing.T) {
	for name, head := range map[string][]byte{
		"log":      {Version, byte(TypeLog), 0x01, 0xe0, 0, 0},
		"partners": {Version, byte(TypePartners), 0x01, 0xe0, 0, 0},
		"connect":  append([]byte{Version, byte(TypeConnect), 1}, make([]byte, 19)...),
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			ended := make(chan error, 1)
			s := New(ws.New(near, nil, ws.Config{}), link.Config{})
			go func() { ended <- s.Run(t.Context()) }()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const size = 31 << 20
			go func() {
				_, _ = far.Write(append([]byte{0x82, 0xff, 0, 0, 0, 0, 0x01, 0xf0, 0, 0, 0, 0, 0, 0}, head...))
				chunk := make([]byte, 64<<10)
				for n := 0; n < size; n += len(chunk) {
					if _, err := far.Write(chunk); err != nil {
						return
					}
				}
			}()
			err := <-ended
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("the link ended with %v", err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
			far.Close()
		})
	}
}

// A TLS connection that is cut ends with the error by which io.ReadFull says
// that there was less than wanted.
type tlsCut struct{ net.Conn }

func (c tlsCut) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestACutLinkIsNotTakenForTheEndOfAMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, cut := range map[string]struct {
			m    message
			last int // bytes that do not arrive
		}{
			"a disconnect without the cause that makes it an error": {Disconnect{Channel: id, Cause: "aborted"}, 1 + len("aborted")},
			"half of a payload": {Data{Proto: TCP, Channel: id, Payload: []byte("whole")}, 3},
		} {
			near, far := net.Pipe()
			e := run(t, tlsCut{near}, true, link.Config{})
			go io.Copy(io.Discard, far)
			c, err := e.DialEarly(t.Context(), "tcp", "target:80")
			must(t, err)
			st := c.(*Stream)
			_, err = far.Write(appendFrame(nil, 0x82, encoded(t, ConnectResponse{OK: true, Channel: st.id}), false))
			must(t, err)
			msg := appendFrame(nil, 0x82, bytes.ReplaceAll(encoded(t, cut.m), id[:], st.id[:]), false)
			_, err = far.Write(msg[:len(msg)-cut.last])
			must(t, err)
			synctest.Wait()
			far.Close()
			<-e.over
			var bad *MessageError
			if errors.As(e.err, &bad) {
				t.Errorf("%s: the link ended with %v", name, e.err)
			}
			if _, err := st.Read(make([]byte, 10)); !errors.Is(err, link.ErrLost) {
				t.Errorf("%s: read: %v", name, err)
			}
		}
	})
}
