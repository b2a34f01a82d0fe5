package linksocks

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
)

// block is how much a peer here puts into a message.
const block = 64 << 10

// flood sends n bytes to a channel.
func (p *peer) flood(channel uuid.UUID, n int) {
	payload := make([]byte, block)
	for ; n > 0; n -= block {
		p.data(channel, payload[:min(n, block)])
	}
}

// count reads r to its end and says how much there was, and how it ended.
func count(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }

func TestAStreamThatNobodyReadsIsEndedAloneAfterTenSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		stalled, bad := opened(t, e, p)
		flowing, good := opened(t, e, p)
		const each = 12 << 20
		payload := noise(1, block)
		begun := time.Now()
		p.inBackground(func() {
			for range each / block {
				p.data(bad, payload)
				p.data(good, payload)
			}
			p.say(Disconnect{Channel: good})
		})
		done := make(chan []byte)
		go func() {
			got, err := io.ReadAll(flowing)
			if err != nil {
				t.Error(err)
			}
			done <- got
		}()
		synctest.Wait()
		if in := stalled.State(); in.Over() || in.Waiting < maxStreamQueue || in.Waiting >= maxStreamQueue+flow.MaxBuffer {
			t.Errorf("it is %+v", in)
		}
		if n := stalled.State().Waiting; e.inbound.room.held.Load() != int64(n) {
			t.Errorf("%d bytes are held in all, %d of them for it", e.inbound.room.held.Load(), n)
		}
		got := <-done
		if d := time.Since(begun); d != maxPatience {
			t.Errorf("the neighbour waited %v", d)
		}
		if want := bytes.Repeat(payload, each/block); !bytes.Equal(got, want) {
			t.Errorf("the neighbour got %d of %d bytes, or others", len(got), len(want))
		}
		wantFailure(t, stalled, ErrTooSlow)
		if _, err := stalled.Write([]byte("x")); !errors.Is(err, ErrTooSlow) {
			t.Errorf("write: %v", err)
		}
		if m := hear[*Disconnect](p); m.Channel != bad || m.Cause != "receiver too slow" {
			t.Errorf("heard %+v", m)
		}
		if n := e.inbound.room.held.Load(); n != 0 {
			t.Errorf("%d bytes are still held", n)
		}
		if e.counts.of("receiver_too_slow") != 1 {
			t.Error("not counted once")
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		var last time.Duration
		for _, at := range append(p.pongs, begun.Add(maxPatience)) {
			if at.Sub(begun)-last > pongInterval {
				t.Errorf("no pong between %v and %v", last, at.Sub(begun))
			}
			last = at.Sub(begun)
		}
	})
}

func TestTheUserOfAnEndedStreamSeesAnErrorOnBothSides(t *testing.T) {
	bubble(t, func(t *testing.T) {
		target, came := giving()
		l := newLink(t, link.Config{}, link.Config{Dial: target})
		st := dial(t, l.near)
		dial(t, l.near) // so that it is not alone
		c := <-came
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 16<<20))
			written <- err
		}()
		if err := <-written; err == nil {
			t.Error("the target wrote everything")
		}
		wantFailure(t, st, ErrTooSlow)
	})
}

// Ten stalled streams do not hold up the others ten times as long.
func TestPatienceIsOfTheLinkAndNotOfTheStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		var channels []uuid.UUID
		for range 5 {
			_, channel := opened(t, e, p)
			channels = append(channels, channel)
		}
		_, last := opened(t, e, p)
		_, alive := opened(t, e, p)
		d := took(func() {
			for _, channel := range channels {
				p.flood(channel, maxStreamQueue+4*block)
			}
			for range channels {
				hear[*Disconnect](p)
			}
		})
		if d < maxPatience || d > maxPatience+5*minPatience {
			t.Errorf("five stalled streams held the link up for %v", d)
		}
		// A tenth of the time in which the link is read comes back.
		const free = 50 * time.Second
		time.Sleep(free)
		if d := took(func() {
			p.flood(last, maxStreamQueue+4*block)
			if m := hear[*Disconnect](p); m.Channel != last {
				t.Error("another stream was ended")
			}
		}); d < free/regain-100*time.Millisecond || d > free/regain+100*time.Millisecond {
			t.Errorf("after %v the link waited %v", free, d)
		}
		if e.stream(alive) == nil {
			t.Error("the stream that got nothing is gone")
		}
	})
}

// readSlowly reads n bytes at a time with a pause before each, to the end.
func readSlowly(r io.Reader, n int, pause time.Duration) (int64, error) {
	buf := make([]byte, n)
	var total int64
	for {
		time.Sleep(pause)
		n, err := io.ReadFull(r, buf)
		total += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func TestALinksOnlyStreamIsWaitedForAsLongAsItsReaderTakesAnything(t *testing.T) {
	for name, pace := range map[string]struct {
		n     int
		pause time.Duration
	}{
		"64 KiB a second":        {block, time.Second},
		"128 KiB in 9 s":         {2 * block, 9 * time.Second},
		"1 MiB a second":         {1 << 20, time.Second},
		"one byte now and again": {1, 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, p := byHand(t, true, link.Config{})
				st, channel := opened(t, e, p)
				size := int64(maxStreamQueue + 40*pace.n)
				p.inBackground(func() {
					p.flood(channel, int(size))
					p.say(Disconnect{Channel: channel})
				})
				if pace.n == 1 { // that would take days
					for range 20 {
						time.Sleep(pace.pause)
						if _, err := st.Read(make([]byte, 1)); err != nil {
							t.Fatal(err)
						}
					}
					return
				}
				if n, err := readSlowly(st, pace.n, pace.pause); err != nil || n != size {
					t.Errorf("read %d of %d bytes, %v", n, size, err)
				}
			})
		})
	}
}

