package sshsite

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
)

const password = "correct horse"

// memoryKeys is a HostKeys in memory.
type memoryKeys struct {
	mu        sync.Mutex
	pinned    ssh.PublicKey
	offered   ssh.PublicKey
	announced string
}

func (m *memoryKeys) Known(context.Context) (ssh.PublicKey, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pinned, m.announced, nil
}

func (m *memoryKeys) Pin(_ context.Context, key ssh.PublicKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pinned, m.announced = key, ""
	return nil
}

func (m *memoryKeys) Offer(_ context.Context, key ssh.PublicKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offered = key
	return nil
}

// fixture is an SSH server that misbehaves on demand and a configuration to reach it.
type fixture struct {
	server *sshserver.Server
	faults *sshserver.Faults
	host   ssh.Signer
	keys   *memoryKeys
	cfg    Config
	limit  time.Duration // of a dial that should fail
}

func newFixture(t *testing.T, change ...func(*sshserver.Config)) *fixture {
	t.Helper()
	host, err := sshserver.GenerateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{faults: new(sshserver.Faults), host: host, keys: new(memoryKeys), limit: 20 * time.Second}
	conf := sshserver.Config{HostKeys: []ssh.Signer{host}, User: "mole", Password: redact.New(password), Faults: f.faults}
	for _, c := range change {
		c(&conf)
	}
	if f.server, err = sshserver.New(conf); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.server.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done })
	f.cfg = Config{Owner: "test", Address: ln.Addr().String(), User: "mole", Password: redact.New(password), HostKeys: f.keys}
	return f
}

// dial connects and closes the connection with the test.
func (f *fixture) dial(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// fails dials and wants an error with this code.
func (f *fixture) fails(t *testing.T, want api.Code) *api.Error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), f.limit)
	defer cancel()
	c, err := Dial(ctx, f.cfg)
	if err == nil {
		c.Close()
		t.Fatalf("connected, want %s", want)
	}
	var e *api.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Fatalf("got %v (%v), want %s", err, errors.Unwrap(err), want)
	}
	if e.Message == "" || e.Hint == "" {
		t.Errorf("nothing to go by: %+v", e)
	}
	return e
}
