package linksocks

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

var (
	errNotServed  = errors.New("this peer may not open connections")
	errNoDatagram = errors.New("no datagrams are exchanged for this peer")
	errTooMany    = errors.New("too many connections on this link")
	errDraining   = errors.New("about to end")
	errNoHost     = errors.New("no host")
	errNoPort     = errors.New("no port")
)

// serve does what a peer's Connect asks for. The channel is there when it
// returns, so that data which follows at once finds it.
func (s *Session) serve(ctx context.Context, m *Connect) {
	if err := s.refuse(m); err != nil {
		s.cfg.Count("connect_refused")
		s.respond(m.Channel, err)
		return
	}
	if m.Proto == UDP {
		s.serveDatagrams(ctx, m.Channel)
		return
	}
	st := newStream(s, m.Channel, m.Address())
	st.served = true
	if !s.addServed(st) {
		return
	}
	s.group.Go(func() { s.serveStream(ctx, st) })
}

// refuse says why a Connect is not followed.
func (s *Session) refuse(m *Connect) error {
	var err error
	reason := site.Other
	switch {
	case m.Proto == TCP && s.cfg.Dial == nil:
		reason, err = site.Denied, errNotServed
	case m.Proto == UDP && s.cfg.UDP == nil:
		reason, err = site.Denied, errNoDatagram
	case !m.Proto.known():
		err = fmt.Errorf("%w %d", ErrProto, m.Proto)
	case m.Proto == TCP && m.Host == "": // which package net takes for this machine
		err = errNoHost
	case m.Proto == TCP && m.Port == 0:
		err = errNoPort
	}
	if err == nil {
		s.mu.Lock()
		switch {
		case s.draining:
			err = errDraining
		case s.served >= maxChannels:
			err = errTooMany
		}
		s.mu.Unlock()
	}
	if err == nil {
		return nil
	}
	return &site.DialError{Reason: reason, Address: m.Address(), Err: err}
}

// respond answers a Connect without waiting: with a success if err is nil.
func (s *Session) respond(id uuid.UUID, err error) {
	_ = s.Send(response(id, err)) // it can always be encoded
}

func response(id uuid.UUID, err error) ConnectResponse {
	m := ConnectResponse{OK: err == nil, Channel: id}
	if err != nil {
		m.Cause = FailureText(site.ReasonOf(err), detail(err))
	}
	return m
}

// detail is what the peer is told of an error: its cause, without the address,
// which it knows.
func detail(err error) string {
	if dial, ok := errors.AsType[*site.DialError](err); ok {
		return dial.Err.Error()
	}
	return err.Error()
}

// addServed registers a stream that the peer opened. An id that is in use
// already is the peer's mistake, and the stream that has it goes on.
func (s *Session) addServed(st *Stream) bool {
	s.mu.Lock()
	_, twice := s.streams[st.id]
	_, other := s.associations[st.id]
	ok := !twice && !other && !s.ended
	if ok {
		s.streams[st.id] = st
		s.served++
	}
	s.mu.Unlock()
	if twice || other {
		s.cfg.Count("channel_twice")
	}
	return ok
}

// serveStream carries a stream that the peer opened, to its end.
func (s *Session) serveStream(ctx context.Context, st *Stream) {
	target, err := s.dial(ctx, st)
	var scratch [1 + 1 + 1 + 16 + 1 + maxText]byte
	msg, _ := response(st.id, err).Append(scratch[:0]) // it can always be encoded
	werr := s.conn.WriteMessage(ws.Binary, msg)
	switch {
	case err != nil:
		st.refuse()
	case werr != nil:
		st.Close()
		pipe.Reset(target)
	default:
		_ = pipe.Join(st, target, s.cfg.Meter) // both sides have been told
	}
}

// dial connects to the target. A peer that gives the stream up meanwhile, or is
// lost, ends the dial.
func (s *Session) dial(ctx context.Context, st *Stream) (pipe.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	defer cancel()
	st.OnBreak(func(error) { cancel() })
	defer st.OnBreak(nil)
	return s.cfg.Dial(ctx, "tcp", st.address)
}

// refuse ends a stream whose target could not be reached. The peer has been told.
func (st *Stream) refuse() {
	st.mu.Lock()
	st.closed = true
	n := st.dropLocked()
	st.mu.Unlock()
	st.s.inbound.room.free(n)
	st.s.forget(st)
}
