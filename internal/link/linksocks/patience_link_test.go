package linksocks

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/flow"
)

// Readers that are all a little slow: none holds 4 MiB, but together it is too much.
func TestTheFullestStreamIsEndedWhenTheLinkHoldsTooMuch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		const streams = 22
		const each = maxLinkQueue/streams + 1<<20/streams
		var all []*Stream
		var channels []uuid.UUID
		for range streams {
			st, channel := opened(t, e, p)
			all, channels = append(all, st), append(channels, channel)
		}
		fullest := 7
		d := took(func() {
			p.inBackground(func() {
				p.flood(channels[fullest], each+1<<19)
				for i, channel := range channels {
					if i == fullest {
						continue
					}
					p.flood(channel, each)
					p.say(Disconnect{Channel: channel})
				}
			})
			synctest.Wait()
			if n := e.inbound.room.held.Load(); n < maxLinkQueue || n >= maxLinkQueue+flow.MaxBuffer {
				t.Errorf("%d bytes are held", n)
			}
			if m := hear[*Disconnect](p); m.Channel != channels[fullest] || m.Cause != "receiver too slow" {
				t.Errorf("heard %+v", m)
			}
		})
		if d != maxPatience {
			t.Errorf("it took %v", d)
		}
		wantFailure(t, all[fullest], ErrTooSlow)
		var work sync.WaitGroup
		for i, st := range all {
			if i == fullest {
				continue
			}
			work.Go(func() {
				if n, err := count(st); err != nil || n != each {
					t.Errorf("a neighbour got %d of %d bytes, %v", n, each, err)
				}
			})
		}
		work.Wait()
	})
}
