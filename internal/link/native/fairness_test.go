package native

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// Of a bulk stream that has all the credit there is, no more than a frame or
// two goes out before what another stream has to say; of several, one each.
func TestASmallStreamWaitsForNoMoreThanAFrameOfEveryBulkStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := memnet.New()
		a, b := n.Pair()
		n.SetBuffer(4 << 10) // what a bulk stream has sent, and is still to be read
		e := run(t, a, false, link.Config{})
		p := &peer{t: t, e: e, raw: b, net: n, heard: make(chan got, 1<<16), over: make(chan struct{})}
		p.conn = ws.New(b, nil, ws.Config{Client: true, WriteTimeout: time.Hour})
		listening := make(chan struct{})
		go func() { defer close(listening); p.listen() }()

		const bulks = 3
		var work sync.WaitGroup
		small, bulk := p.opened(), [bulks]*Stream{p.opened(), p.opened(), p.opened()}
		for _, st := range bulk {
			p.say(window(st.id, maxWindow-initialWindow))
			work.Go(func() {
				for {
					if _, err := st.Write(zeros(1 << 20)); err != nil {
						return
					}
				}
			})
		}
		for range 10 { // the reader is let loose for a moment, and more has been asked for than is read
			b.StopReading(true)
			synctest.Wait()
			for len(p.heard) > 0 {
				<-p.heard
			}
			wrote := make(chan error)
			go func() { _, err := small.Write([]byte("ping")); wrote <- err }()
			synctest.Wait()
			b.StopReading(false)
			before := 0
			for g := range p.heard {
				if g.kind == typeData && g.stream == small.id {
					break
				}
				before += len(g.payload)
			}
			must(t, <-wrote)
			// One frame is half sent, and each bulk stream's next has the turn before.
			if most := (bulks + 1) * maxData; before > most {
				t.Errorf("%d bytes went before, that is more than %d", before, most)
			}
		}
		_ = p.conn.Close()
		work.Wait()
		<-listening
	})
}

// What must not wait for streams does not: credit, answers, resets.
func TestControlFramesAreNotHeldUpByBulk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{Dial: serving(echo), UDP: &udpSite{}})
		bulk, other := p.opened(), p.opened()
		p.say(window(bulk.id, maxWindow-initialWindow))
		go func() { _, _ = bulk.Write(zeros(16 << 20)) }()
		p.raw.StopReading(true)
		synctest.Wait()
		for len(p.heard) > 0 {
			<-p.heard
		}
		must(t, other.Close())
		p.say(opening{kind: openTCP, port: 1}.append(nil, 1))
		p.say(opening{kind: openUDP}.append(nil, 3))
		synctest.Wait()
		p.raw.StopReading(false)
		before := 0
		for waiting := 3; waiting > 0; {
			if g := <-p.heard; g.kind == typeData {
				before += len(g.payload)
			} else {
				waiting--
			}
		}
		if before > 3*maxData {
			t.Errorf("%d bytes went before", before)
		}
		e.Close()
	})
}

// Many streams at once get about the same.
func TestBulkStreamsShareALink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := byHand(t, true, link.Config{})
		p.net.SetLatency(time.Millisecond)
		var streams []*Stream
		var work sync.WaitGroup
		for range 8 {
			st := p.opened()
			streams = append(streams, st)
			p.say(window(st.id, 2<<20-initialWindow))
		}
		time.Sleep(time.Second)
		for _, st := range streams {
			work.Go(func() { _, _ = st.Write(zeros(2 << 20)) })
		}
		got := map[uint32]int{}
		for total := 0; total < 4<<20; {
			g := <-p.heard
			got[g.stream] += len(g.payload)
			total += len(g.payload)
		}
		for _, st := range streams {
			if n := got[st.id]; n < 512<<10-3*maxData || n > 512<<10+3*maxData {
				t.Errorf("stream %d had %d bytes of %d", st.id, n, 4<<20)
			}
		}
		work.Wait()
	})
}
