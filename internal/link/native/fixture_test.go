package native

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// bubble runs a test with a clock of its own. What is left running fails it.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// took is how long f takes.
func took(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// noise gives bytes that do not repeat, other ones for every seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// counts are what a session wants counted.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[event]++
}

func (c *counts) of(event string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[event]
}

// end is a session that runs.
type end struct {
	*Session
	counts counts
	over   chan struct{}
	err    error // of Run, when over
	stop   context.CancelFunc
}

// inPieces reads what comes now as it is, now in pieces that end anywhere: a
// message that is there as a whole is read another way than one that is not.
type inPieces struct {
	*memnet.Conn
	random *rand.Rand // of the one who reads
}

func (c inPieces) Read(p []byte) (int, error) {
	if c.random.IntN(2) == 0 {
		p = p[:min(len(p), 1+c.random.IntN(40))]
	}
	return c.Conn.Read(p)
}

func run(t testing.TB, conn net.Conn, client bool, cfg link.Config) *end {
	t.Helper()
	if c, ok := conn.(*memnet.Conn); ok {
		conn = inPieces{c, rand.New(rand.NewPCG(1, 2))}
	}
	e := &end{over: make(chan struct{})}
	if cfg.Count == nil {
		cfg.Count = e.counts.add
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.Session = New(ws.New(conn, nil, ws.Config{Client: client, WriteTimeout: link.WriteTimeout}), client, cfg)
	go func() {
		defer close(e.over)
		e.err = e.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-e.over
	})
	return e
}

// wantEnded wants the link to have ended with this error.
func (e *end) wantEnded(t testing.TB, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case <-e.over:
		if !errors.Is(e.err, want) {
			t.Errorf("the link ended with %v, want %v", e.err, want)
		}
	default:
		t.Error("the link goes on")
	}
}

// wantNothingLeft wants all that was opened to be accounted for.
func wantNothingLeft(t testing.TB, ends ...*end) {
	t.Helper()
	synctest.Wait()
	for _, e := range ends {
		e.mu.Lock()
		streams, associations, wishes, served := len(e.streams), len(e.associations), len(e.wishes), e.served
		e.mu.Unlock()
		if granted := e.windows.granted.given.Load(); streams+associations+wishes+served != 0 || granted != 0 {
			t.Errorf("%d streams, %d associations, %d wishes, %d served and %d bytes of credit are left",
				streams, associations, wishes, served, granted)
		}
	}
}

// pairing is two sessions back to back.
type pairing struct {
	net       *memnet.Network
	near, far *end // near is the client
}

func newLink(t testing.TB, near, far link.Config) *pairing {
	t.Helper()
	n := memnet.New()
	a, b := n.Pair()
	return &pairing{net: n, near: run(t, a, true, near), far: run(t, b, false, far)}
}

// dial opens a stream.
func dial(t testing.TB, e *end) *Stream {
	t.Helper()
	c, err := e.Dial(t.Context(), "tcp", "target:80")
	must(t, err)
	return c.(*Stream)
}

type dialFunc = func(ctx context.Context, network, address string) (pipe.Conn, error)

// serving dials something in memory that handle serves.
func serving(handle func(c *memnet.Conn)) dialFunc {
	return func(context.Context, string, string) (pipe.Conn, error) {
		near, far := memnet.New().Pair()
		go handle(far)
		return near, nil
	}
}

// giving dials something in memory whose other end the test gets.
func giving() (dialFunc, <-chan *memnet.Conn) {
	came := make(chan *memnet.Conn, 1<<10)
	return serving(func(c *memnet.Conn) { came <- c }), came
}

func echo(c *memnet.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
}

// through dials by way of another session, as a relay does.
func through(e *end) dialFunc { return e.DialEarly }

// got is a frame that was heard.
type got struct {
	kind    frameType
	stream  uint32
	payload []byte
}

// peer is the other end of a session, by hand.
type peer struct {
	t     testing.TB
	e     *end
	raw   *memnet.Conn
	net   *memnet.Network
	conn  *ws.Conn
	heard chan got
	over  chan struct{}
	err   error // how the link ended, when over
	next  uint32
}

// byHand gives a session and its peer, who hears all the time, unless told to
// StopReading.
func byHand(t testing.TB, client bool, cfg link.Config) (*end, *peer) {
	t.Helper()
	n := memnet.New()
	near, far := n.Pair()
	p := &peer{t: t, raw: far, net: n, heard: make(chan got, 1<<16), over: make(chan struct{}), next: 1}
	if client {
		p.next = 2
	}
	p.conn = ws.New(far, nil, ws.Config{Client: !client, WriteTimeout: time.Hour})
	e := run(t, near, client, cfg)
	p.e = e
	go func() {
		defer close(p.over)
		p.listen()
	}()
	t.Cleanup(func() {
		_ = p.conn.Close()
		<-p.over
	})
	return e, p
}

