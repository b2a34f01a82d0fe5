// Package server is the composition root: it builds the parts, starts them in
// order, and stops them in order.
//
// Start: the data directory's lock comes first, so that nothing of a running
// server is touched; the listener before anything runs, so that a taken port
// costs nothing; what is wanted is restored before the ready line.
// Stop: the API first, so that nothing new begins; then the tunnels and the
// relay, which may drain side by side; the database last, since all of them write to it.
package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/auth"
	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

// Server is an adit that listens and is not yet serving.
type Server struct {
	cfg     config.Config
	log     *slog.Logger
	data    *data
	ln      net.Listener
	relayLn net.Listener // nil: there is no relay
	targets *policy.Policy
	binds   *policy.BindRules
	tunnels *forward.Supervisor
	relay   *relayServer // nil: there is none
	app     *app.App
}

// Run is `adit serve`: it serves until ctx ends, drains, and returns nil.
func Run(ctx context.Context, cfg config.Config, stdout, stderr io.Writer) error {
	log := telemetry.NewLogger(stderr, cfg.LogFormat == config.FormatJSON, cfg.LogLevel)
	s, err := Open(ctx, cfg, log, stderr)
	if err != nil {
		return err
	}
	return s.Serve(ctx, func() error {
		_, err := fmt.Fprintf(stdout, "adit ready control=%s relay=%s\n", s.URL(), s.RelayURL())
		return err
	})
}

