package native

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/adit-tunnel/adit/internal/link/flow"
)

const (
	// maxLinkHeld and maxHeld are how many bytes may wait for the users of a
	// link, and of all links of the process. The credit of their streams may be
	// for more, if there are very many: every stream begins with some.
	maxLinkHeld = 256 << 20
	maxHeld     = 1 << 30
)

// held is how many bytes wait for the users of the links of this process.
var held atomic.Int64

// holders are the links of this process, for the one of them that holds most to
// be found.
var holders struct {
	mu       sync.Mutex // guards below
	sessions map[*Session]struct{}

	relieving sync.Mutex // of who makes room
}

// hold counts n bytes that wait, or n fewer, and says what the link and the
// process hold then.
func (s *Session) hold(n int) (link, process int64) {
	return s.held.Add(int64(n)), held.Add(int64(n))
}

// enlist has the link be found by who makes room, until leave.
func (s *Session) enlist() {
	holders.mu.Lock()
	defer holders.mu.Unlock()
	if holders.sessions == nil {
		holders.sessions = make(map[*Session]struct{})
	}
	holders.sessions[s] = struct{}{}
}

func (s *Session) leave() {
	holders.mu.Lock()
	defer holders.mu.Unlock()
	delete(holders.sessions, s)
}

// anyRoom is for what credit was given for.
func anyRoom(int) bool { return true }

// receive queues what came for the stream's user.
func (st *Stream) receive(b *flow.Buffer) {
	n := b.Len()
	ours, all := st.s.hold(n)
	if st.Offer(b, anyRoom) == flow.Refused {
		st.s.hold(-n)
		b.Give()
		return
	}
	if ours > maxLinkHeld {
		st.s.relieve()
	}
	if all > maxHeld {
		makeRoom()
	}
}

// makeRoom has the link that holds most relieved: whose bytes were the last of
// too many says nothing about whose are too many.
func makeRoom() {
	if !holders.relieving.TryLock() {
		return // somebody does, and a reader waits for nobody
	}
	defer holders.relieving.Unlock()
	if held.Load() <= maxHeld {
		return // somebody did
	}
	var fullest *Session
	most := int64(0)
	holders.mu.Lock()
	for s := range holders.sessions {
		if n := s.held.Load(); n > most {
			fullest, most = s, n
		}
	}
	holders.mu.Unlock()
	if fullest != nil {
		fullest.relieve()
	}
}

var errTooMuch = errors.New("too much waits for the users of links")

// relieve ends the stream for which most is held.
func (s *Session) relieve() {
	var fullest *Stream
	most := 0
	s.mu.Lock()
	for _, st := range s.streams {
		if n := st.State().Waiting; n > most {
			fullest, most = st, n
		}
	}
	s.mu.Unlock()
	if fullest != nil {
		s.cfg.Count("receiver_too_slow")
		fullest.kill(errTooMuch, Failed)
	}
}
