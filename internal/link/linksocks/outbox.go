package linksocks

import (
	"sync"

	"github.com/adit-tunnel/adit/internal/link/ws"
)

const (
	// maxControl is how many bytes of control messages may wait. A peer that
	// lets more come together does not read.
	maxControl = 1 << 20
	// maxDatagrams is how many bytes of datagrams may wait; what comes then is
	// lost, as datagrams may be.
	maxDatagrams = 512 << 10
)

// outbox sends what must not wait for the network: control messages and
// datagrams. Streams write by themselves, and so are slowed by the link.
type outbox struct {
	conn *ws.Conn

	mu        sync.Mutex // guards below
	more      sync.Cond
	waiting   [][]byte
	control   int  // bytes in waiting
	datagrams int  // bytes in waiting
	lost      bool // a control message found no room
	stopped   bool
}

func (o *outbox) init(conn *ws.Conn) {
	o.conn = conn
	o.more.L = &o.mu
}

// send queues a control message.
func (o *outbox) send(msg []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped {
		return
	}
	if o.control > maxControl {
		o.lost = true // the link is about to end for it
		return
	}
	o.control += len(msg)
	o.waiting = append(o.waiting, msg)
	o.more.Signal()
}

// datagram queues one, and reports false for one that is lost.
func (o *outbox) datagram(msg []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped || o.datagrams+len(msg) > maxDatagrams {
		return false
	}
	o.datagrams += len(msg)
	o.waiting = append(o.waiting, msg)
	o.more.Signal()
	return true
}

func (o *outbox) overfull() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost || o.control > maxControl
}

func (o *outbox) stop() {
	o.mu.Lock()
	o.stopped = true
	o.more.Signal()
	o.mu.Unlock()
}

// run sends until the link ends.
func (o *outbox) run() {
	for {
		o.mu.Lock()
		for len(o.waiting) == 0 && !o.stopped {
			o.more.Wait()
		}
		batch, stopped := o.waiting, o.stopped
		o.waiting, o.control, o.datagrams = nil, 0, 0
		o.mu.Unlock()
		if stopped {
			return
		}
		for _, msg := range batch {
			if o.conn.WriteOwned(ws.Binary, msg) != nil {
				return // the reader finds out
			}
		}
	}
}
