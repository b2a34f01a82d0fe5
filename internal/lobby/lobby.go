// Package lobby bounds those who are connected and have not yet proved who they
// are. Nobody is kept out: when there are too many, who has waited longest must
// go, so that a crowd that says nothing keeps out no one who does.
package lobby

import (
	"container/list"
	"sync"
)

// Lobby holds guests in the order in which they came.
type Lobby struct {
	max int

	mu     sync.Mutex // guards below
	guests *list.List // of func()
}

// New makes a lobby for max guests, 1 at least.
func New(max int) *Lobby { return &Lobby{max: max, guests: list.New()} }

// Enter adds a guest. evict is called, on another guest's goroutine, if it has
// to make room; it must not block. leave must be called when the guest has
// proved who it is, or is gone; it reports false if it was evicted.
func (l *Lobby) Enter(evict func()) (leave func() bool) {
	l.mu.Lock()
	e := l.guests.PushBack(evict)
	var oldest func()
	if l.guests.Len() > l.max {
		oldest = l.guests.Remove(l.guests.Front()).(func())
	}
	l.mu.Unlock()
	if oldest != nil {
		oldest()
	}
	return func() bool { return l.leave(e) }
}

func (l *Lobby) leave(e *list.Element) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.guests.Len()
	l.guests.Remove(e) // of an element that is not there it removes nothing
	return l.guests.Len() < n
}

// Len is how many guests there are.
func (l *Lobby) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guests.Len()
}
