package linksocks

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// The invariants in the comment of Session, of which the second is tested with
// patience and the fifth with the loss of links.

// Invariant 1, its first half.
func TestTheReaderDoesNotWaitForThePeerToTakeAnything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		told := make(chan int, 1)
		e, p := byHand(t, false, link.Config{
			Dial: serving(func(c *memnet.Conn) { // takes nothing, says a lot
				_, _ = c.Write(make([]byte, 1<<20))
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}),
			UDP:      &udpSite{},
			Partners: func(n int) { told <- n },
		})
		mine, channel := opened(t, e, p)
		p.raw.StopReading(true)
		go func() { _, _ = mine.Write(make([]byte, 1<<20)) }()
		if d := took(func() {
			for range 50 {
				m := connect("target", 80)
				p.say(m)
				p.data(m.Channel, make([]byte, 10000))
				p.say(connect("", 0))
				p.say(Connect{Proto: UDP, Channel: uuid.New()})
				p.say(Disconnect{Channel: m.Channel})
				must(t, p.conn.Ping([]byte("?")))
			}
			p.say(Partners{Count: 7})
			if n := <-told; n != 7 {
				t.Errorf("told %d", n)
			}
			p.data(channel, []byte("hello"))
			wantRead(t, mine, []byte("hello"))
		}); d != 0 {
			t.Errorf("it took %v", d)
		}
		p.ending.Store(true)
	})
}

// Invariant 3. The targets say all they have to say before they can be heard.
func TestTheAnswerGoesOutBeforeTheDataAndTheDataBeforeTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		words := noise(1, 3*block)
		there := &udpSite{}
		_, p := byHand(t, false, link.Config{UDP: there, Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
			if address == "closed:80" {
				return nil, errors.New("connection refused")
			}
			near, far := memnet.New().Pair()
			_, _ = far.Write(words[:block])
			go func() {
				_, _ = far.Write(words[block:])
				_ = far.Close()
			}()
			return near, nil
		}})
		state := map[uuid.UUID]int{} // 1 answered; each byte one more; -1 ended
		const channels = 60
		for i := range channels {
			host := "target"
			if i%3 == 0 {
				host = "closed"
			}
			m := connect(host, 80)
			p.say(m)
		}
		var open []uuid.UUID
		for ended := 0; ended < channels; {
			switch m := (<-p.heard).(type) {
			case *ConnectResponse:
				if _, twice := state[m.Channel]; twice {
					t.Fatalf("%+v came after something else", m)
				}
				state[m.Channel] = 1
				if !m.OK {
					state[m.Channel] = -1
					ended++
					break
				}
				open = append(open, m.Channel)
			case *Data:
				if state[m.Channel] < 1 {
					t.Fatalf("data came in state %d", state[m.Channel])
				}
				state[m.Channel] += len(m.Payload)
			case *Disconnect:
				if n := state[m.Channel]; n != 1+len(words) || m.Cause != "EOF" {
					t.Fatalf("%+v came in state %d", m, n)
				}
				state[m.Channel] = -1
				ended++
			default:
				t.Fatalf("heard %+v", m)
			}
		}
		for _, channel := range open {
			p.say(Disconnect{Channel: channel, Cause: "EOF"})
		}
		p.hearsNothing()
	})
}

// Invariant 3, for datagrams.
func TestTheAnswerGoesOutBeforeTheFirstDatagram(t *testing.T) {
	bubble(t, func(t *testing.T) {
		there := &udpSite{}
		_, p := byHand(t, false, link.Config{UDP: chatty{there}})
		for range 50 {
			p.say(Connect{Proto: UDP, Channel: uuid.New()})
			if m := hear[*ConnectResponse](p); !m.OK {
				t.Fatalf("heard %+v", m)
			}
			hear[*Data](p)
		}
	})
}

// Invariant 4.
func TestAChannelCannotBeNamedOnAnotherLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		target, came := giving()
		there := &udpSite{}
		e, p := byHand(t, false, link.Config{Dial: target, UDP: there})
		_, q := byHand(t, false, link.Config{Dial: target, UDP: there})
		channel := p.open()
		c := <-came
		mine, opener := opened(t, e, p)
		datagrams := uuid.New()
		p.say(Connect{Proto: UDP, Channel: datagrams})
		hear[*ConnectResponse](p)
		for _, id := range []uuid.UUID{channel, opener, datagrams} {
			q.data(id, []byte("forged"))
			q.say(Data{Proto: UDP, Channel: id, Payload: []byte("forged")})
			q.say(ConnectResponse{Channel: id, Cause: "forged"})
			q.say(Disconnect{Channel: id, Cause: "forged"})
			q.say(Disconnect{Channel: id})
		}
		synctest.Wait()
		p.data(channel, []byte("true"))
		wantRead(t, c, []byte("true"))
		p.data(opener, []byte("true"))
		wantRead(t, mine, []byte("true"))
		if n := len(there.only(t).sent); n != 0 {
			t.Errorf("%d datagrams were sent", n)
		}
		// The same id over there is another channel.
		q.say(Connect{Proto: TCP, Channel: channel, Host: "target", Port: 80})
		if m := hear[*ConnectResponse](q); !m.OK {
			t.Fatalf("heard %+v", m)
		}
		q.data(channel, []byte("another"))
		wantRead(t, <-came, []byte("another"))
		q.say(Disconnect{Channel: channel, Cause: "aborted"})
		synctest.Wait()
		p.data(channel, []byte(" still"))
		wantRead(t, c, []byte(" still"))
	})
}

// What is served is waited for: nothing runs on when Run has returned.
func TestRunWaitsForWhatItServes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var left bool
		e, p := byHand(t, false, link.Config{Dial: func(ctx context.Context, _, _ string) (pipe.Conn, error) {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // a resolver that does not look at its context
			left = true
			return nil, ctx.Err()
		}})
		p.say(connect("target", 80))
		synctest.Wait()
		e.Close()
		<-e.over
		if !left {
			t.Error("Run has returned while a dial runs on")
		}
	})
}
