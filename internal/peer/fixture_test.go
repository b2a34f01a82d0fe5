package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretText    = "correct-horse-battery"
	connectorText = "staple-of-connectors"
)

// manner is how a relay treats the next links.
type manner struct {
	status    int       // instead of an upgrade
	header    [2]string // with it
	mute      bool      // no word after the upgrade
	early     bool      // Partners before AuthResponse
	answer    linksocks.AuthResponse
	config    wire.Config
	connector func(linksocks.Connector) *linksocks.ConnectorResponse
}

// relay is the other end of the links, in the test's process.
type relay struct {
	t     testing.TB
	ln    net.Listener
	srv   *http.Server
	up    chan *upLink
	ends  chan error // of sessions
	group sync.WaitGroup
	stop  context.CancelFunc

	mu     sync.Mutex // guards below
	manner manner
	urls   []*url.URL
	auths  []linksocks.Auth
	wishes []linksocks.Connector
}

func newRelay(t testing.TB, ln net.Listener) *relay {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &relay{
		t: t, ln: ln, up: make(chan *upLink, 100), ends: make(chan error, 100), stop: cancel,
		manner: manner{answer: linksocks.AuthResponse{OK: true}},
	}
	r.srv = &http.Server{
		Handler:     http.HandlerFunc(r.serve),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	r.group.Go(func() { _ = r.srv.Serve(ln) })
	t.Cleanup(r.close)
	return r
}

// hostRelay is a relay on 127.0.0.1.
func hostRelay(t testing.TB) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newRelay(t, ln)
}

// memRelay is a relay in a network in memory, where it is "relay:80".
func memRelay(t testing.TB, n *memnet.Network) *relay {
	t.Helper()
	ln, err := n.Listen("relay:80")
	if err != nil {
		t.Fatal(err)
	}
	return newRelay(t, ln)
}

func (r *relay) close() {
	r.stop()
	_ = r.srv.Close()
	r.group.Wait()
}

func (r *relay) set(change func(*manner)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.manner)
}

func (r *relay) serve(w http.ResponseWriter, req *http.Request) {
	r.group.Add(1)
	defer r.group.Done()
	r.mu.Lock()
	r.urls = append(r.urls, req.URL)
	m := r.manner
	r.mu.Unlock()
	if m.status != 0 {
		if m.header[0] != "" {
			w.Header().Set(m.header[0], m.header[1])
		}
		w.WriteHeader(m.status)
		return
	}
	conn, _, err := handshake.Accept(w, req, ws.Config{})
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(req.Context(), func() { _ = conn.Close() })()
	if !r.greet(conn, req, m) {
		return
	}
	u := &upLink{conn: conn}
	cfg := m.config
	cfg.Manage = func(w wire.Wish, answer func(redact.Secret, string)) { r.manage(u, w, answer) }
	u.Session = linksocks.New(conn, cfg)
	r.up <- u
	r.ends <- u.Run(req.Context())
}

// upLink is a link as the relay sees it.
type upLink struct {
	*linksocks.Session
	conn *ws.Conn
}

// Send sends any message.
func (u *upLink) Send(m interface {
	Append(dst []byte) ([]byte, error)
}) error {
	b, err := m.Append(nil)
	if err != nil {
		return err
	}
	return u.conn.WriteMessage(ws.Binary, b)
}

func (r *relay) manage(u *upLink, w wire.Wish, answer func(redact.Secret, string)) {
	wish := linksocks.Connector{Token: w.Token, Op: linksocks.OpAdd}
	if w.Remove {
		wish.Op = linksocks.OpRemove
	}
	r.mu.Lock()
	r.wishes = append(r.wishes, wish)
	connector := r.manner.connector
	r.mu.Unlock()
	if connector == nil {
		return
	}
	switch said := connector(wish); {
	case said == nil:
	case said.Request != wish.Request:
		r.group.Go(func() { _ = u.Send(*said) }) // of somebody else
	case said.OK:
		answer(said.Token, "")
	default:
		answer(redact.Secret{}, said.Cause)
	}
}

func (r *relay) greet(conn *ws.Conn, req *http.Request, m manner) bool {
	if !req.URL.Query().Has("token") {
		auth, err := linksocks.ReadAuth(conn)
		if err != nil {
			return false
		}
		r.mu.Lock()
		r.auths = append(r.auths, auth)
		r.mu.Unlock()
	}
	switch {
	case m.mute:
		_, _, _ = conn.ReadMessage(nil)
		return false
	case m.early:
		msg, _ := linksocks.Partners{Count: 1}.Append(nil)
		_ = conn.WriteMessage(ws.Binary, msg)
	}
	return linksocks.SendAuthResponse(conn, m.answer) == nil && m.answer.OK
}

