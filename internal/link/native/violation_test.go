package native

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
)

// The streams of a stage: what was opened on a link before something is said.
const (
	served   = 1 // the peer opened it; it was accepted, and its target takes nothing
	ended    = 3 // the same, and the peer has sent FIN
	pending  = 5 // the peer opened it, and its target has not answered
	asked    = 2 // the session opened it, and was not answered
	agreed   = 4 // the session opened it, and was
	unusedUs = 8 // the session has opened none of this number
	unused   = 9 // nor the peer of this
	given    = 6 // the session opened it and gave it up
	past     = 7 // the peer opened it and reset it
)

// newStage gives a server's session, and a peer with whom it has such streams.
func newStage(t *testing.T) (*end, *peer) {
	t.Helper()
	e, p := byHand(t, false, link.Config{UDP: &udpSite{}, Dial: func(ctx context.Context, _, address string) (pipe.Conn, error) {
		if address == "slow:80" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return deaf{make(chan struct{})}, nil
	}})
	p.open()
	p.say(bare(typeFin, p.open()))
	p.say(opening{kind: openTCP, host: "slow", port: 80}.append(nil, pending))
	p.next = past
	p.say(reset(p.open(), GivenUp, ""))
	for _, id := range []uint32{asked, agreed, given} {
		c, err := e.DialEarly(t.Context(), "tcp", "target:80")
		must(t, err)
		switch p.hear(typeOpen); id {
		case agreed:
			p.say(bare(typeAccept, id))
		case given:
			must(t, c.Close())
			p.hear(typeReset)
		}
	}
	p.hearsNothing()
	return e, p
}

// zeros is a payload.
func zeros(n int) []byte { return make([]byte, n) }

// claim is the header of a frame whose payload is not sent.
func claim(kind frameType, stream uint32, length int) []byte {
	return appendHeader(nil, kind, stream, length)
}

func open(id uint32, m opening) [][]byte { return [][]byte{m.append(nil, id)} }

var violations = map[string]struct {
	section string
	say     [][]byte // the message
}{
	"an empty message":                      {"1.3", [][]byte{}},
	"half a header":                         {"1.3", [][]byte{{0, 0, 0, 5, 0}}},
	"half a header behind a frame":          {"1.3", [][]byte{bare(typeAccept, asked), {0, 0, 0}}},
	"half a DATA":                           {"1.3", [][]byte{claim(typeData, served, 10), zeros(9)}},
	"half a DATA of a stream that is over":  {"1.3", [][]byte{claim(typeData, past, 10), zeros(9)}},
	"a DATA that spans messages":            {"1.3", [][]byte{claim(typeData, served, 10)}},
	"half an OPEN":                          {"1.3", [][]byte{claim(typeOpen, unused, 10), zeros(9)}},
	"half an extension":                     {"1.3", [][]byte{claim(0x80, 0, 10), zeros(9)}},
	"type 0":                                {"2", [][]byte{claim(0, 0, 0)}},
	"type 16":                               {"2", [][]byte{claim(0x10, 0, 0)}},
	"type 127":                              {"2", [][]byte{claim(0x7f, 0, 0)}},
	"an extension that is too long":         {"2", [][]byte{claim(0xff, 0, 131073)}},
	"a second HELLO":                        {"3", [][]byte{Hello{}.Append(nil)}},
	"WELCOME":                               {"3", [][]byte{bare(typeWelcome, 0)}},
	"REFUSED":                               {"3", [][]byte{verdict{InvalidToken, ""}.append(nil, typeRefused, 0)}},
	"OPEN with a number of ours":            {"4.1", open(unusedUs, opening{kind: 1, host: "target", port: 80})},
	"OPEN with a number that is used":       {"4.1", open(past, opening{kind: 1, host: "target", port: 80})},
	"OPEN with a number below":              {"4.1", open(pending, opening{kind: 2})},
	"OPEN of kind 0":                        {"4.2", open(unused, opening{kind: 0, host: "target", port: 80})},
	"OPEN of kind 3":                        {"4.2", open(unused, opening{kind: 3, host: "target", port: 80})},
	"OPEN that ends within its host":        {"4.2", [][]byte{frame(typeOpen, unused, []byte{1, 0, 80, 3, 'a', 'b'})}},
	"early data of an association":          {"4.2", open(unused, opening{kind: 2, early: []byte("x")})},
	"too much early data":                   {"4.2", open(unused, opening{kind: 1, host: "target", port: 80, early: zeros(65537)})},
	"DATA before ACCEPT":                    {"4.2", [][]byte{data(asked, []byte("x"))}},
	"FIN before ACCEPT":                     {"4.2", [][]byte{bare(typeFin, asked)}},
	"DATA beyond the credit":                {"4.3", [][]byte{data(served, zeros(65537))}},
	"DATA beyond the credit of many frames": {"4.3", [][]byte{data(agreed, zeros(65535)), data(agreed, zeros(1)), data(agreed, zeros(1))}},
	"DATA beyond what early data left": {"4.3", append(
		open(unused, opening{kind: 1, host: "slow", port: 80, early: zeros(65536)}), data(unused, zeros(1)))},
	"WINDOW of nothing":                {"4.3", [][]byte{window(served, 0)}},
	"WINDOW above the limit":           {"4.3", [][]byte{window(served, 16777216-65536+1)}},
	"WINDOWs above the limit":          {"4.3", [][]byte{window(asked, 16777216-65536), window(asked, 1)}},
	"WINDOW with all bits":             {"4.3", [][]byte{window(agreed, 1<<32-1)}},
	"DATA after FIN":                   {"4.7", [][]byte{data(ended, []byte("x"))}},
	"a second FIN":                     {"4.7", [][]byte{bare(typeFin, ended)}},
	"a second ACCEPT":                  {"4.7", [][]byte{bare(typeAccept, agreed)}},
	"ACCEPT of what the peer opened":   {"4.7", [][]byte{bare(typeAccept, served)}},
	"ACCEPT of what waits for ours":    {"4.7", [][]byte{bare(typeAccept, pending)}},
	"DATA of a number not used":        {"4.7", [][]byte{data(unused, []byte("x"))}},
	"DATA of a number not used by us":  {"4.7", [][]byte{data(unusedUs, []byte("x"))}},
	"ACCEPT of a number not used":      {"4.7", [][]byte{bare(typeAccept, unusedUs)}},
	"WINDOW of a number not used":      {"4.7", [][]byte{window(unused, 1)}},
	"FIN of a number not used":         {"4.7", [][]byte{bare(typeFin, unused)}},
	"RESET of a number not used":       {"4.7", [][]byte{reset(unusedUs, GivenUp, "")}},
	"DATAGRAM of a number not used":    {"4.7", [][]byte{datagram{"192.0.2.1", 53, nil}.append(nil, unused)}},
	"DATAGRAM that ends in its host":   {"4.8", [][]byte{frame(typeDatagram, served, []byte{2, 'a', 0, 80})}},
	"DATAGRAM that is too long":        {"4.8", [][]byte{datagram{"192.0.2.1", 53, zeros(65508)}.append(nil, served)}},
	"CONNECTOR of operation 0":         {"7", [][]byte{wish{1, 0, "token"}.append(nil, typeConnector)}},
	"CONNECTOR of operation 3":         {"7", [][]byte{wish{1, 3, "token"}.append(nil, typeConnector)}},
	"a frame that is right, and wrong": {"4.3", [][]byte{bare(typeAccept, asked), window(asked, 0)}},
}

