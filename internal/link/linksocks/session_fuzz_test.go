package linksocks

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/redact"
)

// Where these stand in what is fuzzed, there will be the ids of a stream and of
// an association that the session opened.
var (
	streamID      = uuid.UUID(bytes.Repeat([]byte{0x11}, 16))
	associationID = uuid.UUID(bytes.Repeat([]byte{0x22}, 16))
)

// script is messages one behind the other, each behind its length.
func script(messages ...[]byte) (b []byte) {
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

// next takes the next message of a script; a length that is too large means
// all the rest.
func next(b []byte) (msg, rest []byte) {
	if len(b) < 2 {
		return b, nil
	}
	n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
	return b[2 : 2+n], b[2+n:]
}

// FuzzSession has an authenticated peer say anything. The bubble finds what
// blocks, and what is left over.
func FuzzSession(f *testing.F) {
	for _, v := range vectors {
		msg := wire(f, v.wire...)
		f.Add(script(msg), true)
		f.Add(script(msg, bytes.ReplaceAll(msg, id[:], streamID[:]), bytes.ReplaceAll(msg, id[:], associationID[:])), false)
	}
	open := encoded(f, Connect{Proto: TCP, Channel: id, Host: "target", Port: 80})
	data := encoded(f, Data{Proto: TCP, Channel: id, Payload: []byte("hello")})
	end := encoded(f, Disconnect{Channel: id, Cause: "EOF"})
	udp := encoded(f, Connect{Proto: UDP, Channel: id})
	datagram := encoded(f, Data{Proto: UDP, Channel: id, Payload: []byte("hello"), Target: Endpoint{Host: []byte("name"), Port: 53}})
	f.Add(script(open, data, end, end, data, open, data), false)
	f.Add(script(udp, datagram, end, datagram, udp), true)
	f.Add(script(open, udp, datagram, data, zipped(id, make([]byte, 1000)), end), true)
	f.Fuzz(func(t *testing.T, messages []byte, client bool) {
		synctest.Test(t, func(t *testing.T) { fuzzSession(t, messages, client) })
	})
}

func fuzzSession(t *testing.T, messages []byte, client bool) {
	begun := time.Now()
	e, p := byHand(t, client, link.Config{Dial: serving(echo), UDP: &udpSite{}, Manage: func(_ link.Wish, answer func(redact.Secret, string)) { answer(redact.Secret{}, "no") }})
	c, err := e.DialEarly(t.Context(), "tcp", "target:80")
	must(t, err)
	go func() { _, _ = e.Associate(t.Context()) }()
	synctest.Wait()
	go func() { _, _ = io.Copy(io.Discard, c) }()
	stream, association := openedBy(e)
	for len(messages) > 0 {
		var msg []byte
		msg, messages = next(messages)
		msg = bytes.ReplaceAll(msg, streamID[:], stream[:])
		msg = bytes.ReplaceAll(msg, associationID[:], association[:])
		if p.conn.WriteMessage(ws.Binary, msg) != nil {
			break
		}
	}
	synctest.Wait()
	select {
	case <-e.over:
	default:
		wantAnswer(t, e, p)
	}
	_ = c.Close()
	e.Close()
	<-e.over
	synctest.Wait()
	if e.err == nil || e.Streams() != 0 || e.inbound.room.held.Load() != 0 || e.served != 0 {
		t.Errorf("%v; %d streams, %d bytes, %d served are left", e.err, e.Streams(), e.inbound.room.held.Load(), e.served)
	}
	if d := time.Since(begun); d != 0 {
		t.Errorf("it took %v", d)
	}
}

// openedBy gives the ids of what a session opened.
func openedBy(e *end) (stream, association uuid.UUID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for stream = range e.streams {
	}
	for association = range e.associations {
	}
	return stream, association
}

// wantAnswer wants a link that goes on to serve.
func wantAnswer(t *testing.T, e *end, p *peer) {
	t.Helper()
	m := connect("target", 80)
	if p.conn.WriteMessage(ws.Binary, encoded(t, m)) != nil {
		return
	}
	synctest.Wait()
	for {
		select {
		case got := <-p.heard:
			if r, ok := got.(*ConnectResponse); ok && r.Channel == m.Channel && r.OK {
				return
			}
		default:
			t.Errorf("a new channel is not opened (the link ended with %v)", p.err)
			return
		}
	}
}
