package native

import (
	"context"
	"encoding/binary"
	"io"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/redact"
)

// reader reads the frames of a link. It waits for nothing but the peer.
type reader struct {
	s    *Session
	ctx  context.Context // of what is served for the peer
	head [headerSize]byte
	buf  []byte  // of a payload that is read whole; nil between long ones
	last *Stream // whose frame came last: the next is its too, mostly
}

// keepBuffer is how long a payload may be whose memory is kept for the next.
const keepBuffer = 1 << 10

func (r *reader) run() error {
	for {
		op, err := r.s.conn.Next()
		if err != nil {
			return err
		}
		if op != ws.Binary {
			return wrong("1.3", "a message that is not binary")
		}
		if err := r.message(); err != nil {
			return err
		}
	}
}

// errCut: a message ends where a frame does (1.3).
var errCut = wrong("1.3", "a message that ends within a frame")

// message reads the frames of one message.
func (r *reader) message() error {
	if p := r.s.conn.Whole(); p != nil {
		return r.whole(p)
	}
	for frames := 0; ; frames++ {
		n, err := fill(r.s.conn, r.head[:])
		switch {
		case err == io.EOF && n == 0 && frames > 0:
			return nil
		case err == io.EOF:
			return errCut
		case err != nil:
			return err
		}
		h := parseHeader(r.head[:])
		if err := h.check(); err != nil {
			return err
		}
		if h.kind == typeData {
			err = r.data(h)
		} else {
			err = r.other(h)
		}
		if err != nil {
			return err
		}
	}
}

