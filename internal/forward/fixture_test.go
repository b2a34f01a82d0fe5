package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "correct horse"

// memoryKeys is a HostKeys in memory.
type memoryKeys struct {
	mu     sync.Mutex
	pinned ssh.PublicKey
}

func (m *memoryKeys) Known(context.Context) (ssh.PublicKey, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pinned, "", nil
}

func (m *memoryKeys) Pin(_ context.Context, key ssh.PublicKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pinned = key
	return nil
}

func (m *memoryKeys) Offer(context.Context, ssh.PublicKey) error { return nil }

// fixture is an SSH server that misbehaves on demand and a supervisor that uses it.
type fixture struct {
	t       *testing.T
	sup     *Supervisor
	server  *sshserver.Server
	faults  *sshserver.Faults
	addr    string
	stopSSH func() // ends the server
	keys    *memoryKeys
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, faults: new(sshserver.Faults), keys: new(memoryKeys)}
	f.sup = newSupervisor(t, nil, nil)
	host, err := sshserver.GenerateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	f.server, err = sshserver.New(sshserver.Config{HostKeys: []ssh.Signer{host}, User: "mole", Password: redact.New(password), Faults: f.faults})
	if err != nil {
		t.Fatal(err)
	}
	f.startSSH("127.0.0.1:0")
	t.Cleanup(func() { f.stopSSH() })
	return f
}

func newSupervisor(t *testing.T, deny, binds []string) *Supervisor {
	t.Helper()
	p, err := policy.New(nil, deny)
	if err != nil {
		t.Fatal(err)
	}
	b, err := policy.NewBind(binds)
	if err != nil {
		t.Fatal(err)
	}
	s := New(context.Background(), Options{Here: &site.Here{Check: p.CheckHere}, Policy: p, Binds: b,
		OwnPorts: map[int]string{3000: "adit's control API"}, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ctx)
	})
	return s
}

func (f *fixture) startSSH(addr string) {
	f.t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.server.Serve(ctx, ln) }()
	f.stopSSH = func() {
		f.faults.DropAll() // as a crash does it; in good order streams end cleanly
		cancel()
		<-done
	}
}

// spec is a forward over the fixture's server.
func (f *fixture) spec(kind Type, deliver string) Spec {
	return Spec{ID: "f1", Name: "web", Type: kind, Listen: "127.0.0.1:0", Deliver: deliver,
		Server: sshsite.Config{Owner: "u:1", Address: f.addr, User: "mole", Password: redact.New(password), HostKeys: f.keys}}
}

func (f *fixture) start(spec Spec) error {
	return f.sup.Start(f.t.Context(), spec.ID,
		func(context.Context) (Spec, error) { return spec, nil },
		func(Status) error { return nil })
}

func (f *fixture) mustStart(spec Spec) Status {
	f.t.Helper()
	if err := f.start(spec); err != nil {
		f.t.Fatalf("start: %v", err)
	}
	st := f.sup.Status(spec.ID)
	if st.State != Active || st.TunnelID == "" || st.ConnectionID == "" || st.BoundPort == 0 || st.LastError != nil {
		f.t.Fatalf("after start: %+v", st)
	}
	return st
}

func (f *fixture) do(id string, fn func(*Tunnel)) {
	f.t.Helper()
	if err := f.sup.Do(f.t.Context(), id, func(t *Tunnel) error { fn(t); return nil }); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) overtake(id string, fn func(*Tunnel)) {
	f.t.Helper()
	if err := f.sup.Overtake(f.t.Context(), id, func(t *Tunnel) error { fn(t); return nil }); err != nil {
		f.t.Fatal(err)
	}
}

// reaches waits until the tunnel's status is as wanted.
func (f *fixture) reaches(id string, what string, ok func(Status) bool) Status {
	f.t.Helper()
	limit := time.After(15 * time.Second)
	for {
		var changed chan struct{}
		f.sup.mu.Lock()
		tunnel := f.sup.tunnels[id]
		f.sup.mu.Unlock()
		if tunnel != nil {
			if r := tunnel.current(); r != nil {
				r.mu.Lock()
				changed = r.changed
				r.mu.Unlock()
			}
		}
		st := f.sup.Status(id)
		if ok(st) {
			return st
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // figures change without a word
		case <-limit:
			f.t.Fatalf("%s: the status stays %+v (%+v)", what, st, st.LastError)
		}
	}
}

// counts waits until the SSH server has seen what is wanted.
func (f *fixture) counts(what string, ok func(sshserver.Counts) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Second)
	defer cancel()
	if err := f.server.WaitCounts(ctx, ok); err != nil {
		f.t.Errorf("%s: %v; the server counts %+v", what, err, f.server.Counts())
	}
}

func in(state State) func(Status) bool { return func(st Status) bool { return st.State == state } }

func at(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func dial(t *testing.T, port int) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", at(port))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func wantCode(t *testing.T, err error, want api.Code) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func wantClosed(t *testing.T, port int) {
	t.Helper()
	if c, err := net.Dial("tcp", at(port)); err == nil {
		c.Close()
		t.Errorf("port %d still listens", port)
	}
}

// ended wants a connection to be over, and not by a clean end after less than all.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read: %v, want a reset", err)
	}
}

// turnedAway wants a new connection to be reset without a byte. That may happen
// before the dial has returned.
func turnedAway(t *testing.T, port int) {
	t.Helper()
	c, err := net.Dial("tcp", at(port))
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	ended(t, c)
}
