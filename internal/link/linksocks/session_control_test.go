package linksocks

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
)

func TestASessionIsToldOfWhatBelongsToNoChannel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told []string
		_, p := byHand(t, false, link.Config{
			Log:      func(level, text string) { told = append(told, level+" "+text) },
			Partners: func(n int) { told = append(told, strings.Repeat("|", n)) },
			GoAway:   func() { t.Error("there is no such message") },
		})
		p.say(Log{Level: "debug", Text: "linksocks_client_hello:direct_signaling=1"})
		p.say(Partners{Count: 3})
		p.say(Direct{Kind: TypeDirectStatus, JSON: []byte("{}")})
		p.say(Disconnect{Channel: id})
		p.say(Auth{})
		synctest.Wait()
		if got := strings.Join(told, ", "); got != "debug linksocks_client_hello:direct_signaling=1, |||" {
			t.Errorf("told %q", got)
		}
	})
}

func TestSendDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		p.raw.StopReading(true)
		line := Log{Level: "info", Text: strings.Repeat("x", 10000)}
		d := took(func() {
			for range 2 * maxControl / 10000 {
				e.send(line)
			}
		})
		if d != 0 {
			t.Errorf("it took %v", d)
		}
		if d := took(func() { <-e.over }); d > link.WriteTimeout || !errors.Is(e.err, link.ErrStuck) {
			t.Errorf("the link ended after %v: %v", d, e.err)
		}
		e.send(line) // of no use, and no harm
	})
}

func TestAPeerThatTakesNothingIsGivenUpAfterAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		p.raw.StopReading(true)
		alive := time.NewTicker(time.Second)
		defer alive.Stop()
		e.send(Log{Text: strings.Repeat("x", 60000)})
		e.send(Log{Text: strings.Repeat("x", 60000)})
		begun := time.Now()
		for over := false; !over; {
			select {
			case <-e.over:
				over = true
			case <-alive.C:
				// It is not for silence that it is given up.
				if p.conn.WriteMessage(2, []byte{Version, 0x7f}) != nil {
					<-e.over
					over = true
				}
			}
		}
		if d := time.Since(begun); d < link.WriteTimeout-link.WriteTimeout/8 || d > link.WriteTimeout+time.Second || !errors.Is(e.err, os.ErrDeadlineExceeded) {
			t.Errorf("the link ended after %v: %v", d, e.err)
		}
	})
}

// What could not be queued is lost, and the peer must not go on without it.
func TestALinkThatLostAMessageEndsThoughItsPeerReadsAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		p.raw.StopReading(true)
		const n = 2 * maxControl / 50000
		for range n {
			e.send(Log{Text: strings.Repeat("x", 50000)})
		}
		synctest.Wait()
		for range n {
			e.send(Log{Text: strings.Repeat("x", 50000)})
		}
		p.raw.StopReading(false)
		time.Sleep(2 * link.PingInterval)
		select {
		case <-e.over:
			if !errors.Is(e.err, link.ErrStuck) {
				t.Errorf("it ended with %v", e.err)
			}
		default:
			t.Errorf("%d of %d messages arrived, and the link goes on", len(p.heard), 2*n)
		}
	})
}

func TestMessagesLeaveInTheOrderInWhichTheyWereSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, link.Config{})
		for i := range 1000 {
			e.send(Partners{Count: i})
		}
		for i := range 1000 {
			if m := hear[*Partners](p); m.Count != i {
				t.Fatalf("message %d is %+v", i, m)
			}
		}
	})
}
