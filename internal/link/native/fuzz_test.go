package native

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/redact"
)

// seeds are frames of every type, as an honest peer sends them.
func seeds() [][]byte {
	return [][]byte{
		Hello{Role: User, Token: redact.New("token")}.Append(nil), bare(typeWelcome, 0), verdict{InvalidToken, "no"}.append(nil, typeRefused, 0),
		opening{kind: openTCP, host: "target", port: 80, early: []byte("early")}.append(nil, 1), opening{kind: openUDP}.append(nil, 3),
		bare(typeAccept, 2), data(1, []byte("hello")), window(1, 65536), bare(typeFin, 1), reset(1, Refused, "words"),
		datagram{"192.0.2.1", 53, []byte("abcd")}.append(nil, 3), goAway{2, verdict{GoingAway, "words"}}.append(nil),
		wish{1, opAdd, "token"}.append(nil, typeConnector), wish{1, 1, "token"}.append(nil, typeConnectorResult),
		appendNumber(nil, typePartners, 0, 3), line{1, "hi"}.append(nil), frame(0x80, 5, []byte("extension")),
	}
}

// FuzzFrames decodes anything. What can be decoded, and says nothing that is
// ignored, is encoded again to the same bytes.
func FuzzFrames(f *testing.F) {
	for _, frame := range seeds() {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		h, p := parseHeader(b), b[headerSize:]
		if h.check() != nil || h.length != len(p) {
			return
		}
		if again, exact := decodeAny(h, p); exact && !bytes.Equal(again, b) {
			t.Errorf("% x\nwas encoded to\n% x", b, again)
		}
	})
}

// decodeAny decodes what may have come, and encodes it again. exact says that
// nothing of it is ignored.
func decodeAny(h header, p []byte) (again []byte, exact bool) {
	switch h.kind {
	case typeHello:
		m, err := decodeHello(p)
		return m.Append(nil), err == nil && len(m.Token.Reveal()) == len(p)-18
	case typeRefused, typeReset:
		return decodeVerdict(p).append(nil, h.kind, h.stream), utf8.Valid(p[1:]) && len(p) <= 256
	case typeOpen:
		m, err := decodeOpening(p)
		return m.append(nil, h.stream), err == nil
	case typeDatagram:
		m, err := decodeDatagram(p)
		return m.append(nil, h.stream), err == nil
	case typeGoAway:
		return decodeGoAway(p).append(nil), utf8.Valid(p[5:])
	case typeConnector, typeConnectorResult:
		return decodeWish(p).append(nil, h.kind), true
	case typeWindow, typePartners:
		return appendNumber(nil, h.kind, h.stream, binary.BigEndian.Uint32(p)), true
	case typeLog:
		return decodeLine(p).append(nil), utf8.Valid(p[1:])
	case typeAccept, typeFin:
		return bare(h.kind, h.stream), true
	}
	return nil, false
}

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
	all := seeds()
	f.Add(script(all[3:]...), false)
	f.Add(script(bytes.Join(all[3:], nil)), false)
	f.Add(script(all...), true)
	f.Add(script(bare(typeAccept, 1), data(1, []byte("x")), bare(typeFin, 1), bare(typeAccept, 3), datagram{"192.0.2.1", 53, nil}.append(nil, 3)), true)
	f.Add(script(bare(typeAccept, 2), window(2, 1<<20), reset(2, Failed, ""), data(2, []byte("x"))), false)
	f.Add(script(all[3], all[6], all[8], all[6]), false)
	f.Fuzz(func(t *testing.T, messages []byte, client bool) {
		synctest.Test(t, func(t *testing.T) { fuzzSession(t, messages, client) })
	})
}

func fuzzSession(t *testing.T, messages []byte, client bool) {
	begun := time.Now()
	e, p := byHand(t, client, link.Config{Dial: serving(echo), UDP: &udpSite{}})
	c, err := e.DialEarly(t.Context(), "tcp", "target:80")
	must(t, err)
	go func() {
		if a, err := e.Associate(t.Context()); err == nil {
			_ = a.Await()
			_ = a.Close()
		}
	}()
	go func() { _, _ = io.Copy(io.Discard, c) }()
	go func() { _, _ = c.Write(zeros(100000)) }()
	synctest.Wait()
	for len(messages) > 0 {
		var msg []byte
		msg, messages = next(messages)
		if p.conn.WriteMessage(ws.Binary, msg) != nil {
			break
		}
	}
	synctest.Wait()
	p.all()
	e.mu.Lock()
	id := e.highest + 2
	if e.highest == 0 {
		id = p.next
	}
	e.mu.Unlock()
	if id > 2 || id == p.next { // numbers are left
		p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, id))
		frames := p.all()
		select {
		case <-p.over: // the link has ended
		default: // it goes on, and serves
			if len(frames) == 0 || frames[len(frames)-1].kind != typeAccept {
				t.Errorf("a new stream is not opened, but %v", frames)
			}
		}
	}
	_ = c.Close()
	e.Close()
	<-e.over
	wantNothingLeft(t, e)
	if d := time.Since(begun); d > time.Second {
		t.Errorf("it took %v", d)
	}
}
