package flow

import "sync"

// Outbox sends what must not wait for the network, in order: control messages,
// and datagrams, which are lost when too much waits. Streams write their payload
// by themselves, and so are slowed by the link.
type Outbox struct {
	write        func(batch [][]byte) error
	maxControl   int
	maxDatagrams int

	mu        sync.Mutex // guards below
	more      sync.Cond
	waiting   [][]byte
	control   int  // bytes in waiting
	datagrams int  // bytes in waiting
	lost      bool // a control message found no room
	stopped   bool
}

// Init makes an Outbox ready. write sends messages, whose memory is its own
// then, and may take long.
func (o *Outbox) Init(write func(batch [][]byte) error, maxControl, maxDatagrams int) {
	o.write, o.maxControl, o.maxDatagrams = write, maxControl, maxDatagrams
	o.more.L = &o.mu
}

// Send queues a control message.
func (o *Outbox) Send(msg []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped {
		return
	}
	if o.control > o.maxControl {
		o.lost = true // the link is about to end for it
		return
	}
	o.control += len(msg)
	o.waiting = append(o.waiting, msg)
	o.more.Signal()
}

// SendDatagram queues a datagram, and reports false for one that is lost.
func (o *Outbox) SendDatagram(msg []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped || o.datagrams+len(msg) > o.maxDatagrams {
		return false
	}
	o.datagrams += len(msg)
	o.waiting = append(o.waiting, msg)
	o.more.Signal()
	return true
}

// Overfull reports whether too many control messages wait, or found no room
// once: the peer does not read, or did not, and its link must end.
func (o *Outbox) Overfull() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lost || o.control > o.maxControl
}

// Stop ends Run.
func (o *Outbox) Stop() {
	o.mu.Lock()
	o.stopped = true
	o.more.Signal()
	o.mu.Unlock()
}

// Run sends until Stop, or until a message cannot be sent.
func (o *Outbox) Run() {
	for {
		o.mu.Lock()
		for len(o.waiting) == 0 && !o.stopped {
			o.more.Wait()
		}
		batch, stopped := o.waiting, o.stopped
		o.waiting, o.control, o.datagrams = nil, 0, 0
		o.mu.Unlock()
		if stopped || o.write(batch) != nil {
			return
		}
	}
}
