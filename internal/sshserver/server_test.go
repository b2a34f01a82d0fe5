package sshserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that will come.
const patience = 20 * time.Second

// running is a server that a test has started.
type running struct {
	*sshserver.Server
	addr    string
	faults  *sshserver.Faults
	hostKey ssh.Signer
	t       *testing.T
	stop    func() // ends Serve and waits for it
}

// start runs a server for user "miner" with password "lamp" until the test ends.
func start(t *testing.T, change func(*sshserver.Config)) *running {
	t.Helper()
	key, err := sshserver.GenerateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	faults := new(sshserver.Faults)
	cfg := sshserver.Config{HostKeys: []ssh.Signer{key}, User: "miner", Password: redact.New("lamp"), Faults: faults}
	if change != nil {
		change(&cfg)
	}
	server, err := sshserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	r := &running{Server: server, addr: ln.Addr().String(), faults: faults, hostKey: key, t: t}
	stopped := false
	r.stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve does not return")
		}
	}
	t.Cleanup(r.stop)
	return r
}

// wait blocks until the counts are as wanted.
func (r *running) wait(what string, ok func(sshserver.Counts) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.WaitCounts(ctx, ok); err != nil {
		r.t.Fatalf("%s: %v, counts are %+v", what, err, r.Counts())
	}
}

// config logs in with the right password.
func (r *running) config() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:            "miner",
		Auth:            []ssh.AuthMethod{ssh.Password("lamp")},
		HostKeyCallback: ssh.FixedHostKey(r.hostKey.PublicKey()),
	}
}

// dial connects over a connection that gives up after patience.
func (r *running) dial(cfg *ssh.ClientConfig, patience time.Duration) (*ssh.Client, error) {
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	conn, chans, reqs, err := ssh.NewClientConn(nc, r.addr, cfg)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	client := ssh.NewClient(conn, chans, reqs)
	r.t.Cleanup(func() { _ = client.Close() })
	return client, nil
}

// client logs in or ends the test.
func (r *running) client() *ssh.Client {
	r.t.Helper()
	client, err := r.dial(r.config(), patience)
	if err != nil {
		r.t.Fatal(err)
	}
	return client
}

// tryTarget dials through client and runs what against the connection.
func tryTarget(client *ssh.Client, address string, what func(net.Conn, int64) error, n int64) error {
	conn, err := client.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return what(conn, n)
}

func TestNewRefusesAConfigThatNobodyCouldUse(t *testing.T) {
	t.Parallel()
	key, err := sshserver.GenerateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	keys := []ssh.Signer{key}
	for name, cfg := range map[string]sshserver.Config{
		"no host key":         {User: "miner", Password: redact.New("lamp")},
		"no user":             {HostKeys: keys, Password: redact.New("lamp")},
		"no login":            {HostKeys: keys, User: "miner"},
		"password but no way": {HostKeys: keys, User: "miner", Password: redact.New("lamp"), NoPasswordMethod: true},
	} {
		if _, err := sshserver.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestServeEndsConnectionsInUse(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	conn, err := server.client().Dial("tcp", target.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Echo(conn, 1000); err != nil {
		t.Fatal(err)
	}
	server.stop() // fails the test when Serve does not return
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the channel outlives the server")
	}
	if c := server.Counts(); c.Current != 0 || c.CurrentChannels != 0 || c.Authenticated != 1 {
		t.Errorf("counts at the end: %+v", c)
	}
}

func TestServeWaitsForWhatItStarted(t *testing.T) {
	t.Parallel()
	dialling := make(chan struct{})
	var ended atomic.Bool
	server := start(t, func(c *sshserver.Config) {
		c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(dialling)
			<-ctx.Done()
			<-time.After(moment) // a dial that is slow to give up
			ended.Store(true)
			return nil, ctx.Err()
		}
	})
	client := server.client()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = client.Dial("tcp", "192.0.2.1:80")
	}()
	<-dialling
	server.stop()
	if !ended.Load() {
		t.Error("Serve returns while a dial runs")
	}
	<-answered
}

func TestServeFailsWithItsListener(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := server.Serve(context.Background(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener: %v", err)
	}
}

// stumbling is a listener whose first Accept fails.
type stumbling struct {
	net.Listener
	first sync.Once
}

func (l *stumbling) Accept() (net.Conn, error) {
	var err error
	l.first.Do(func() { err = &net.OpError{Op: "accept", Err: syscall.EMFILE} })
	if err != nil {
		return nil, err
	}
	return l.Listener.Accept()
}

func TestServeGoesOnWhenTheProcessWasOutOfFiles(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, &stumbling{Listener: ln}) }()
	server.addr = ln.Addr().String()
	server.client()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestConnectionsOverTheLimitAreClosed(t *testing.T) {
	t.Parallel()
	server := start(t, func(c *sshserver.Config) { c.MaxConnections = 1 })
	first := server.client()
	if _, err := server.dial(server.config(), patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("second connection: %v", err)
	}
	_ = first.Close()
	server.wait("first connection closed", func(c sshserver.Counts) bool { return c.Current == 0 })
	server.client()
}

// pipeListener hands out one end of a pipe.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestASilentClientIsCutAfterTenSeconds(t *testing.T) {
	t.Parallel()
	key, err := sshserver.GenerateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		server, err := sshserver.New(sshserver.Config{
			HostKeys: []ssh.Signer{key}, User: "miner", Password: redact.New("lamp"),
		})
		if err != nil {
			t.Fatal(err)
		}
		ln := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- server.Serve(ctx, ln) }()

		here, there := net.Pipe()
		ln.conns <- there
		begin := time.Now()
		if text, err := io.ReadAll(here); err != nil || !strings.HasPrefix(string(text), "SSH-2.0-") {
			t.Errorf("got %q, %v", text, err)
		}
		if waited := time.Since(begin); waited != 10*time.Second {
			t.Errorf("cut after %v", waited)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
