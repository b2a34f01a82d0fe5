package relay

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// soon is how long a test waits for what must happen within a second.
const soon = time.Second

// journal is a log, and the secrets that must not be in it.
type journal struct {
	mu      sync.Mutex // guards below
	text    bytes.Buffer
	secrets []string
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) secret(texts ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.secrets = append(j.secrets, texts...)
}

// check wants no secret in the log.
func (j *journal) check(t testing.TB) {
	text := j.String()
	for _, s := range j.secrets {
		if len(s) >= 8 && strings.Contains(text, s) {
			t.Errorf("the log has a secret in it, %q:\n%s", s, text)
		}
	}
}

// fixture is a hub that serves, and nothing of it may be left behind: not a
// goroutine, and no secret in its log.
type fixture struct {
	t    testing.TB
	hub  *Hub
	log  *journal
	addr string          // where it listens; empty in memory
	net  *memnet.Network // of a hub in memory
}

func newFixture(t testing.TB, o Options, kept []Record) *fixture {
	t.Helper()
	f := &fixture{t: t, log: new(journal)}
	if o.Policy == nil {
		rules, err := policy.New(nil, nil)
		must(t, err)
		o.Policy = rules
	}
	if o.SOCKSHost == "" {
		o.SOCKSHost = "127.0.0.1"
	}
	if o.SOCKSPool == (PortRange{}) {
		o.SOCKSPool = PortRange{First: 20000, Last: 29999}
	}
	o.Logger = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	f.hub, err = New(t.Context(), o, kept)
	must(t, err)
	for _, r := range kept {
		f.hide(r.Token, r.Password)
	}
	t.Cleanup(func() {
		f.hub.Close()
		f.log.check(t)
	})
	return f
}

// serve runs a hub on a port of this machine.
func serve(t testing.TB, o Options, kept ...Record) *fixture {
	t.Helper()
	f := newFixture(t, o, kept)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.addr = ln.Addr().String()
	server := &http.Server{Handler: f.hub, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return f
}

// inMemory runs a test of a hub without sockets, with a clock of its own.
func inMemory(t *testing.T, o Options, test func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, o, nil)
		f.net = memnet.New()
		test(t, f)
	})
}

func (f *fixture) hide(secrets ...redact.Secret) {
	for _, s := range secrets {
		f.log.secret(s.Reveal(), linksocks.HashToken(s).Reveal())
	}
}

// add adds a token that must be welcome.
func (f *fixture) add(spec TokenSpec) Added {
	f.t.Helper()
	added, err := f.hub.Add(context.Background(), spec)
	must(f.t, err)
	f.hide(added.Token, spec.Password)
	return added
}

// The tokens that most tests have.
func (f *fixture) forward(text string) Added {
	f.t.Helper()
	return f.add(TokenSpec{Kind: Forward, Token: redact.New(text)})
}

func (f *fixture) reverse(text string) Added {
	f.t.Helper()
	return f.add(TokenSpec{Kind: Reverse, Token: redact.New(text)})
}

// autonomy is a reverse token without a port whose providers manage connectors.
func (f *fixture) autonomy(text string) Added {
	f.t.Helper()
	return f.add(TokenSpec{Kind: Reverse, Token: redact.New(text), ManageConnectors: true})
}

func (f *fixture) connector(text, reverse string) Added {
	f.t.Helper()
	return f.add(TokenSpec{Kind: Connector, Token: redact.New(text), ReverseToken: redact.New(reverse)})
}

// token is one as the hub has it.
func (f *fixture) token(text string) *token {
	f.t.Helper()
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	t := f.hub.tokens[text]
	if t == nil {
		f.t.Fatalf("there is no token %q", text)
	}
	return t
}

// count is how often an event was counted.
func (f *fixture) count(event string) int {
	f.t.Helper()
	return metric(f.t, f.hub, "adit_relay_events_total", event)
}

// connect makes a WebSocket with this query.
func (f *fixture) connect(query url.Values) *ws.Conn {
	f.t.Helper()
	if f.net != nil {
		near, far := f.net.Pair()
		conn := ws.New(far, nil, ws.Config{WriteTimeout: wire.WriteTimeout, MaxMessage: linksocks.MaxAuth})
		f.hub.group.Go(func() { f.hub.welcome(conn, &inLinksocks, query, "somewhere") })
		return f.closing(ws.New(near, nil, ws.Config{Client: true, WriteTimeout: time.Hour}))
	}
	u := &url.URL{Scheme: "ws", Host: f.addr, Path: "/socket", RawQuery: query.Encode()}
	conn, _, err := new(handshake.Dialer).Dial(f.t.Context(), u, ws.Config{})
	must(f.t, err)
	return f.closing(conn)
}

func (f *fixture) closing(conn *ws.Conn) *ws.Conn {
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// query is what a stock peer puts in the URL.
func query(token string, kind Kind, instance uuid.UUID) url.Values {
	role := "false"
	if kind == Reverse {
		role = "true"
	}
	return url.Values{"token": {linksocks.HashToken(redact.New(token)).Reveal()}, "reverse": {role}, "instance": {instance.String()}}
}

// eventually waits for something that must happen within a second.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !within(10*soon, done) {
		t.Fatalf("waited in vain: %s", what)
	}
}

// within asks again and again, but for no longer than limit.
func within(limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	for !done() {
		if time.Now().After(end) {
			return false
		}
		<-time.After(2 * time.Millisecond)
	}
	return true
}

// links is how many links a token has.
func (f *fixture) links(text string) int {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if t := f.hub.tokens[text]; t != nil {
		return len(t.links)
	}
	return 0
}

// shelf is a Keeper.
type shelf struct {
	mu      sync.Mutex // guards below
	records map[string]Record
	puts    int
	fail    error
}

func newShelf() *shelf { return &shelf{records: make(map[string]Record)} }

func (s *shelf) Put(_ context.Context, r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.puts++
	s.records[r.ID] = r
	return nil
}

func (s *shelf) Delete(_ context.Context, ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, id := range ids {
		delete(s.records, id)
	}
	return nil
}

func (s *shelf) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *shelf) all() (list []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		list = append(list, r)
	}
	return list
}