func (r *relay) url(path string) *url.URL {
	u, err := handshake.NormalizeURL("ws://" + r.ln.Addr().String() + path)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

func (r *relay) requests() []*url.URL {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*url.URL(nil), r.urls...)
}

// output collects the log.
type output struct {
	mu  sync.Mutex // guards below
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// running is a Run in the background.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
	log    *output
	ready  chan net.Addr
}

// start runs a peer until the test ends. Whatever a test does, no secret may
// come to the log, nor be in the error.
func start(t testing.TB, o Options) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, ended: make(chan struct{}), log: new(output), ready: make(chan net.Addr, 2)}
	o.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: levelTrace}))
	if o.Ready == nil {
		o.Ready = func(a net.Addr) error {
			r.ready <- a
			return nil
		}
	}
	go func() {
		defer close(r.ended)
		r.err = Run(ctx, o)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
		text := r.log.String()
		if r.err != nil {
			text += r.err.Error()
		}
		for _, secret := range []string{secretText, connectorText} {
			if strings.Contains(text, secret) || strings.Contains(text, linksocks.HashToken(redact.New(secret)).Reveal()) {
				t.Errorf("a secret came out:\n%s", text)
			}
		}
	})
	return r
}

// stop ends the peer and gives what Run returned.
func (r *running) stop() error {
	r.cancel()
	<-r.ended
	return r.err
}

// client is a client of a relay on this host, with its SOCKS port here.
func client(r *relay) Options {
	return Options{URL: r.url("/socket"), Role: Client, Token: redact.New(secretText), Listen: listenHere}
}

func listenHere(ctx context.Context) (pipe.Listener, error) {
	return new(site.Here).Listen(ctx, "tcp", "127.0.0.1:0")
}

func provider(r *relay) Options {
	return Options{URL: r.url("/socket"), Role: Provider, Token: redact.New(secretText), Dial: new(site.Here).Dial}
}

// memDialer dials in memory.
func memDialer(n *memnet.Network) handshake.Dialer {
	return handshake.Dialer{NetDial: func(ctx context.Context, _, address string) (pipe.Conn, error) {
		c, err := n.Dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return c, nil
	}}
}

// memClient is a client in memory, with its SOCKS port at "socks".
func memClient(r *relay, n *memnet.Network) Options {
	o := client(r)
	o.Dialer = memDialer(n)
	o.Listen = func(context.Context) (pipe.Listener, error) {
		ln, err := n.Listen("socks")
		if err != nil {
			return nil, err
		}
		return memListener{ln}, nil
	}
	return o
}

type memListener struct{ *memnet.Listener }

func (l memListener) Accept() (pipe.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c.(*memnet.Conn), nil
}

// ask asks a SOCKS server for a target, and gives its reply (RFC 1928, section 6).
func ask(c net.Conn, command byte, host string, port uint16) (reply byte, bound netip.AddrPort, err error) {
	b := []byte{5, 1, 0, 5, command, 0, 3, byte(len(host))}
	b = binary.BigEndian.AppendUint16(append(b, host...), port)
	if _, err := c.Write(b); err != nil {
		return 0, bound, err
	}
	var answer [2 + 10]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return 0, bound, err
	}
	if answer[1] != 0 || answer[5] != 1 {
		return answer[3], bound, nil
	}
	addr, _ := netip.AddrFromSlice(answer[6:10])
	return answer[3], netip.AddrPortFrom(addr, binary.BigEndian.Uint16(answer[10:])), nil
}

// through opens a connection to a target by way of a SOCKS port on this host.
func through(t testing.TB, socks net.Addr, target string) net.Conn {
	t.Helper()
	c, err := net.Dial(socks.Network(), socks.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	at := netip.MustParseAddrPort(target)
	reply, _, err := ask(c, 1, at.Addr().String(), at.Port())
	if err != nil || reply != 0 {
		t.Fatalf("SOCKS reply %d, %v", reply, err)
	}
	return c
}

// echo is a Dial to something that gives back what it gets.
func echo(n *memnet.Network, group *sync.WaitGroup) func(context.Context, string, string) (pipe.Conn, error) {
	return func(context.Context, string, string) (pipe.Conn, error) {
		near, far := n.Pair()
		group.Go(func() {
			_, _ = io.Copy(far, far)
			_ = far.Close()
		})
		return near, nil
	}
}

var errAsked = errors.New("asked")
