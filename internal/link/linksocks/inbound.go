package linksocks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/flow"
	"github.com/adit-tunnel/adit/internal/site"
)

// maxPlain is the longest message of those that carry no payload.
const maxPlain = 2 + 4 + maxJSON

// keepBuffer is how long a message may be whose memory is kept for the next.
const keepBuffer = 4 << 10

// inbound is the reading half of a session. All but room is for the goroutine
// that reads.
type inbound struct {
	s        *Session
	room     room
	patience patience
	decoder  Decoder
	head     [dataHeader]byte
	buf      []byte // of a message that is read whole; nil between messages
}

func (in *inbound) init(s *Session) {
	in.s = s
	in.room.freed = make(chan struct{}, 1)
	in.patience = patience{left: maxPatience, at: time.Now()}
}

// read serves messages until the link ends.
func (in *inbound) read(ctx context.Context) error {
	for {
		if _, err := in.s.conn.Next(); err != nil {
			return err
		}
		if err := in.message(ctx); err != nil {
			if bad, ok := errors.AsType[*MessageError](err); ok {
				in.s.cfg.Count("message_" + bad.Reason())
			}
			return err
		}
	}
}

// message reads one message. Payload of a TCP stream, which most of them are,
// is read to where it will wait, and passed on before all of it has come.
func (in *inbound) message(ctx context.Context) error {
	n, err := in.fill(in.head[:])
	short := err == io.EOF
	if err != nil && !short {
		return err
	}
	head := in.head[:n]
	t, _, err := open(head)
	if err != nil {
		return err
	}
	switch {
	case t < TypeAuth || t > TypeDirectStatus:
		in.s.cfg.Count("message_unknown")
		return nil // the next call of Next skips what is left
	case t >= TypeDirectCapabilities:
		return nil
	case t == TypeData:
		if !short && Proto(head[2]) == TCP && head[19] != compGzip {
			return in.payload(uuid.UUID(head[3:19]), int(binary.BigEndian.Uint32(head[20:24])))
		}
	}
	return in.whole(ctx, head, short)
}

// fill reads p full. io.EOF says that the message ended before; what a lost
// link says is another error, also where it is the one that io.ReadFull would
// give for a short message, as that of a TLS connection that was cut is.
func (in *inbound) fill(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = in.s.conn.Read(p[n:])
		n += more
	}
	return n, err
}

// payload reads n bytes for a stream.
func (in *inbound) payload(id uuid.UUID, n int) error {
	st := in.s.stream(id)
	if st == nil && n > 0 {
		in.s.cfg.Count("data_unknown_channel")
	}
	for n > 0 {
		b := flow.Take(n)
		if _, err := in.fill(b.Bytes()); err != nil {
			b.Give()
			if err == io.EOF {
				return &MessageError{Type: TypeData, Err: ErrShort}
			}
			return err
		}
		n -= b.Len()
		in.deliver(st, b)
	}
	return nil
}

// deliver queues payload for a stream, and waits while there is no room for it.
func (in *inbound) deliver(st *Stream, b *flow.Buffer) {
	if st == nil {
		b.Give()
		return
	}
	for {
		switch st.offer(b, &in.room) {
		case flow.Took:
			st.account.cameAt = time.Now()
			return
		case flow.Refused:
			b.Give()
			return
		}
		in.await(st)
	}
}

// whole reads what is left of a message behind its head, and handles it.
func (in *inbound) whole(ctx context.Context, head []byte, short bool) error {
	msg := append(in.buf[:0], head...)
	if !short {
		var err error
		limit := maxPlain
		if head[1] == byte(TypeData) {
			limit = MaxMessage
		}
		if msg, err = in.rest(msg, limit); err != nil {
			return err
		}
	}
	if cap(msg) <= keepBuffer {
		in.buf = msg
	}
	m, err := in.decoder.Decode(msg)
	if err != nil {
		return err
	}
	in.handle(ctx, m)
	return nil
}

// rest appends what is left of a message.
func (in *inbound) rest(msg []byte, limit int) ([]byte, error) {
	for {
		if len(msg) == cap(msg) {
			msg = append(msg, 0)[:len(msg)]
		}
		n, err := in.s.conn.Read(msg[len(msg):cap(msg)])
		msg = msg[:len(msg)+n]
		switch {
		case err == io.EOF:
			return msg, nil
		case err != nil:
			return msg, err
		case len(msg) > limit:
			return msg, &MessageError{Type: Type(msg[1]), Err: ErrTooLarge}
		}
	}
}

// handle does what a message says.
func (in *inbound) handle(ctx context.Context, m Message) {
	s := in.s
	switch m := m.(type) {
	case *Connect:
		s.serve(ctx, m)
	case *Data:
		in.data(m)
		m.Payload = nil // it may be large, and the link idle from now on
	case *ConnectResponse:
		in.connectResponse(m)
	case *Disconnect:
		if st := s.stream(m.Channel); st != nil {
			st.disconnected(m.Cause)
		} else if a := s.association(m.Channel); a != nil {
			a.End()
		}
	case *Connector:
		s.fulfil(m)
	case *ConnectorResponse:
		s.managed(m)
	case *Log:
		s.cfg.Log(m.Level, m.Text)
	case *Partners:
		s.cfg.Partners(m.Count)
	case *Auth, *AuthResponse:
		s.cfg.Count("message_role")
	}
}

// data handles what payload does not: datagrams, and payload that was compressed.
func (in *inbound) data(m *Data) {
	switch m.Proto {
	case UDP:
		in.datagram(m)
	case TCP:
		st := in.s.stream(m.Channel)
		if st == nil && len(m.Payload) > 0 {
			in.s.cfg.Count("data_unknown_channel")
		}
		for rest := m.Payload; len(rest) > 0; {
			b := flow.Take(len(rest))
			rest = rest[copy(b.Bytes(), rest):]
			in.deliver(st, b)
		}
	}
}

func (in *inbound) datagram(m *Data) {
	a := in.s.association(m.Channel)
	switch {
	case a == nil:
		in.s.cfg.Count("data_unknown_channel")
	case a.Served():
		a.Arrived(m.Payload, string(m.Target.Host), m.Target.Port)
	default:
		a.Arrived(m.Payload, string(m.Source.Host), m.Source.Port)
	}
}

// connectResponse is the peer's word on what this end opened.
func (in *inbound) connectResponse(m *ConnectResponse) {
	if a := in.s.association(m.Channel); a != nil && !a.Served() {
		if m.OK {
			a.Answer(nil)
			return
		}
		a.Answer(refusal("udp", m.Cause))
		a.End()
		return
	}
	st := in.s.stream(m.Channel)
	switch {
	case st == nil: // given up meanwhile
	case m.OK:
		st.answer(nil)
	default:
		st.refuse(refusal(st.address, m.Cause))
	}
}

// refusal is the error of a dial that the peer did not do.
func refusal(address, cause string) error {
	return &site.DialError{Reason: FailureReason(cause), Address: address, Err: fmt.Errorf("the peer says %q", cause)}
}
