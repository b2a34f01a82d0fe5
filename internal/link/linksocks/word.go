package linksocks

import (
	"errors"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/site"
)

// Our word on a stream that the peer opened: it is given once, it is the first
// that the peer hears of the stream, and after a no there is nothing to hear.
// Whoever finds it unsaid claims it, and alone sends it; nobody holds a lock
// meanwhile. So who must not wait for the network never does.

var errGivenUp = errors.New("given up before it was open")

// claim takes on to say our word.
func (st *Stream) claim() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.served || st.word != unsaid {
		return false
	}
	st.word = saying
	return true
}

// say gives our word, which was claimed: a yes if err is nil.
func (st *Stream) say(err error, send func(ConnectResponse)) {
	send(response(st.id, err))
	st.mu.Lock()
	farewell := st.farewell
	st.word = yes
	if err != nil {
		st.word = no
	}
	st.mu.Unlock()
	close(st.answered)
	if err == nil && farewell != "" {
		st.tell(farewell)
	}
}

// accept says yes to a stream that the peer opened, if nobody has said anything,
// and returns when our word has left: nothing of ours may be there before it.
func (st *Stream) accept() {
	switch {
	case !st.served:
	case st.claim():
		var err error
		if st.State().Over() {
			err = errGivenUp
		}
		st.say(err, st.s.sendNow)
	default:
		<-st.answered
	}
}

// reject ends a stream whose target cannot be reached, and tells the peer.
func (st *Stream) reject(err error) {
	if st.claim() {
		st.say(err, st.s.sendNow)
	}
	st.kill(err, causeAborted)
}

// kill ends the stream with an error and tells the peer, without waiting: of one
// that the peer opened and has not been told of, that it cannot be opened.
func (st *Stream) kill(err error, cause string) {
	claimed := st.claim() // before those hear of it who would say something else
	first := st.fail(err)
	switch {
	case claimed:
		st.say(err, func(m ConnectResponse) { st.s.send(m) })
	case first:
		st.tell(cause)
	}
}

// tell tells the peer that the stream is over, without waiting. Of one that it
// has had no word of, who gives that tells it.
func (st *Stream) tell(cause string) {
	st.mu.Lock()
	silent := st.served && st.word != yes
	if silent {
		st.farewell = cause
	}
	st.mu.Unlock()
	if !silent {
		st.s.send(Disconnect{Channel: st.id, Cause: cause})
	}
}

// sendNow sends an answer as soon as the link takes it. An error ends the link
// too.
func (s *Session) sendNow(m ConnectResponse) {
	var scratch [1 + 1 + 1 + 16 + 1 + maxText]byte
	msg, _ := m.Append(scratch[:0]) // it can always be encoded
	_ = s.conn.WriteMessage(ws.Binary, msg)
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
