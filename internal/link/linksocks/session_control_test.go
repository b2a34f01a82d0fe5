package linksocks

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

func TestControlIsToldOfWhatBelongsToNoChannel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told []string
		e, p := byHand(t, false, Config{Control: func(m Message) {
			text := m.Type().String()
			switch m := m.(type) {
			case *Connector:
				text += " " + m.Token.Reveal()
			case *ConnectorResponse:
				text += " " + m.Token.Reveal()
			case *Log:
				text += " " + m.Text
			case *Partners:
				text += " " + strings.Repeat("|", m.Count)
			}
			told = append(told, text)
		}})
		p.say(Connector{Request: id, Token: redact.New("tok-1"), Op: OpAdd})
		p.say(ConnectorResponse{Request: id, OK: true, Token: redact.New("tok-2")})
		p.say(Log{Level: "debug", Text: "linksocks_client_hello:direct_signaling=1"})
		p.say(Partners{Count: 3})
		p.say(Direct{Kind: TypeDirectStatus, JSON: []byte("{}")})
		p.say(Disconnect{Channel: id})
		p.say(Auth{})
		synctest.Wait()
		want := "connector tok-1, connector_response tok-2, log linksocks_client_hello:direct_signaling=1, partners |||"
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("told %q", got)
		}
		must(t, e.Send(Partners{Count: 1}), e.Send(Log{Level: "info", Text: "hello"}))
		if m := hear[*Partners](p); m.Count != 1 {
			t.Errorf("heard %+v", m)
		}
		if m := hear[*Log](p); m.Text != "hello" {
			t.Errorf("heard %+v", m)
		}
		if err := e.Send(Log{Text: strings.Repeat("x", maxJSON)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Send: %v", err)
		}
	})
}

func TestSendDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, Config{})
		p.raw.StopReading(true)
		line := Log{Level: "info", Text: strings.Repeat("x", 10000)}
		d := took(func() {
			for range 2 * maxControl / 10000 {
				must(t, e.Send(line))
			}
		})
		if d != 0 {
			t.Errorf("it took %v", d)
		}
		if d := took(func() { <-e.over }); d > WriteTimeout || !errors.Is(e.err, ErrStuck) {
			t.Errorf("the link ended after %v: %v", d, e.err)
		}
		must(t, e.Send(line)) // of no use, and no harm
	})
}

func TestAPeerThatTakesNothingIsGivenUpAfterAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, Config{})
		p.raw.StopReading(true)
		alive := time.NewTicker(time.Second)
		defer alive.Stop()
		must(t, e.Send(Log{Text: strings.Repeat("x", 60000)}), e.Send(Log{Text: strings.Repeat("x", 60000)}))
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
		if d := time.Since(begun); d < WriteTimeout-WriteTimeout/8 || d > WriteTimeout+time.Second || !errors.Is(e.err, os.ErrDeadlineExceeded) {
			t.Errorf("the link ended after %v: %v", d, e.err)
		}
	})
}

// What could not be queued is lost, and the peer must not go on without it.
func TestALinkThatLostAMessageEndsThoughItsPeerReadsAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, Config{})
		p.raw.StopReading(true)
		const n = 2 * maxControl / 50000
		for range n {
			must(t, e.Send(Log{Text: strings.Repeat("x", 50000)}))
		}
		synctest.Wait()
		for range n {
			must(t, e.Send(Log{Text: strings.Repeat("x", 50000)}))
		}
		p.raw.StopReading(false)
		time.Sleep(2 * pingInterval)
		select {
		case <-e.over:
			if !errors.Is(e.err, ErrStuck) {
				t.Errorf("it ended with %v", e.err)
			}
		default:
			t.Errorf("%d of %d messages arrived, and the link goes on", len(p.heard), 2*n)
		}
	})
}

func TestMessagesLeaveInTheOrderInWhichTheyWereSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, false, Config{})
		for i := range 1000 {
			must(t, e.Send(Partners{Count: i}))
		}
		for i := range 1000 {
			if m := hear[*Partners](p); m.Count != i {
				t.Fatalf("message %d is %+v", i, m)
			}
		}
	})
}