func TestWhatAPeerDoesWrongEndsTheLinkWithTheSection(t *testing.T) {
	t.Parallel()
	for name, v := range violations {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, p := newStage(t)
				p.say(v.say...)
				wantViolation(t, e, p, v.section)
			})
		})
	}
}

// wantViolation wants the link to have ended with an *Error of the section, and
// the peer to know.
func wantViolation(t *testing.T, e *end, p *peer, section string) {
	t.Helper()
	p.all()
	for _, over := range []chan struct{}{p.over, e.over} {
		select {
		case <-over:
		case <-time.After(2 * time.Second): // for the closing handshake
			t.Fatal("the link goes on")
		}
	}
	var bad *Error
	if !errors.As(e.err, &bad) || bad.Section != section {
		t.Fatalf("the link ended with %v, want section %s", e.err, section)
	}
	var told *ws.CloseError
	if !errors.As(p.err, &told) || told.Code != ws.CodeProtocol || !strings.Contains(told.Reason, "section "+section+":") {
		t.Errorf("the peer was told %v", p.err)
	}
	if n := e.counts.of("protocol_error"); n != 1 {
		t.Errorf("%d errors were counted", n)
	}
}

// limits are those of the table in section 2, with the least that the fields need.
var limits = []struct {
	kind        frameType
	stream      bool
	least, most int
}{
	{typeHello, false, 18, 512},
	{typeWelcome, false, 0, 512},
	{typeRefused, false, 1, 512},
	{typeOpen, true, 4, 65536 + 260},
	{typeAccept, true, 0, 0},
	{typeData, true, 1, 131072},
	{typeWindow, true, 4, 4},
	{typeFin, true, 0, 0},
	{typeReset, true, 1, 256},
	{typeDatagram, true, 3, 65507 + 260},
	{typeGoAway, false, 5, 256},
	{typeConnector, false, 5, 260},
	{typeConnectorResult, false, 5, 260},
	{typePartners, false, 4, 4},
	{typeLog, false, 1, 1024},
}

func TestAFrameThatCannotBeIsRefusedByItsHeader(t *testing.T) {
	t.Parallel()
	for _, l := range limits {
		stream, other := uint32(served), uint32(0)
		if !l.stream {
			stream, other = other, stream
		}
		wrong := [][]byte{claim(l.kind, other, l.least), claim(l.kind, stream, l.most+1), claim(l.kind, stream, 1<<24-1)}
		if l.least > 0 {
			wrong = append(wrong, claim(l.kind, stream, l.least-1), claim(l.kind, stream, 0))
		}
		for _, head := range wrong {
			t.Run(l.kind.String(), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					e, p := newStage(t)
					p.say(head)
					wantViolation(t, e, p, "2")
				})
			})
		}
		for _, n := range []int{l.least, l.most} {
			if err := parseHeader(claim(l.kind, stream, n)).check(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestATextMessageEndsTheLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := newStage(t)
		must(t, p.conn.WriteMessage(ws.Text, bare(typeAccept, asked)))
		wantViolation(t, e, p, "1.3")
	})
}

func TestAMessageAboveTheLimitEndsTheLinkWith1009(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := newStage(t)
		long := bytes.Repeat(frame(0x80, 0, zeros(65528)), 16)
		p.say(long)
		p.hearsNothing()
		go func() { p.say(long, bare(0x80, 0)) }()
		synctest.Wait()
		<-e.over
		<-p.over
		var told *ws.CloseError
		if !errors.As(p.err, &told) || told.Code != ws.CodeTooBig {
			t.Errorf("the peer was told %v", p.err)
		}
		var bad *ws.ProtocolError
		if !errors.As(e.err, &bad) || bad.Code != ws.CodeTooBig {
			t.Errorf("the link ended with %v", e.err)
		}
	})
}
