// Package sshd runs a real OpenSSH server for tests, on 127.0.0.1, with keys
// and files of its own. It needs Linux and the program sshd; a test that finds
// none fails.
package sshd

import (
	"crypto"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// KeyType is a type of key that the package can make.
type KeyType string

// The types of keys, as ssh-keygen names them.
const (
	Ed25519 KeyType = "ed25519"
	RSA     KeyType = "rsa" // 2048 bits
	ECDSA   KeyType = "ecdsa"
)

// Server is a running sshd. Its methods are for the goroutine of the test.
type Server struct {
	Addr string // host:port
	Host string
	Port int
	User string // who may log in: the user that runs the test

	HostPublicKey  ssh.PublicKey   // of the first host key
	HostPublicKeys []ssh.PublicKey // one for each type asked for

	ClientKeyPEM []byte // OpenSSH format, no passphrase
	ClientSigner ssh.Signer

	t         testing.TB
	clientKey crypto.PrivateKey
	dir       string
	path      string // of the program
	hostTypes []KeyType
	extra     []string // lines of configuration that go before ours
	portFixed bool
	process   *process // nil while stopped
}

// Option changes how sshd is started.
type Option func(*Server)

// WithConfig adds lines of sshd_config. They win over the package's own, since
// sshd takes the first value that it reads. A Match block would swallow those.
func WithConfig(lines ...string) Option {
	return func(s *Server) { s.extra = append(s.extra, lines...) }
}

// WithPort listens on this port and not on a free one.
func WithPort(port int) Option {
	return func(s *Server) { s.Port, s.portFixed = port, true }
}

// WithClientKey lets this key log in and not a new Ed25519 one. It is a key
// that ssh.MarshalPrivateKey takes.
func WithClientKey(key crypto.PrivateKey) Option {
	return func(s *Server) { s.clientKey = key }
}

// WithHostKeys offers host keys of these types and not one Ed25519 key.
func WithHostKeys(types ...KeyType) Option {
	return func(s *Server) { s.hostTypes = types }
}

// Start runs sshd until the test ends, and returns when it answers. Its log is
// shown if the test fails.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Host:      "127.0.0.1",
		User:      me.Username,
		t:         t,
		dir:       t.TempDir(),
		path:      find(t),
		hostTypes: []KeyType{Ed25519},
	}
	for _, opt := range opts {
		opt(s)
	}
	s.makeClientKey()
	s.makeHostKeys()
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("log of sshd at %s:\n%s", s.Addr, s.Log())
		}
	})
	s.launch()
	return s
}

// Stop kills sshd and the processes of its connections, which would outlive it.
// The port then refuses connections.
func (s *Server) Stop() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.killAll(); err != nil {
		s.t.Errorf("stop sshd: %v", err)
	}
	s.process = nil
}

// Restart stops sshd, if it runs, and starts it on the same port with the same host keys.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.portFixed = true
	s.launch()
}

// RestartWithNewHostKey is Restart with other host keys of the same types.
func (s *Server) RestartWithNewHostKey() {
	s.t.Helper()
	s.Stop()
	s.makeHostKeys()
	s.Restart()
}

// KillSessions kills the processes of all connections; sshd goes on and takes new ones.
func (s *Server) KillSessions() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.killSessions(); err != nil {
		s.t.Errorf("kill sessions of sshd: %v", err)
	}
}

// Sessions gives the number of connections that sshd holds now, logged in or not.
func (s *Server) Sessions() int {
	s.t.Helper()
	if s.process == nil {
		return 0
	}
	children, err := childrenOf(s.process.pid())
	if err != nil {
		s.t.Fatal(err)
	}
	return len(children)
}

// Dial connects with ClientSigner, and closes the client with the test.
func (s *Server) Dial(t testing.TB) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial("tcp", s.Addr, &ssh.ClientConfig{
		User:            s.User,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(s.ClientSigner)},
		HostKeyCallback: ssh.FixedHostKey(s.HostPublicKey),
		Timeout:         startTimeout,
	})
	if err != nil {
		t.Fatalf("log in at %s: %v", s.Addr, err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// launch starts sshd and waits until it answers. When the port was taken
// meanwhile, it tries another one, unless the port is fixed.
func (s *Server) launch() {
	s.t.Helper()
	for try := 1; ; try++ {
		if !s.portFixed {
			s.Port = FreePort(s.t)
		}
		s.Addr = net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
		s.writeConfig()
		p, err := startProcess(s.path, s.file("sshd_config"), s.file("log"))
		if err != nil {
			s.t.Fatalf("start sshd: %v", err)
		}
		err = p.await(s.Addr)
		if err == nil {
			s.process = p
			return
		}
		_ = p.killAll() // the error of the start is the one to show
		if s.portFixed || try == 5 {
			s.t.Fatalf("start sshd at %s: %v", s.Addr, err)
		}
	}
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// startTimeout bounds the wait for sshd's version line.
const startTimeout = 10 * time.Second