// With others on the link that more may come for, what its reader takes does not
// buy it more time.
func TestASlowReaderThatHasOthersWaitIsWaitedForTenSecondsInAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		neighbour, other := opened(t, e, p)
		p.flood(other, block)
		_, err := io.ReadFull(neighbour, make([]byte, block))
		must(t, err)
		p.inBackground(func() { p.flood(channel, 16<<20) })
		begun := time.Now()
		if _, err := readSlowly(st, block, time.Second); !errors.Is(err, ErrTooSlow) {
			t.Errorf("read: %v", err)
		}
		if d := time.Since(begun); d < maxPatience || d > maxPatience+2*time.Second {
			t.Errorf("it was waited for %v", d)
		}
	})
}

// Connections that lie idle are no reason to end a slow one, and neither are
// others that are slow themselves: they have what they can take.
func TestASlowReaderWhomNobodyWaitsForIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		_, _ = opened(t, e, p)
		const size = 32 << 20
		var streams []*Stream
		var channels []uuid.UUID
		for range 2 {
			st, channel := opened(t, e, p)
			streams, channels = append(streams, st), append(channels, channel)
		}
		p.inBackground(func() {
			for range size / (1 << 20) {
				for _, channel := range channels {
					p.flood(channel, 1<<20)
				}
			}
			for _, channel := range channels {
				p.say(Disconnect{Channel: channel})
			}
		})
		var reading sync.WaitGroup
		for _, st := range streams {
			reading.Go(func() {
				if n, err := readSlowly(st, 1<<20, time.Second); err != nil || n != size {
					t.Errorf("read %d of %d bytes, %v", n, size, err)
				}
			})
		}
		reading.Wait()
	})
}

// The one that is ended is the one that took nothing, and not who comes next.
func TestAStreamThatFlowsOutlivesAStuckNeighbour(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		stuck, first := opened(t, e, p)
		flowing, second := opened(t, e, p)
		const size = 64 << 20
		p.inBackground(func() {
			for range size / (1 << 20) {
				p.flood(first, 1<<20)
				p.flood(second, 1<<20)
			}
			p.say(Disconnect{Channel: second})
		})
		if n, err := readSlowly(flowing, 1<<20, 100*time.Millisecond); err != nil || n != size {
			t.Errorf("read %d of %d bytes, %v", n, size, err)
		}
		wantFailure(t, stuck, ErrTooSlow)
	})
}

func TestALinksOnlyStreamIsEndedWhenItsReaderTakesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		d := took(func() {
			p.flood(channel, maxStreamQueue+4*block)
			hear[*Disconnect](p)
		})
		if d != maxPatience {
			t.Errorf("it took %v", d)
		}
		wantFailure(t, st, ErrTooSlow)
	})
}

func TestAServedStreamsTargetMustTakeItsShare(t *testing.T) {
	for name, pace := range map[string]struct {
		n     int // in a second
		ended bool
	}{
		"1 MiB a second":  {1 << 20, false},
		"half of that":    {1 << 19, false},
		"64 KiB a second": {block, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				dial, came := giving()
				_, p := byHand(t, false, link.Config{Dial: dial})
				channel := p.open()
				c := <-came
				const size = 16 << 20
				p.inBackground(func() {
					p.flood(channel, size)
					p.say(Disconnect{Channel: channel, Cause: "EOF"})
				})
				n, err := readSlowly(c, pace.n, time.Second)
				if ended := n < size; ended != pace.ended || ended != (err != nil) {
					t.Errorf("the target got %d of %d bytes, %v", n, size, err)
				}
			})
		})
	}
}

// A stock peer takes pongs alone for a sign of life, and its own pings are
// behind its data.
func TestPongsGoOutWhileAnOnlyStreamIsReadSlowly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		p.inBackground(func() {
			p.flood(channel, maxStreamQueue+20*(1<<20))
			p.say(Disconnect{Channel: channel})
		})
		synctest.Wait()
		begun := time.Now()
		// So that no single wait is as long as pongInterval.
		_, err := readSlowly(st, 128<<10, 2*time.Second)
		must(t, err)
		p.mu.Lock()
		defer p.mu.Unlock()
		last := begun
		for _, at := range p.pongs {
			if at.Sub(last) > 2*pongInterval {
				t.Errorf("no pong for %v", at.Sub(last))
			}
			last = at
		}
		if len(p.pongs) < 30 {
			t.Errorf("%d pongs", len(p.pongs))
		}
	})
}
