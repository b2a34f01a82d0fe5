package server

import (
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/lobby"
)

const (
	// firstByteTimeout is how long a connection may take to say anything.
	firstByteTimeout = 10 * time.Second
	// maxStrangers is how many connections may be there that no link was made
	// of. When there are more, who has waited longest must go.
	maxStrangers = 8192
)

// quiet is a listener that gives connections out when they have said their
// first byte, and bounds how many there are before they are taken over by
// somebody else. One that says nothing costs little more than its socket. The
// connections it gives are as they came, not wrapped: a link writes to the
// socket itself.
type quiet struct {
	net.Listener
	lobby *lobby.Lobby
	wait  time.Duration // for the first byte
	count func(event string)
	ready chan net.Conn
	done  chan struct{}
	fail  error // of Accept, for who reads it after done
	group sync.WaitGroup

	mu     sync.Mutex // guards below
	guests map[net.Conn]func() bool
}

func newQuiet(ln net.Listener, wait time.Duration, crowd int, count func(event string)) *quiet {
	q := &quiet{
		Listener: ln, lobby: lobby.New(crowd), wait: wait, count: count,
		ready: make(chan net.Conn), done: make(chan struct{}), guests: make(map[net.Conn]func() bool),
	}
	q.group.Go(q.receive)
	return q
}

// receive lets everybody in.
func (q *quiet) receive() {
	var pause time.Duration
	for {
		c, err := q.Listener.Accept()
		if err == nil {
			pause = 0
			q.enter(c)
			q.group.Go(func() { q.hear(c) })
			continue
		}
		if t, ok := err.(interface{ Temporary() bool }); ok && t.Temporary() { //nolint:staticcheck // what net/http asks, too
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			time.Sleep(pause) // out of file descriptors, mostly
			continue
		}
		q.fail = err
		close(q.done)
		return
	}
}

func (q *quiet) enter(c net.Conn) {
	q.mu.Lock()
	q.guests[c] = nil // so that who is evicted at once is forgotten, too
	q.mu.Unlock()
	leave := q.lobby.Enter(func() {
		q.count("http_crowded")
		q.forget(c)
		c.Close()
	})
	q.mu.Lock()
	if _, there := q.guests[c]; there {
		q.guests[c] = leave
	} else {
		leave()
	}
	q.mu.Unlock()
}

func (q *quiet) forget(c net.Conn) {
	q.mu.Lock()
	leave := q.guests[c]
	delete(q.guests, c)
	q.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// hear waits for a connection's first byte.
func (q *quiet) hear(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(q.wait)) // fails on a closed one, which cannot be read either
	err := awaitByte(c)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err == nil {
		select {
		case q.ready <- c:
			return
		case <-q.done:
		}
	}
	if os.IsTimeout(err) {
		q.count("http_silent")
	}
	q.forget(c)
	c.Close()
}

// Accept gives the next connection that has said something.
func (q *quiet) Accept() (net.Conn, error) {
	select {
	case c := <-q.ready:
		return c, nil
	case <-q.done:
		return nil, q.fail
	}
}

// Close stops listening and drops those that have not been given out.
func (q *quiet) Close() error {
	err := q.Listener.Close()
	<-q.done
	q.mu.Lock()
	for c := range q.guests {
		c.Close()
	}
	q.mu.Unlock()
	q.group.Wait()
	return err
}

// state is the http.Server's hook: a connection that is closed, or taken over
// by a link, is a stranger no more.
func (q *quiet) state(c net.Conn, s http.ConnState) {
	if s == http.StateHijacked || s == http.StateClosed {
		q.forget(c)
	}
}
