package native

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// model is what a session has to be like.
type model struct {
	t                  *testing.T
	e                  *end
	p                  *peer
	dialled            chan chan error // of each stream that the peer opens: how its dial ends
	targets            chan *memnet.Conn
	streams            []*twin
	ourNext, theirNext uint32
	others             int // bytes of the link's credit that are given to nobody
}

// twin is what a stream has to be like.
type twin struct {
	m                *model
	id               uint32
	ours             bool
	st               *Stream
	gate             chan error    // of theirs, until it is answered
	target           *memnet.Conn  // of theirs, when it is
	took             *bytes.Buffer // what the target has read
	answered, closed bool
	gotFin, sentFin  bool
	broken           bool // by a RESET from either end
	mayCome, maySend int
	waiting          int // bytes that came and that the user has not taken
	comes, goes      counter

	// What was heard, and what has to have been.
	heardAccept, heardFin, heardReset bool
	heardBytes, wroteBytes            int
	wantReset                         bool
}

// counter gives and checks the bytes of one direction.
type counter struct{ gave, checked int }

func (c *counter) next(n int) []byte {
	b := pattern(c.gave, n)
	c.gave += n
	return b
}

func (c *counter) check(b []byte) bool {
	c.checked += len(b)
	return bytes.Equal(b, pattern(c.checked-len(b), len(b)))
}

func pattern(at, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((at + i) * 31 >> 3)
	}
	return b
}

func (s *twin) over() bool { return s.broken || s.closed || s.gotFin && s.sentFin }

func newModel(t *testing.T, client bool, others int) *model {
	m := &model{t: t, others: others, dialled: make(chan chan error, 1), targets: make(chan *memnet.Conn, 1), ourNext: 2, theirNext: 1}
	if client {
		m.ourNext, m.theirNext = 1, 2
	}
	m.e, m.p = byHand(t, client, link.Config{Dial: func(ctx context.Context, _, _ string) (pipe.Conn, error) {
		gate := make(chan error, 1)
		m.dialled <- gate
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-gate:
			if err != nil {
				return nil, err
			}
		}
		n := memnet.New()
		n.SetBuffer(64 << 20)
		near, far := n.Pair()
		m.targets <- far
		return near, nil
	}})
	m.p.net.SetBuffer(64 << 20)
	m.e.windows.spend(int64(others))
	return m
}

func (m *model) dial() {
	c, err := m.e.DialEarly(m.t.Context(), "tcp", "target:80")
	if err != nil {
		m.t.Error(err)
		return
	}
	m.streams = append(m.streams, &twin{m: m, id: m.ourNext, ours: true, st: c.(*Stream), mayCome: initialWindow, maySend: initialWindow})
	m.ourNext += 2
}

// userDoes is what the user of a stream of ours does.
func (m *model) userDoes(s *twin, a act) {
	if s.closed {
		return
	}
	switch a.What {
	case "write":
		b := pattern(s.goes.gave, s.maySend*a.Amount/100)
		n, err := s.st.Write(b)
		if ended := s.broken || s.sentFin; len(b) > 0 && ended != (err != nil) || n > 0 && ended {
			m.t.Errorf("stream %d: wrote %d, %v", s.id, n, err)
		}
		s.goes.gave += n
		s.maySend, s.wroteBytes = s.maySend-n, s.wroteBytes+n
	case "read":
		m.read(s, s.waiting*a.Amount/100)
	case "closeWrite":
		if err := s.st.CloseWrite(); (err != nil) != (s.broken || s.sentFin) {
			m.t.Errorf("stream %d: CloseWrite: %v", s.id, err)
		}
		if !s.broken {
			s.sentFin = true
		}
	case "close":
		if err := s.st.Close(); err != nil {
			m.t.Error(err)
		}
		s.wantReset = s.wantReset || !s.broken && !(s.gotFin && s.sentFin && s.waiting == 0)
		s.closed = true
	}
}

// read reads what has come, or the end or the error behind it.
func (m *model) read(s *twin, n int) {
	b := make([]byte, max(n, 1))
	switch {
	case s.broken:
		_, err := s.st.Read(b)
		if broken, ok := errors.AsType[*BrokenError](err); !ok || broken.Reason != Refused {
			m.t.Errorf("stream %d: read %v", s.id, err)
		}
	case s.waiting > 0:
		n, err := io.ReadFull(s.st, b)
		if err != nil || !s.comes.check(b) {
			m.t.Errorf("stream %d: read %d, %v", s.id, n, err)
		}
		s.waiting -= n
	case s.gotFin:
		if n, err := s.st.Read(b); n != 0 || err != io.EOF {
			m.t.Errorf("stream %d: read %d, %v", s.id, n, err)
		}
	}
}