// fill reads p full. io.EOF says that the message ended before; a lost link has
// errors of its own, that of io.ReadFull for a short message among them: a TLS
// connection that was cut gives it.
func fill(conn *ws.Conn, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = conn.Read(p[n:])
		n += more
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// fill reads payload.
func (r *reader) fill(p []byte) error {
	_, err := fill(r.s.conn, p)
	if err == io.EOF {
		return errCut
	}
	return err
}

// whole reads the frames of a message where it lies. Short ones come so.
func (r *reader) whole(p []byte) error {
	for len(p) > 0 {
		if len(p) < headerSize {
			return errCut
		}
		h := parseHeader(p)
		if err := h.check(); err != nil {
			return err
		}
		if p = p[headerSize:]; len(p) < h.length {
			return errCut
		}
		var err error
		switch {
		case h.kind == typeData:
			err = r.short(h, p[:h.length])
		case h.kind < firstExtension:
			err = r.handle(h, p[:h.length])
		}
		if err != nil {
			return err
		}
		p = p[h.length:]
	}
	return nil
}

// short takes payload that is here already: to where the stream's user wants it
// if it waits for that, and else to where it will wait for the user.
func (r *reader) short(h header, p []byte) error {
	st, err := r.find(h)
	if st == nil || err != nil {
		return err
	}
	if wanted, err := st.came(h.length); !wanted {
		r.last = nil
		return err
	}
	n := st.Push(p)
	st.took(n)
	if n < len(p) {
		b := flow.Take(len(p) - n)
		copy(b.Bytes(), p[n:])
		st.receive(b)
	}
	return nil
}

// data reads payload to where it will wait for the stream's user.
func (r *reader) data(h header) error {
	st, err := r.find(h)
	if err != nil {
		return err
	}
	b := flow.Take(h.length)
	if err := r.fill(b.Bytes()); err != nil {
		b.Give()
		return err
	}
	wanted := false
	if st != nil {
		wanted, err = st.came(h.length)
	}
	if !wanted {
		b.Give()
		return err
	}
	st.receive(b)
	return nil
}

// find gives the stream of a frame; nil for one that is gone. One that never was can have none.
func (r *reader) find(h header) (*Stream, error) {
	if r.last != nil && r.last.id == h.stream {
		return r.last, nil
	}
	s := r.s
	s.mu.Lock()
	st := s.streams[h.stream]
	known := st != nil || s.wasLocked(h.stream)
	s.mu.Unlock()
	if !known {
		return nil, wrong("4.7", "%s of stream %d, which never was", h.kind, h.stream)
	}
	if st != nil {
		r.last = st
	}
	return st, nil
}

// wasLocked reports whether a number has been used.
func (s *Session) wasLocked(id uint32) bool {
	if id%2 == s.next%2 {
		return id < s.next
	}
	return id <= s.highest
}

// other reads any other frame.
func (r *reader) other(h header) error {
	if h.kind >= firstExtension {
		_, err := io.CopyN(io.Discard, r.s.conn, int64(h.length))
		if err == io.EOF {
			return errCut
		}
		return err
	}
	if cap(r.buf) < h.length {
		r.buf = make([]byte, h.length)
	}
	p := r.buf[:h.length]
	if err := r.fill(p); err != nil {
		return err
	}
	err := r.handle(h, p)
	if cap(r.buf) > keepBuffer {
		r.buf = nil
	}
	return err
}

func (r *reader) handle(h header, p []byte) error {
	switch h.kind {
	case typeOpen:
		m, err := decodeOpening(p)
		if err != nil {
			return err
		}
		return r.s.serve(r.ctx, h.stream, m)
	case typeAccept, typeWindow, typeFin, typeReset:
		return r.control(h, p)
	case typeDatagram:
		m, err := decodeDatagram(p)
		if err != nil {
			return err
		}
		if a := r.association(h.stream); a != nil {
			a.Arrived(m.payload, m.host, m.port)
			return nil
		}
		_, err = r.find(h)
		return err
	}
	return r.link(h, p)
}

func (r *reader) association(id uint32) *flow.Association {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.associations[id]
}

// control handles what changes the state of a stream or an association.
func (r *reader) control(h header, p []byte) error {
	if a := r.association(h.stream); a != nil {
		switch h.kind {
		case typeAccept:
			a.Answer(nil)
		case typeReset:
			m := decodeVerdict(p)
			a.Answer(m.dialError("udp"))
			a.End()
		case typeFin:
			a.End()
		}
		return nil
	}
	st, err := r.find(h)
	if st == nil || err != nil || st.isOver() {
		return err
	}
	switch h.kind {
	case typeAccept:
		if (st.served || !st.answer(nil)) && !st.isOver() {
			return wrong("4.7", "an ACCEPT that nobody waits for")
		}
	case typeWindow:
		return st.credited(binary.BigEndian.Uint32(p))
	case typeFin:
		return st.said()
	case typeReset:
		st.reset(decodeVerdict(p))
	}
	return nil
}

// link handles frames of the link as a whole.
func (r *reader) link(h header, p []byte) error {
	s := r.s
	switch h.kind {
	case typeGoAway:
		s.goneAway(decodeGoAway(p))
	case typeConnector:
		m := decodeWish(p)
		if m.op != opAdd && m.op != opRemove {
			return wrong("7", "a CONNECTOR of operation %d", m.op)
		}
		s.fulfil(m)
	case typeConnectorResult:
		m := decodeWish(p)
		s.mu.Lock()
		answer := s.wishes[m.request]
		delete(s.wishes, m.request)
		s.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	case typePartners:
		s.cfg.Partners(int(binary.BigEndian.Uint32(p)))
	case typeLog:
		m := decodeLine(p)
		s.cfg.Log(levels[min(int(m.level), len(levels)-1)], m.text)
	default: // HELLO, WELCOME, REFUSED
		return wrong("3", "%s after the greeting", h.kind)
	}
	return nil
}

var levels = [...]string{"debug", "info", "warn", "error"}

// goneAway is the peer's GOAWAY (5.1): streams that it will not look at are
// for another link.
func (s *Session) goneAway(m goAway) {
	var unseen []*Stream
	s.mu.Lock()
	first := !s.away
	s.away = true
	for id, st := range s.streams {
		if !st.served && id > m.last {
			unseen = append(unseen, st)
		}
	}
	var datagrams []*flow.Association
	for id, a := range s.associations {
		if !a.Served() && id > m.last {
			datagrams = append(datagrams, a)
		}
	}
	s.mu.Unlock()
	if first {
		s.cfg.GoAway() // before anybody opens elsewhere what was unseen
	}
	for _, st := range unseen {
		st.reset(verdict{GoingAway, m.text})
	}
	for _, a := range datagrams {
		a.Answer(verdict{GoingAway, m.text}.dialError("udp"))
		a.End()
	}
}

// fulfil has a provider's wish seen to, and answers.
func (s *Session) fulfil(m wish) {
	w := link.Wish{Remove: m.op == opRemove, Token: redact.New(m.text)}
	s.cfg.Manage(w, func(added redact.Secret, refusal string) {
		answer := wish{request: m.request, op: 1, text: added.Reveal()}
		if refusal != "" {
			answer.op, answer.text = 0, cut(refusal, maxText)
		}
		s.out.Send(answer.append(nil, typeConnectorResult))
	})
}
