// Package sshserver is an SSH server that only forwards: direct-tcpip,
// tcpip-forward and forwarded-tcpip (RFC 4254, section 7). It has no shell, no
// subsystem and no files. The demo runs it, so that there is something to
// connect to; tests run it with Faults, as the server that misbehaves.
package sshserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
)

const (
	handshakeTimeout   = 10 * time.Second // from accept to logged in
	dialTimeout        = 30 * time.Second // of one direct-tcpip target
	maxAuthTries       = 6
	defaultConnections = 64
	defaultChannels    = 1024
	maxForwards        = 64 // listeners of one connection
	acceptPause        = 100 * time.Millisecond
)

// Config says who may log in and what the server reaches.
type Config struct {
	HostKeys []ssh.Signer // at least one; a client picks among their types
	User     string       // the one user there is

	// At least one of Password and AuthorizedKeys. The password is taken by
	// the method "password", unless NoPasswordMethod is set, and by
	// "keyboard-interactive" if KeyboardInteractive is.
	Password            redact.Secret
	AuthorizedKeys      []ssh.PublicKey
	KeyboardInteractive bool
	NoPasswordMethod    bool

	// GatewayPorts lets a client choose the address that it listens on here.
	// Without it every remote forward listens on loopback, whatever was asked
	// for, as with OpenSSH's "GatewayPorts no".
	GatewayPorts bool

	// Dial connects to the target of a direct-tcpip channel; nil is a
	// net.Dialer. What it returns must be a pipe.Conn, as TCP connections are.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	MaxConnections int // at the same time; 0 is 64. More are closed at once
	MaxChannels    int // of one connection at the same time; 0 is 1024

	Logger *slog.Logger // nil logs nothing
	Faults *Faults      // nil behaves
}

// Server is an SSH server. It serves any number of listeners.
type Server struct {
	cfg   Config
	log   *slog.Logger
	slots chan struct{} // one for each connection that may be open
	tally tally
}

// New checks cfg. It does no I/O.
func New(cfg Config) (*Server, error) {
	interactive := cfg.KeyboardInteractive || !cfg.NoPasswordMethod
	switch {
	case len(cfg.HostKeys) == 0:
		return nil, errors.New("SSH server without a host key")
	case cfg.User == "":
		return nil, errors.New("SSH server without a user")
	case len(cfg.AuthorizedKeys) == 0 && (cfg.Password.IsZero() || !interactive):
		return nil, errors.New("SSH server without a way to log in")
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = defaultConnections
	}
	if cfg.MaxChannels == 0 {
		cfg.MaxChannels = defaultChannels
	}
	return &Server{cfg: cfg, log: cfg.Logger, slots: make(chan struct{}, cfg.MaxConnections)}, nil
}

// Serve accepts connections from ln until ctx ends, which gives nil, or ln
// fails. It closes ln and returns when every connection and all that ran for it
// has ended.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait above
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	defer func() { _ = ln.Close() }()

	for {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case passing(err):
			s.log.Warn("accept SSH connection", "error", err)
			pause(ctx, acceptPause)
			continue
		case err != nil:
			return err
		}
		select {
		case s.slots <- struct{}{}:
			conns.Go(func() { s.serveConn(ctx, nc) })
		default:
			s.log.Warn("too many SSH connections", "limit", cap(s.slots))
			_ = nc.Close()
		}
	}
}

// passing reports whether accepting may work again by itself: the client was
// gone before we came to it, or the process or system is out of something.
func passing(err error) bool {
	for _, errno := range []error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
