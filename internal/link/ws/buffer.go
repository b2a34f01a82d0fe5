package ws

import "sync"

const (
	// smallSize is what a connection reads into while it waits, and what is read
	// of a long frame together with its header.
	smallSize = 4 << 10
	// largeSize is what it reads into while short frames come in numbers:
	// 16 of a stock client's.
	largeSize = 64 << 10
	// sendSize holds a frame of 64 KiB with all headers, so that it leaves in
	// one write even where it has to be copied.
	sendSize = 72 << 10
)

var (
	largeBuffers = sync.Pool{New: func() any { return new([largeSize]byte) }}
	sendBuffers  = sync.Pool{New: func() any { return new([sendSize]byte) }}
)

func takeLarge() *[largeSize]byte  { return largeBuffers.Get().(*[largeSize]byte) }
func giveLarge(b *[largeSize]byte) { largeBuffers.Put(b) }

func takeSend() *[sendSize]byte  { return sendBuffers.Get().(*[sendSize]byte) }
func giveSend(b *[sendSize]byte) { sendBuffers.Put(b) }
