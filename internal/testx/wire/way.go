package wire

import (
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mtu is the devices', the usual one of Ethernet.
	mtu = 1500
	// queueLimit is how many packets are on the wire one way at most: enough
	// for 60 MB/s and a second.
	queueLimit = 50000
	// queueTime is how much a rate holds back. As in a router, what comes on top is dropped.
	queueTime = 200 * time.Millisecond
	// million is what shares are counted of.
	million = 1e6
)

// line is how both ways treat packets.
type line struct {
	delay atomic.Int64 // in nanoseconds
	loss  atomic.Int64 // packets of a million
	rate  atomic.Int64 // bytes a second, 0 for no limit
}

func (l *line) set(c Conditions) {
	l.delay.Store(int64(c.Delay))
	l.loss.Store(int64(c.Loss * million))
	l.rate.Store(c.Rate)
}

// Stats count packets one way. What is in none of them is still on its way.
type Stats struct {
	Packets, Bytes int64 // that arrived
	Lost           int64 // by chance
	Cut            int64 // while the wire was cut
	Full           int64 // because too many were on it
}

// way is one direction.
type way struct {
	cut                            atomic.Bool
	packets, bytes                 atomic.Int64
	lostCount, cutCount, fullCount atomic.Int64
}

func (w *way) stats() Stats {
	return Stats{
		Packets: w.packets.Load(), Bytes: w.bytes.Load(),
		Lost: w.lostCount.Load(), Cut: w.cutCount.Load(), Full: w.fullCount.Load(),
	}
}

// packet is on the wire until it is due.
type packet struct {
	due    time.Time
	buffer *[mtu]byte // from buffers
	size   int
}

var buffers = sync.Pool{New: func() any { return new([mtu]byte) }}

// take puts what the device gives on the queue, until the device is closed.
func (w *way) take(l *line, from io.Reader, queue chan<- packet) {
	free := time.Now() // when the wire will have sent all that it was given
	for {
		buffer := buffers.Get().(*[mtu]byte)
		n, err := from.Read(buffer[:])
		if err != nil {
			return
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if dropped := w.drop(l, free.Sub(now)); dropped != nil {
			dropped.Add(1)
			buffers.Put(buffer)
			continue
		}
		if rate := l.rate.Load(); rate > 0 {
			free = free.Add(time.Duration(int64(n) * int64(time.Second) / rate))
		}
		select {
		case queue <- packet{due: free.Add(time.Duration(l.delay.Load())), buffer: buffer, size: n}:
		default:
			w.fullCount.Add(1)
			buffers.Put(buffer)
		}
	}
}

// drop decides whether a packet goes no further, by giving the count that it
// belongs to. behind is how long it would wait for those before it.
func (w *way) drop(l *line, behind time.Duration) *atomic.Int64 {
	switch {
	case w.cut.Load():
		return &w.cutCount
	case rand.Int64N(million) < l.loss.Load():
		return &w.lostCount
	case behind > queueTime:
		return &w.fullCount
	}
	return nil
}

// deliver writes each packet to the device when it is due, in the order in
// which they came: a delay that became shorter overtakes nothing.
func (w *way) deliver(queue <-chan packet, to io.Writer, done <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for p := range queue {
		if wait := time.Until(p.due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-done:
				return
			}
		}
		n, err := to.Write(p.buffer[:p.size])
		buffers.Put(p.buffer)
		if err == nil { // else the device is not up any more
			w.packets.Add(1)
			w.bytes.Add(int64(n))
		}
	}
}
