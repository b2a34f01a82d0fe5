package relay

import (
	"context"
	"io"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
)

// metric is the value of a hub's metric whose only label, if it has one, has
// this value.
func metric(t testing.TB, h *Hub, name, label string) int {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	must(t, registry.Register(h.Collector()))
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return 0
}

// welcomed wants a connection's first message to be a success.
func welcomed(t testing.TB, conn *ws.Conn) *ws.Conn {
	t.Helper()
	answer, err := linksocks.ReadAuthResponse(conn)
	if err != nil || !answer.OK {
		t.Fatalf("the first message is %+v, %v", answer, err)
	}
	conn.SetMaxMessage(linksocks.MaxMessage)
	return conn
}

// guest is a peer by hand, that hears all the time.
type guest struct {
	t     testing.TB
	conn  *ws.Conn
	heard chan linksocks.Message
	err   error // how the link ended, when heard is closed
}

// listening hears what comes on a connection that is welcome.
func listening(t testing.TB, conn *ws.Conn) *guest {
	g := &guest{t: t, conn: conn, heard: make(chan linksocks.Message, 1<<12)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.listen()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return g
}

func (g *guest) listen() {
	defer close(g.heard)
	for {
		_, msg, err := g.conn.ReadMessage(nil)
		if err != nil {
			g.err = err
			return
		}
		m, err := new(linksocks.Decoder).Decode(msg)
		if err != nil {
			g.t.Errorf("the relay sent % .40x: %v", msg, err)
			return
		}
		g.heard <- m
	}
}

// guest joins by URL.
func (f *fixture) guest(token string, kind Kind, instance uuid.UUID) *guest {
	f.t.Helper()
	return listening(f.t, welcomed(f.t, f.connect(query(token, kind, instance))))
}

// hear wants a message of this type next.
func hear[M linksocks.Message](g *guest) M {
	g.t.Helper()
	m, ok := <-g.heard
	if !ok {
		g.t.Fatalf("the link ended: %v", g.err)
	}
	got, ok := m.(M)
	if !ok {
		g.t.Fatalf("heard %T %+v, want %T", m, m, got)
	}
	return got
}

// await waits for a message of this type, whatever comes before it; nil if the
// link ended.
func await[M linksocks.Message](g *guest) (none M) {
	for m := range g.heard {
		if got, ok := m.(M); ok {
			return got
		}
	}
	return none
}

type appender interface {
	Append(dst []byte) ([]byte, error)
}

func (g *guest) say(m appender) {
	g.t.Helper()
	msg, err := m.Append(nil)
	must(g.t, err, g.conn.WriteMessage(ws.Binary, msg))
}

// manage asks for a connector token to be added or removed.
func (g *guest) manage(op linksocks.Op, token string) *linksocks.ConnectorResponse {
	g.t.Helper()
	wish := linksocks.Connector{Request: uuid.New(), Token: redact.New(token), Op: op}
	g.say(wish)
	for {
		m, ok := <-g.heard
		if !ok {
			g.t.Fatalf("the link ended: %v", g.err)
		}
		if answer, ok := m.(*linksocks.ConnectorResponse); ok && answer.Request == wish.Request {
			return answer
		}
	}
}

// member is a peer that works as ours do.
type member struct {
	*linksocks.Session
	over chan struct{} // closed when Run has returned
}

func (f *fixture) join(token string, kind Kind, instance uuid.UUID, cfg wire.Config) *member {
	f.t.Helper()
	m := &member{Session: linksocks.New(welcomed(f.t, f.connect(query(token, kind, instance))), cfg), over: make(chan struct{})}
	go func() {
		defer close(m.over)
		_ = m.Run(context.Background())
	}()
	f.t.Cleanup(m.leave)
	return m
}

func (m *member) leave() {
	m.Close()
	<-m.over
}

// provider lends this machine's network. It is there for others when provider
// returns.
func (f *fixture) provider(token string) *member {
	f.t.Helper()
	return f.providerOf(token, uuid.New(), wire.Config{Dial: new(site.Here).Dial, UDP: new(site.Here)})
}

func (f *fixture) providerOf(token string, instance uuid.UUID, cfg wire.Config) *member {
	f.t.Helper()
	n := f.links(token)
	m := f.join(token, Reverse, instance, cfg)
	if f.net != nil {
		synctest.Wait() // to ask again and again would let virtual time pass
	}
	eventually(f.t, "the provider is known", func() bool { return f.links(token) > n })
	return m
}

// user joins with a forward or connector token.
func (f *fixture) user(token string, kind Kind) *member {
	f.t.Helper()
	return f.join(token, kind, uuid.New(), wire.Config{})
}

// dial opens a stream that must be opened.
func (m *member) dial(t testing.TB, address string) pipe.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := m.Dial(ctx, "tcp", address)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// login is what a SOCKS user has to give.
type login struct{ username, password string }

// greet does the first half of a SOCKS handshake, and reports whether the user
// was let in.
func greet(t testing.TB, c net.Conn, l *login) bool {
	t.Helper()
	var answer [2]byte
	ask := func(msg []byte) byte {
		t.Helper()
		_, err := c.Write(msg)
		must(t, err)
		_, err = io.ReadFull(c, answer[:])
		must(t, err)
		return answer[1]
	}
	if l == nil {
		return ask([]byte{5, 1, 0}) == 0
	}
	if ask([]byte{5, 1, 2}) != 2 {
		return false
	}
	msg := append([]byte{1, byte(len(l.username))}, l.username...)
	return ask(append(append(msg, byte(len(l.password))), l.password...)) == 0
}

// request asks for a target, and gives the reply and the bound address.
func request(t testing.TB, c net.Conn, command byte, target string) (reply byte, bound *net.UDPAddr) {
	t.Helper()
	host, port, err := net.SplitHostPort(target)
	must(t, err)
	n, err := strconv.Atoi(port)
	must(t, err)
	msg := []byte{5, command, 0, 3, byte(len(host))}
	if ip := net.ParseIP(host).To4(); ip != nil {
		msg = append([]byte{5, command, 0, 1}, ip...)
	} else {
		msg = append(msg, host...)
	}
	_, err = c.Write(append(msg, byte(n>>8), byte(n)))
	must(t, err)
	var answer [10]byte
	_, err = io.ReadFull(c, answer[:])
	must(t, err)
	return answer[1], &net.UDPAddr{IP: net.IP(answer[4:8]), Port: int(answer[8])<<8 | int(answer[9])}
}

// socks connects to a SOCKS port.
func socks(t testing.TB, port int) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// through connects to a target by a SOCKS port that asks for nothing.
func through(t testing.TB, port int, target string) *net.TCPConn {
	t.Helper()
	c := socks(t, port)
	if !greet(t, c, nil) {
		t.Fatal("the port asks for a password")
	}
	if reply, _ := request(t, c, 1, target); reply != 0 {
		t.Fatalf("reply %d", reply)
	}
	return c
}

// replyTo is the reply that a SOCKS port has for a target.
func replyTo(t testing.TB, port int, target string) byte {
	t.Helper()
	c := socks(t, port)
	if !greet(t, c, nil) {
		t.Fatal("the port asks for a password")
	}
	reply, _ := request(t, c, 1, target)
	return reply
}