// Open builds a server that listens. Serve must follow, or Close. What a person
// must know once, and no log may keep, is told on notes.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger, notes io.Writer) (s *Server, err error) {
	s = &Server{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.data, err = openData(ctx, cfg.Data, cfg.Database); err != nil {
		return s, err
	}
	if s.ln, err = new(net.ListenConfig).Listen(ctx, family(cfg.Listen), cfg.Listen); err != nil {
		return s, err
	}
	if cfg.RelayListen != "" {
		if s.relayLn, err = listenRelay(ctx, cfg.RelayListen); err != nil {
			return s, err
		}
	}
	if err = s.newPolicy(); err != nil {
		return s, err
	}
	if s.tunnels, err = s.newSupervisor(ctx); err != nil {
		return s, err
	}
	if s.app, err = s.newApp(ctx, notes); err != nil {
		return s, err
	}
	if s.relayLn != nil {
		if s.relay, err = s.newRelay(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// newPolicy makes the rules that hold for every target, of forwards and of the
// relay alike.
func (s *Server) newPolicy() (err error) {
	if s.targets, err = policy.New(s.cfg.Allow, s.cfg.Deny); err != nil {
		return err
	}
	s.targets.DenySelf(s.controlPort())
	if s.relayLn != nil {
		s.targets.DenySelf(portOf(s.relayLn))
	}
	return nil
}

func (s *Server) newRelay(ctx context.Context) (*relayServer, error) {
	kept, err := keeper{s.data}.kept(ctx, s.log)
	if err != nil {
		return nil, err
	}
	return newRelay(ctx, s.relayLn, relayOptions{
		Options: relay.Options{
			Policy: s.targets, Keeper: keeper{s.data}, SOCKSHost: s.cfg.SOCKSHost, UDPIdle: s.cfg.UDPIdle, Logger: s.log,
		},
		apiKey: s.cfg.APIKey, ports: s.cfg.SOCKSPorts, pool: s.cfg.SOCKSPool, trust: s.cfg.TrustedProxies, kept: kept, audit: s.app,
	})
}

// family is the network to listen on. Package net takes IPv6 along when it is
// told 0.0.0.0, and who says that does not expect it.
func family(address string) string {
	if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// Close gives up a server that does not serve.
func (s *Server) Close() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if s.relay != nil {
		s.relay.stop(now)
	} else if s.relayLn != nil {
		s.relayLn.Close()
	}
	if s.app != nil {
		s.app.Close()
	}
	if s.tunnels != nil {
		s.tunnels.Close(now)
	}
	if s.ln != nil {
		s.ln.Close()
	}
	if s.data != nil {
		s.data.close()
	}
}

// URL is where the control API is reached.
func (s *Server) URL() string { return "http://" + s.ln.Addr().String() }

// RelayURL is where the relay is reached, or "off".
func (s *Server) RelayURL() string {
	if s.relay == nil {
		return config.Off
	}
	return s.relay.url()
}

func (s *Server) controlPort() uint16 { return portOf(s.ln) }

func (s *Server) newSupervisor(ctx context.Context) (_ *forward.Supervisor, err error) {
	if s.binds, err = policy.NewBind(s.cfg.AllowBind); err != nil {
		return nil, err
	}
	// What runs outlives ctx, which only says when to begin to stop.
	own := map[int]string{int(s.controlPort()): "adit's control API"}
	if s.relayLn != nil {
		own[int(portOf(s.relayLn))] = "adit's relay"
	}
	return forward.New(context.WithoutCancel(ctx), forward.Options{
		Here:     &site.Here{Check: s.targets.CheckHere},
		Policy:   s.targets,
		Binds:    s.binds,
		OwnPorts: own,
		Logger:   s.log,
	}), nil
}

func (s *Server) newApp(ctx context.Context, notes io.Writer) (*app.App, error) {
	tokens, err := s.data.tokens(ctx, s.log, time.Now())
	if err != nil {
		return nil, err
	}
	code, err := s.announceSetup(ctx, notes)
	if err != nil {
		return nil, err
	}
	a := app.New(app.Options{
		Store: s.data.store, Keyring: s.data.keys, Hasher: auth.NewHasher(auth.Params{}, 0), Tokens: tokens,
		Tunnels: s.tunnels, MinPassword: s.cfg.MinPassword, StrictHostKeys: s.cfg.HostKeyPolicy == config.Strict,
		HostCAs: s.cfg.HostCAs, KeyDir: s.cfg.KeyDir,
		SetupCode: code, Registration: s.cfg.Registration, Targets: s.targets, Binds: s.binds, Logger: s.log,
	})
	return a, a.LoadSettings(ctx)
}

// announceSetup makes the code for the first account where others than this
// machine's users could register it, and tells it once.
func (s *Server) announceSetup(ctx context.Context, notes io.Writer) (redact.Secret, error) {
	if onlyLocal(s.ln.Addr()) {
		return redact.Secret{}, nil
	}
	code, fresh, err := s.data.setupCode(ctx)
	switch {
	case err != nil:
		return code, fmt.Errorf("setup code: %w", err)
	case fresh:
		_, err = fmt.Fprintf(notes, "The first account is registered with this setupCode: %s\nIt is kept in %s.\n", code.Reveal(), s.data.path(setupFile))
	case !code.IsZero():
		s.log.Info("the first account needs the setup code", "file", s.data.path(setupFile))
	}
	return code, err
}

func onlyLocal(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// Serve restores what is wanted, calls ready, and serves until ctx ends; then
// it stops everything in order.
func (s *Server) Serve(ctx context.Context, ready func() error) error {
	defer s.data.close()
	w := s.newWeb(ctx)
	kept, leave := context.WithCancel(ctx)
	defer leave()
	var house sync.WaitGroup
	served := make(chan error, 1)
	go func() { served <- w.http.Serve(limit(s.ln, maxClients)) }()
	err := s.app.Restore(ctx)
	relayEnd := make(<-chan error)
	if err == nil && s.relay != nil {
		s.relay.serve()
		relayEnd = s.relay.served
	}
	if err == nil {
		house.Go(func() { s.keepHouse(kept) })
		err = ready()
	}
	if err == nil {
		s.log.Info("serving", "control", s.URL(), "relay", s.RelayURL())
		select {
		case <-ctx.Done():
		case err = <-served:
		case err = <-relayEnd:
		}
	}
	s.log.Info("stopping", "drain", s.cfg.Drain.String())
	w.stop(ctx)
	leave()
	house.Wait()
	s.app.Close()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Drain)
	defer cancel()
	var draining sync.WaitGroup
	if s.relay != nil {
		draining.Go(func() { s.relay.stop(drain) })
	}
	s.tunnels.Close(drain)
	draining.Wait()
	s.log.Info("stopped")
	return err
}
