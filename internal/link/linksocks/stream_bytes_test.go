package linksocks

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// sizes are those at whose edges payloads are queued, read or sent differently.
var sizes = []int{0, 1, 4095, 16384, 131072, 1<<20 + 3, 2 << 20}

func TestEveryByteOfManyStreamsArrivesBothWays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, link.Config{}, link.Config{Dial: serving(echo)})
		var work sync.WaitGroup
		defer work.Wait()
		for i := range 3 * len(sizes) {
			payload := noise(byte(i), sizes[i%len(sizes)])
			st := dial(t, l.near)
			work.Go(func() {
				if _, err := st.Write(payload); err != nil {
					t.Error(err)
				}
				if err := st.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			work.Go(func() {
				wantAll(t, st, payload)
				_ = st.Close()
			})
		}
	})
}

func TestTheServerOfALinkOpensStreamsToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, link.Config{Dial: serving(echo)}, link.Config{})
		st := dial(t, l.far)
		payload := noise(1, 100<<10)
		_, err := st.Write(payload)
		must(t, err, st.CloseWrite())
		wantAll(t, st, payload)
	})
}

// Everything as in earnest: sockets, and a target that answers with hashes.
func TestEveryByteArrivesThroughSockets(t *testing.T) {
	t.Parallel()
	address := target.Start(t)
	var d net.Dialer
	var meter pipe.Meter
	near, far := socketPair(t)
	client := run(t, near, true, link.Config{})
	run(t, far, false, link.Config{Meter: &meter, Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}})
	jobs := []func(net.Conn, int64) error{target.Upload, target.Download, target.HalfClose, target.Echo}
	var work sync.WaitGroup
	for i := range 3 * len(jobs) {
		work.Go(func() {
			st, err := client.Dial(t.Context(), "tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			if err := jobs[i%len(jobs)](st, 1<<20+3); err != nil {
				t.Errorf("job %d: %v", i%len(jobs), err)
			}
		})
	}
	work.Wait()
	// Three jobs of each kind; the bytes of the requests are no more than 9 each.
	if in, out := meter.In.Load(), meter.Out.Load(); in < 9*(1<<20+3) || out < 6*(1<<20+3) {
		t.Errorf("metered %d in, %d out", in, out)
	}
}

func socketPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	s, err := ln.Accept()
	must(t, err)
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// ways are how a stock peer may send the same payload.
var ways = map[string]func(p *peer, channel uuid.UUID, payload []byte){
	"in one frame": (*peer).data,
	"in fragments with pings between": func(p *peer, channel uuid.UUID, payload []byte) {
		p.sayInFragments(encoded(p.t, Data{Proto: TCP, Channel: channel, Payload: payload}))
	},
	"compressed": func(p *peer, channel uuid.UUID, payload []byte) { p.sayBytes(zipped(channel, payload)) },
	"compressed and in fragments": func(p *peer, channel uuid.UUID, payload []byte) {
		p.sayInFragments(zipped(channel, payload))
	},
	"in a text message with bytes behind": func(p *peer, channel uuid.UUID, payload []byte) {
		msg := encoded(p.t, Data{Proto: TCP, Channel: channel, Payload: payload})
		if err := p.conn.WriteMessage(ws.Text, msg, []byte("an extension")); err != nil {
			p.t.Error(err)
		}
	},
}

func TestEveryByteOfAStockPeerArrives(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				dial, came := giving()
				_, p := byHand(t, false, link.Config{Dial: dial})
				var all []byte
				for i, n := range sizes {
					all = append(all, noise(byte(i), n)...)
				}
				channel := p.open()
				c := <-came
				var work sync.WaitGroup
				defer work.Wait()
				work.Go(func() { wantAll(t, c, all) })
				for rest, i := all, 0; i < len(sizes); i++ {
					way(p, channel, rest[:sizes[i]])
					rest = rest[sizes[i]:]
				}
				p.say(Disconnect{Channel: channel, Cause: "EOF"})
			})
		})
	}
}

func TestEveryByteReachesAStockPeerInMessagesThatItReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		payload := noise(1, 3<<20)
		n, err := st.Write(payload)
		if n != len(payload) {
			t.Errorf("wrote %d", n)
		}
		must(t, err, st.CloseWrite())
		var got []byte
		for len(got) < len(payload) {
			m := hear[*Data](p)
			if m.Channel != channel || m.Inflated || len(m.Payload) == 0 || len(m.Payload) > 1<<20 {
				t.Fatalf("a message of %d bytes, inflated %v, for %v", len(m.Payload), m.Inflated, m.Channel)
			}
			got = append(got, m.Payload...)
		}
		if !bytes.Equal(got, payload) {
			t.Error("other bytes than were sent")
		}
		if m := hear[*Disconnect](p); m.Channel != channel || m.Cause != "EOF" {
			t.Errorf("the end is %+v", m)
		}
	})
}

func TestAnEmptyWriteSendsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, _ := opened(t, e, p)
		if n, err := st.Write(nil); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		p.hearsNothing()
	})
}

// A stock server answers a Connect in a goroutine of its own.
func TestDataThatOvertakesTheAnswerIsASuccessAndInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		come := make(chan pipe.Conn, 1)
		go func() {
			c, err := e.Dial(t.Context(), "tcp", "target:25")
			if err != nil {
				t.Error(err)
			}
			come <- c
		}()
		channel := hear[*Connect](p).Channel
		p.data(channel, []byte("220 ready\r\n"))
		c := <-come
		p.data(channel, []byte("and "))
		p.say(ConnectResponse{OK: true, Channel: channel})
		p.data(channel, []byte("more"))
		p.say(ConnectResponse{Channel: channel, Cause: "too late"})
		p.say(Disconnect{Channel: channel})
		if c != nil {
			wantAll(t, c, []byte("220 ready\r\nand more"))
		}
	})
}

func TestATargetThatSpeaksFirstIsHeardEveryTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, link.Config{}, link.Config{Dial: serving(func(c *memnet.Conn) {
			_, _ = io.WriteString(c, "220 ready\r\n")
			_ = c.Close()
		})})
		for range 200 {
			st := dial(t, l.near)
			wantAll(t, st, []byte("220 ready\r\n"))
			must(t, st.CloseWrite(), st.Close())
		}
		wantNothingOpen(t, l.near)
		wantNothingOpen(t, l.far)
	})
}

func wantNothingOpen(t testing.TB, e *end) {
	t.Helper()
	synctest.Wait()
	if n := e.Streams(); n != 0 {
		t.Errorf("%d streams are still open", n)
	}
	if n := e.inbound.room.held.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.served != 0 {
		t.Errorf("%d channels are still counted", e.served)
	}
}

func TestDataMayFollowAConnectAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		_, p := byHand(t, false, link.Config{Dial: func(ctx context.Context, network, address string) (pipe.Conn, error) {
			<-release
			return serving(echo)(ctx, network, address)
		}})
		channel := uuid.New()
		p.say(Connect{Proto: TCP, Channel: channel, Host: "target", Port: 80})
		p.data(channel, []byte("early "))
		p.data(channel, []byte("bird"))
		p.say(Disconnect{Channel: channel, Cause: "EOF"})
		p.hearsNothing()
		close(release)
		if m := hear[*ConnectResponse](p); !m.OK {
			t.Fatalf("%+v", m)
		}
		if m := hear[*Data](p); string(m.Payload) != "early bird" {
			t.Errorf("echoed %q", m.Payload)
		}
		hear[*Disconnect](p)
	})
}

func TestDialEarlyWritesBeforeTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		c, err := e.DialEarly(t.Context(), "tcp", "[2001:db8::1]:443")
		must(t, err)
		_, err = c.Write([]byte("hello"))
		must(t, err)
		m := hear[*Connect](p)
		if m.Host != "2001:db8::1" || m.Port != 443 || m.Proto != TCP {
			t.Errorf("heard %+v", m)
		}
		if d := hear[*Data](p); string(d.Payload) != "hello" || d.Channel != m.Channel {
			t.Errorf("heard %+v", d)
		}
		p.say(ConnectResponse{OK: true, Channel: m.Channel})
		p.data(m.Channel, []byte("hello yourself"))
		wantRead(t, c, []byte("hello yourself"))
	})
}

// Reading in pieces of any size gives the same bytes as taking chunks.
func TestReadAndNextGiveTheSameStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, channel := opened(t, e, p)
		all := noise(1, 600<<10)
		go func() {
			for rest := all; len(rest) > 0; {
				n := min(len(rest), 1+int(binary.BigEndian.Uint16(rest))%50000)
				p.data(channel, rest[:n])
				rest = rest[n:]
			}
			p.say(Disconnect{Channel: channel})
		}()
		var got []byte
		for i := 0; ; i++ {
			var chunk []byte
			var err error
			if i%2 == 0 {
				chunk, err = st.Next()
				chunk = bytes.Clone(chunk)
			} else {
				chunk = make([]byte, 1+i*7)
				var n int
				n, err = st.Read(chunk)
				chunk = chunk[:n]
			}
			if err == io.EOF {
				break
			}
			must(t, err)
			got = append(got, chunk...)
		}
		if !bytes.Equal(got, all) {
			t.Errorf("%d of %d bytes, or others", len(got), len(all))
		}
	})
}

func TestAStreamSaysWhereItLeads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		st, _ := opened(t, e, p)
		if got := fmt.Sprint(st.RemoteAddr().Network(), " ", st.RemoteAddr(), " ", st.LocalAddr()); got != "linksocks target:80 " {
			t.Errorf("got %q", got)
		}
	})
}