func (p *peer) listen() {
	defer close(p.heard)
	for {
		op, msg, err := p.conn.ReadMessage(nil)
		if err != nil {
			p.err = err
			return
		}
		if op != ws.Binary || len(msg) == 0 || len(msg) > MaxMessage {
			p.t.Errorf("a message of kind %d with %d bytes", op, len(msg))
		}
		for len(msg) > 0 {
			if len(msg) < headerSize {
				p.t.Errorf("a message ends with % x", msg)
				break
			}
			h := parseHeader(msg)
			if err := h.check(); err != nil || headerSize+h.length > len(msg) {
				p.t.Errorf("%d bytes that begin with % x: %v", len(msg), msg[:headerSize], err)
				break
			}
			p.heard <- got{h.kind, h.stream, msg[headerSize : headerSize+h.length]}
			msg = msg[headerSize+h.length:]
		}
	}
}

// hear wants a frame of this type next.
func (p *peer) hear(kind frameType) got {
	p.t.Helper()
	g, ok := <-p.heard
	if !ok {
		p.t.Fatalf("the link ended with %v, %s was due", p.err, kind)
	}
	if g.kind != kind {
		p.t.Fatalf("heard %s of stream %d % .40x, %s was due", g.kind, g.stream, g.payload, kind)
	}
	return g
}

// all gives what was heard until now.
func (p *peer) all() (frames []got) {
	synctest.Wait()
	for {
		select {
		case g, ok := <-p.heard:
			if ok {
				frames = append(frames, g)
				continue
			}
		default:
		}
		return frames
	}
}

// hearsNothing wants nothing to be heard, and the link to go on.
func (p *peer) hearsNothing() {
	p.t.Helper()
	for _, g := range p.all() {
		p.t.Errorf("heard %s of stream %d % .40x", g.kind, g.stream, g.payload)
	}
	select {
	case <-p.over:
		p.t.Errorf("the link ended with %v", p.err)
	default:
	}
}

// say sends frames in one message. What a link that ends does not take is no
// failure.
func (p *peer) say(frames ...[]byte) {
	_ = p.conn.WriteMessage(ws.Binary, bytes.Join(frames, nil))
}

// open opens a stream to target:80 and wants it to be accepted.
func (p *peer) open() uint32 {
	p.t.Helper()
	id := p.next
	p.next += 2
	p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, id))
	if g := p.hear(typeAccept); g.stream != id {
		p.t.Fatalf("stream %d was accepted, not %d", g.stream, id)
	}
	return id
}

// opened has the session open a stream, and the peer accept it.
func (p *peer) opened() *Stream {
	p.t.Helper()
	c, err := p.e.DialEarly(p.t.Context(), "tcp", "target:80")
	must(p.t, err)
	p.say(bare(typeAccept, p.hear(typeOpen).stream))
	st := c.(*Stream)
	must(p.t, st.Opened(p.t.Context()))
	return st
}

// bare is a frame without a payload.
func bare(kind frameType, stream uint32) []byte { return appendHeader(nil, kind, stream, 0) }

// frame is one with any payload.
func frame(kind frameType, stream uint32, payload []byte) []byte {
	return append(appendHeader(nil, kind, stream, len(payload)), payload...)
}

func data(stream uint32, payload []byte) []byte { return frame(typeData, stream, payload) }

func window(stream, n uint32) []byte { return appendNumber(nil, typeWindow, stream, n) }

func reset(stream uint32, reason Reason, text string) []byte {
	return verdict{reason, text}.append(nil, typeReset, stream)
}

// credits adds up what WINDOWs of a stream give.
func credits(frames []got, stream uint32) (sum int) {
	for _, g := range frames {
		if g.kind == typeWindow && g.stream == stream {
			sum += int(binary.BigEndian.Uint32(g.payload))
		}
	}
	return sum
}

// payloads joins the DATA of a stream.
func payloads(frames []got, stream uint32) (b []byte) {
	for _, g := range frames {
		if g.kind == typeData && g.stream == stream {
			b = append(b, g.payload...)
		}
	}
	return b
}

// wantRead wants exactly these bytes next.
func wantRead(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); err != nil || !bytes.Equal(b, want) {
		t.Fatalf("read %d bytes %.40q, %v, want %d %.40q", n, b[:n], err, len(want), want)
	}
}

// wantAll wants exactly these bytes and a clean end.
func wantAll(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, want) {
		t.Errorf("read %d bytes %.40q, %v, want %d %.40q", len(b), b, err, len(want), want)
	}
}

// wantFailure wants the next read to fail, and not to wait.
func wantFailure(t testing.TB, r io.Reader, want error) {
	t.Helper()
	if d := took(func() {
		if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
			t.Errorf("read %d, %v, want %v", n, err, want)
		}
	}); d != 0 {
		t.Errorf("it took %v", d)
	}
}
