package linksocks

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// bubble runs a test with a clock of its own.
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
}

func run(t testing.TB, conn net.Conn, client bool, cfg link.Config) *end {
	t.Helper()
	e := &end{over: make(chan struct{})}
	if cfg.Count == nil {
		cfg.Count = e.counts.add
	}
	e.Session = New(ws.New(conn, nil, ws.Config{Client: client, WriteTimeout: link.WriteTimeout}), cfg)
	go func() {
		defer close(e.over)
		e.err = e.Run(context.Background())
	}()
	t.Cleanup(func() {
		e.Close()
		<-e.over
	})
	return e
}

// pair is two sessions back to back.
type pair struct {
	net       *memnet.Network
	near, far *end // near is the client
}

func newLink(t testing.TB, near, far link.Config) *pair {
	t.Helper()
	n := memnet.New()
	a, b := n.Pair()
	return &pair{net: n, near: run(t, a, true, near), far: run(t, b, false, far)}
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

// peer is the other end of a session, by hand.
type peer struct {
	t      testing.TB
	raw    *memnet.Conn
	net    *memnet.Network
	conn   *ws.Conn
	masked bool // what it says
	heard  chan Message
	work   sync.WaitGroup // of inBackground
	ending atomic.Bool    // what is said is not expected to arrive

	mu    sync.Mutex // guards below
	pongs []time.Time
	err   error // how the link ended, when heard is closed
}

// byHand gives a session and its peer. The peer hears all the time, unless
// told to StopReading.
func byHand(t testing.TB, client bool, cfg link.Config) (*end, *peer) {
	t.Helper()
	n := memnet.New()
	near, far := n.Pair()
	p := &peer{t: t, raw: far, net: n, masked: !client, heard: make(chan Message, 1<<17)}
	p.conn = ws.New(far, nil, ws.Config{Client: !client, WriteTimeout: time.Hour})
	p.conn.OnPong(func([]byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pongs = append(p.pongs, time.Now())
	})
	e := run(t, near, client, cfg)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		p.listen()
	}()
	t.Cleanup(func() {
		p.ending.Store(true)
		_ = p.conn.Close()
		<-listening
		p.work.Wait()
	})
	return e, p
}

func (p *peer) listen() {
	defer close(p.heard)
	for {
		_, msg, err := p.conn.ReadMessage(nil)
		if err != nil {
			p.err = err
			return
		}
		m, err := new(Decoder).Decode(msg)
		if err != nil {
			p.t.Errorf("the session sent % .40x: %v", msg, err)
			continue
		}
		p.heard <- m
	}
}

// hear wants a message of this type next.
func hear[M Message](p *peer) M {
	p.t.Helper()
	m, ok := <-p.heard
	if !ok {
		p.t.Fatalf("the link ended: %v", p.err)
	}
	got, ok := m.(M)
	if !ok {
		p.t.Fatalf("heard %T %+v, want %T", m, m, got)
	}
	return got
}

// hears wants nothing to be heard.
func (p *peer) hearsNothing() {
	p.t.Helper()
	synctest.Wait()
	select {
	case m := <-p.heard:
		p.t.Errorf("heard %T %+v", m, m)
	default:
	}
}

// inBackground says what the session may never read to its end.
func (p *peer) inBackground(f func()) { p.work.Go(f) }

func (p *peer) say(m message) {
	p.t.Helper()
	p.sayBytes(encoded(p.t, m))
}

func (p *peer) sayBytes(msg []byte) {
	p.t.Helper()
	if err := p.conn.WriteMessage(ws.Binary, msg); err != nil && !p.ending.Swap(true) {
		p.t.Errorf("say %d bytes: %v", len(msg), err)
	}
}

func encoded(t testing.TB, m message) []byte {
	t.Helper()
	msg, err := m.Append(nil)
	must(t, err)
	return msg
}

// sayInFragments sends a message as a stock client does, in frames of 4096
// bytes, with a ping after every one.
func (p *peer) sayInFragments(msg []byte) {
	p.t.Helper()
	var out []byte
	for op := byte(2); ; op = 0 {
		n := min(len(msg), 4096)
		if n == len(msg) {
			op |= 0x80
		}
		out = appendFrame(out, op, msg[:n], p.masked)
		msg = msg[n:]
		if len(msg) == 0 {
			break
		}
		out = appendFrame(out, 0x89, []byte("still there?"), p.masked)
	}
	if _, err := p.raw.Write(out); err != nil {
		p.t.Error(err)
	}
}

func appendFrame(b []byte, first byte, payload []byte, masked bool) []byte {
	var mask byte
	if masked {
		mask = 0x80
	}
	b = append(b, first)
	if len(payload) < 126 {
		b = append(b, mask|byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(len(payload)))
	}
	if !masked {
		return append(b, payload...)
	}
	key := [4]byte{1, 2, 3, 4}
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// zipped is a Data whose payload is compressed, as stock peers send it.
func zipped(channel uuid.UUID, payload []byte) []byte {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	_, _ = w.Write(payload)
	_ = w.Close()
	b := append([]byte{Version, byte(TypeData), byte(TCP)}, channel[:]...)
	b = binary.BigEndian.AppendUint32(append(b, compGzip), uint32(z.Len()))
	return append(b, z.Bytes()...)
}

// open opens a channel to target:80 and wants it to succeed.
func (p *peer) open() uuid.UUID {
	p.t.Helper()
	channel := uuid.New()
	p.say(Connect{Proto: TCP, Channel: channel, Host: "target", Port: 80})
	if m := hear[*ConnectResponse](p); !m.OK || m.Channel != channel {
		p.t.Fatalf("heard %+v", m)
	}
	return channel
}

// accept hears a Connect and agrees.
func (p *peer) accept() uuid.UUID {
	p.t.Helper()
	m := hear[*Connect](p)
	p.say(ConnectResponse{OK: true, Channel: m.Channel})
	return m.Channel
}

// opened dials from the session and has the peer agree.
func opened(t testing.TB, e *end, p *peer) (*Stream, uuid.UUID) {
	t.Helper()
	type result struct {
		c   pipe.Conn
		err error
	}
	came := make(chan result, 1)
	go func() {
		c, err := e.Dial(t.Context(), "tcp", "target:80")
		came <- result{c, err}
	}()
	channel := p.accept()
	r := <-came
	must(t, r.err)
	return r.c.(*Stream), channel
}

func (p *peer) data(channel uuid.UUID, payload []byte) {
	p.t.Helper()
	p.say(Data{Proto: TCP, Channel: channel, Payload: payload})
}

// wantRead wants exactly these bytes next.
func wantRead(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes %.40q, %v, want %d %.40q", n, got[:n], err, len(want), want)
	}
}

// wantAll wants exactly these bytes and a clean end.
func wantAll(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes %.40q, %v, want %d %.40q", len(got), got, err, len(want), want)
	}
}

// wantFailure wants the next read to fail, and not to wait.
func wantFailure(t testing.TB, r io.Reader, want error) {
	t.Helper()
	begun := time.Now()
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d, %v, want %v", n, err, want)
	}
	if d := time.Since(begun); d != 0 {
		t.Errorf("it took %v", d)
	}
}
