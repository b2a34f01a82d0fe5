// Package flow is what the channels of every dialect have in common: the pooled
// memory that payload waits in, a stream's inbox, associations, and the box of
// control messages that leave when the link takes them. It knows no dialect.
package flow

import "sync"

// MaxBuffer is how many bytes a Buffer has room for at most.
const MaxBuffer = 128 << 10

// The sizes of the buffers that payload waits in. What is short is copied
// together, so that a peer cannot make us hold much more than it sent.
const (
	smallBuffer  = 4 << 10
	mediumBuffer = 16 << 10
	middleBuffer = 64 << 10
	largeBuffer  = MaxBuffer
	// joinBelow is the longest payload that is copied behind the one before it.
	joinBelow = 32 << 10
)

// Buffer is a piece of pooled memory and what of it is still to be read.
type Buffer struct {
	memory     []byte
	start, end int
}

var (
	smallBuffers  = sync.Pool{New: func() any { return &Buffer{memory: make([]byte, smallBuffer)} }}
	mediumBuffers = sync.Pool{New: func() any { return &Buffer{memory: make([]byte, mediumBuffer)} }}
	middleBuffers = sync.Pool{New: func() any { return &Buffer{memory: make([]byte, middleBuffer)} }}
	largeBuffers  = sync.Pool{New: func() any { return &Buffer{memory: make([]byte, largeBuffer)} }}
)

// Take gives a buffer for n bytes, or for the first MaxBuffer of them.
func Take(n int) *Buffer {
	pool := &largeBuffers
	switch {
	case n <= smallBuffer:
		pool = &smallBuffers
	case n <= mediumBuffer:
		pool = &mediumBuffers
	case n <= middleBuffer:
		pool = &middleBuffers
	}
	b := pool.Get().(*Buffer)
	b.start, b.end = 0, min(n, len(b.memory))
	return b
}

// Give gives the memory back to the pool.
func (b *Buffer) Give() {
	switch len(b.memory) {
	case smallBuffer:
		smallBuffers.Put(b)
	case mediumBuffer:
		mediumBuffers.Put(b)
	case middleBuffer:
		middleBuffers.Put(b)
	case largeBuffer:
		largeBuffers.Put(b)
	}
}

// Bytes is what is still to be read, or room to read into at first.
func (b *Buffer) Bytes() []byte { return b.memory[b.start:b.end] }

// Len is how many bytes Bytes has.
func (b *Buffer) Len() int { return b.end - b.start }

// queue is what was received for a stream and not yet read.
type queue struct {
	waiting []*Buffer
	bytes   int     // in waiting
	held    *Buffer // what next gave out
}

// push takes b over.
func (q *queue) push(b *Buffer) {
	n := b.end - b.start
	q.bytes += n
	if last := len(q.waiting) - 1; last >= 0 && n <= joinBelow {
		if tail := q.waiting[last]; n <= len(tail.memory)-tail.end {
			tail.end += copy(tail.memory[tail.end:], b.Bytes())
			b.Give()
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
	p = q.held.Bytes()
	q.bytes -= len(p)
	return p, len(p)
}

// read copies the first bytes out.
func (q *queue) read(p []byte) (n int) {
	for n < len(p) && len(q.waiting) > 0 {
		head := q.waiting[0]
		took := copy(p[n:], head.Bytes())
		n += took
		head.start += took
		if head.start == head.end {
			head.Give()
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
		q.held.Give()
		q.held = nil
	}
}

// drop forgets what waits, and says how much that was. What next gave out may
// still be in use.
func (q *queue) drop() (n int) {
	n = q.bytes
	for _, b := range q.waiting {
		b.Give()
	}
	q.waiting, q.bytes = nil, 0
	return n
}