// targetDoes is what the target of a stream of theirs does.
func (m *model) targetDoes(s *twin, a act) {
	switch {
	case s.over():
	case !s.answered && a.What == "answer":
		s.gate <- nil
		s.target, s.took, s.answered = <-m.targets, new(bytes.Buffer), true
	case !s.answered && a.What == "refuse":
		s.gate <- &site.DialError{Reason: site.Refused, Address: "target:80", Err: syscall.ECONNREFUSED}
		s.broken, s.wantReset = true, true
	case !s.answered || s.sentFin:
	case a.What == "say":
		n, _ := s.target.Write(pattern(s.goes.gave, s.maySend*a.Amount/100))
		s.goes.gave += n
		s.maySend, s.wroteBytes = s.maySend-n, s.wroteBytes+n
	case a.What == "end":
		_ = s.target.CloseWrite()
		s.sentFin = true
	case a.What == "break":
		_, _ = s.target.SetLinger(0), s.target.Close()
		s.broken, s.wantReset = true, true
	}
}

// check wants the session to have said what it had to, and no more.
func (m *model) check(section string) error {
	frames := m.p.all()
	if section != "" {
		time.Sleep(2 * time.Second) // for the closing handshake
	}
	select {
	case <-m.e.over:
		bad, ok := errors.AsType[*Error](m.e.err)
		if !ok || bad.Section != section {
			return fmt.Errorf("the link ended with %v, not with section %q", m.e.err, section)
		}
		return nil
	default:
		if section != "" {
			return fmt.Errorf("the link goes on, not with section %q", section)
		}
	}
	for _, g := range frames {
		if err := m.hear(g); err != nil {
			return err
		}
	}
	for _, s := range m.streams {
		if err := s.check(); err != nil {
			return fmt.Errorf("stream %d: %w", s.id, err)
		}
	}
	return nil
}

// hear wants a frame to be one that the session may send.
func (m *model) hear(g got) error {
	for _, s := range m.streams {
		if s.id != g.stream {
			continue
		}
		if s.heardReset || s.ours && g.kind == typeAccept || !s.ours && g.kind == typeOpen {
			break
		}
		switch g.kind {
		case typeOpen:
			return nil
		case typeAccept:
			again := s.heardAccept
			if s.heardAccept = true; !again {
				return nil
			}
		case typeData:
			if s.heardBytes += len(g.payload); !s.heardFin && (s.ours || s.heardAccept) && s.goes.check(g.payload) {
				return nil
			}
		case typeWindow:
			s.mayCome += int(binary.BigEndian.Uint32(g.payload))
			if !s.gotFin && s.mayCome <= maxWindow {
				return nil
			}
		case typeFin:
			again := s.heardFin
			if s.heardFin = true; !again {
				return nil
			}
		case typeReset:
			s.heardReset = true
			return nil
		}
	}
	return fmt.Errorf("heard %s of stream %d, %d bytes", g.kind, g.stream, len(g.payload))
}

// check wants what was heard of a stream to be all that has to have been.
func (s *twin) check() error {
	if s.took != nil && !s.broken {
		b := make([]byte, 1<<20)
		for have := s.waiting; have > 0; {
			n, err := s.target.Read(b)
			if err != nil || !s.comes.check(b[:n]) {
				return fmt.Errorf("the target read %d, %v", n, err)
			}
			have -= n
			s.waiting -= n
		}
	}
	if !s.closed && !s.broken {
		s.st.mu.Lock()
		window, pending := s.st.window, s.st.pending
		s.st.mu.Unlock()
		if s.gotFin && window != max(s.waiting, initialWindow) {
			return fmt.Errorf("a window of %d after FIN, %d bytes wait", window, s.waiting)
		}
		if !s.gotFin && s.mayCome+s.waiting+pending != window || window > maxWindow || !s.gotFin && 4*pending >= window {
			return fmt.Errorf("%d bytes of credit are open, %d wait, %d are to be given, of a window of %d", s.mayCome, s.waiting, pending, window)
		}
	}
	if s.ours && !s.closed && !s.broken {
		if in := s.st.State(); in.Waiting != s.waiting || in.Ended != s.gotFin {
			return fmt.Errorf("%+v, not %d bytes and %v", in, s.waiting, s.gotFin)
		}
	}
	switch {
	case !s.ours && s.heardAccept != s.answered:
		return fmt.Errorf("ACCEPT: %v", s.heardAccept)
	case s.heardBytes != s.wroteBytes:
		return fmt.Errorf("%d bytes of DATA, not %d", s.heardBytes, s.wroteBytes)
	case s.heardFin != s.sentFin:
		return fmt.Errorf("FIN: %v", s.heardFin)
	case s.heardReset != s.wantReset:
		return fmt.Errorf("RESET: %v", s.heardReset)
	}
	return nil
}

// finish closes all, and wants nothing to be left.
func (m *model) finish() error {
	for _, s := range m.streams {
		if s.ours && !s.closed {
			if err := s.st.Close(); err != nil {
				return err
			}
		}
		if !s.ours {
			m.p.say(reset(s.id, GivenUp, ""))
		}
	}
	synctest.Wait()
	for _, s := range m.streams {
		if s.target != nil {
			_ = s.target.Close()
		}
	}
	m.e.windows.release(m.others)
	wantNothingLeft(m.t, m.e)
	m.e.Close()
	<-m.e.over
	return nil
}
