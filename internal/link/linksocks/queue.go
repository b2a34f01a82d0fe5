package linksocks

import "sync"

// The sizes of the buffers that payload waits in. What is short is copied
// together, so that a peer cannot make us hold much more than it sent.
const (
	smallBuffer  = 4 << 10
	mediumBuffer = 32 << 10
	largeBuffer  = 128 << 10
	// joinBelow is the longest payload that is copied behind the one before it.
	joinBelow = 16 << 10
)

// buffer is a piece of pooled memory and what of it is still to be read.
type buffer struct {
	memory     []byte
	start, end int
}

var (
	smallBuffers  = sync.Pool{New: func() any { return &buffer{memory: make([]byte, smallBuffer)} }}
	mediumBuffers = sync.Pool{New: func() any { return &buffer{memory: make([]byte, mediumBuffer)} }}
	largeBuffers  = sync.Pool{New: func() any { return &buffer{memory: make([]byte, largeBuffer)} }}
)

// takeBuffer gives a buffer for n bytes, or for the first largeBuffer of them.
func takeBuffer(n int) *buffer {
	pool := &largeBuffers
	switch {
	case n <= smallBuffer:
		pool = &smallBuffers
	case n <= mediumBuffer:
		pool = &mediumBuffers
	}
	b := pool.Get().(*buffer)
	b.start, b.end = 0, min(n, len(b.memory))
	return b
}

func (b *buffer) give() {
	switch len(b.memory) {
	case smallBuffer:
		smallBuffers.Put(b)
	case mediumBuffer:
		mediumBuffers.Put(b)
	case largeBuffer:
		largeBuffers.Put(b)
	}
}

func (b *buffer) bytes() []byte { return b.memory[b.start:b.end] }

// queue is what was received for a stream and not yet read.
type queue struct {
	waiting []*buffer
	bytes   int     // in waiting
	held    *buffer // what next gave out
}

// push takes b over.
func (q *queue) push(b *buffer) {
	n := b.end - b.start
	q.bytes += n
	if last := len(q.waiting) - 1; last >= 0 && n <= joinBelow {
		if tail := q.waiting[last]; n <= len(tail.memory)-tail.end {
			tail.end += copy(tail.memory[tail.end:], b.bytes())
			b.give()
			return
		}
	}
	q.waiting = append(q.waiting, b)
}

// next gives the first bytes out, and takes back those of the time before.
func (q *queue) next() (p []byte, n int) {
	q.release()
	q.held = q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	p = q.held.bytes()
	q.bytes -= len(p)
	return p, len(p)
}

// read copies the first bytes out.
func (q *queue) read(p []byte) (n int) {
	for n < len(p) && len(q.waiting) > 0 {
		head := q.waiting[0]
		took := copy(p[n:], head.bytes())
		n += took
		head.start += took
		if head.start == head.end {
			head.give()
			q.waiting[0] = nil
			q.waiting = q.waiting[1:]
		}
	}
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.bytes -= n
	return n
}

func (q *queue) release() {
	if q.held != nil {
		q.held.give()
		q.held = nil
	}
}

// drop forgets what waits, and says how much that was. What next gave out may
// still be in use.
func (q *queue) drop() (n int) {
	n = q.bytes
	for _, b := range q.waiting {
		b.give()
	}
	q.waiting, q.bytes = nil, 0
	return n
}
