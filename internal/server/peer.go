package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/peer"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/proxy"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/socks5"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

// maxCA bounds the file of --ca: a bundle of all public authorities has some
// hundred KiB.
const maxCA = 4 << 20

var roles = map[config.Role]peer.Role{
	config.RoleClient: peer.Client, config.RoleProvider: peer.Provider, config.RoleConnector: peer.Connector,
}

// RunPeer is `adit relay client`, `provider` and `connector`, until ctx ends.
func RunPeer(ctx context.Context, cfg config.Peer, stdout, stderr io.Writer) error {
	log := telemetry.NewLogger(stderr, cfg.LogFormat == config.FormatJSON, cfg.LogLevel)
	o := peer.Options{
		Role: roles[cfg.Role], Token: cfg.Token, ConnectorToken: cfg.ConnectorToken, Threads: cfg.Threads,
		Linksocks:   cfg.Dialect == config.DialectLinksocks,
		NoReconnect: cfg.NoReconnect, RetryAuth: cfg.RetryAuth, FastOpen: cfg.FastOpen, NoWait: cfg.SOCKSNoWait,
		SOCKS:   socks5.Server{Username: cfg.SOCKSUsername, Password: cfg.SOCKSPassword},
		UDPIdle: cfg.UDPIdle, Logger: log,
	}
	var err error
	if o.URL, err = handshake.NormalizeURL(cfg.URL); err != nil {
		return err
	}
	if o.Dialer, err = wayToRelay(cfg, o, log); err != nil {
		return err
	}
	if cfg.Role == config.RoleProvider {
		place, err := lend(cfg)
		if err != nil {
			return err
		}
		o.Dial, o.UDP = place.Dial, place.UDP
	}
	o.Listen = func(ctx context.Context) (pipe.Listener, error) {
		return new(site.Here).Listen(ctx, "tcp", net.JoinHostPort(cfg.SOCKSHost, strconv.Itoa(cfg.SOCKSPort)))
	}
	o.Ready = func(socks net.Addr) error {
		if socks == nil {
			_, err := fmt.Fprintf(stdout, "adit ready relay=%s\n", cfg.URL)
			return err
		}
		_, err := fmt.Fprintf(stdout, "adit ready socks=socks5://%s\n", socks)
		return err
	}
	return peer.Run(ctx, o)
}

// wayToRelay is how the relay is reached: through a proxy that was named, or one
// of the environment, or directly; and whom to trust at its end.
func wayToRelay(cfg config.Peer, o peer.Options, log *slog.Logger) (handshake.Dialer, error) {
	var d handshake.Dialer
	if cfg.CA != "" {
		authorities, err := readCA(cfg.CA)
		if err != nil {
			return d, err
		}
		d.TLS = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	}
	way, err := proxyToRelay(cfg, o)
	if err != nil || way == nil {
		return d, err
	}
	log.Info("the relay is reached through a proxy", "proxy", way)
	d.NetDial = way.Dial
	return d, nil
}

func proxyToRelay(cfg config.Peer, o peer.Options) (*proxy.Proxy, error) {
	switch {
	case !cfg.RelayProxy.IsZero():
		return proxy.Parse(cfg.RelayProxy.Reveal())
	case cfg.NoEnvProxy:
		return nil, nil
	}
	return proxy.FromEnvironment(o.URL)
}

func readCA(path string) (*x509.CertPool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCA))
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca: %s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// lend is the network that a provider lends.
func lend(cfg config.Peer) (relay.Place, error) {
	targets, err := policy.New(cfg.Allow, cfg.Deny)
	if err != nil {
		return relay.Place{}, err
	}
	if cfg.UpstreamProxy.IsZero() {
		return relay.Here(targets), nil
	}
	return beyond(cfg.UpstreamProxy, targets)
}
