package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/clientaddr"
	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/httpapi/relayapi"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/proxy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

// relayMaxHeader bounds what a request's head may cost before anybody knows who
// sends it.
const relayMaxHeader = 4 << 10

// relayServer is the relay with its listener.
type relayServer struct {
	hub    *relay.Hub
	http   *http.Server
	ln     *quiet
	served chan error
}

// relayOptions are what a relay is told, by whichever command.
type relayOptions struct {
	relay.Options
	apiKey redact.Secret
	ports  []config.PortRange
	pool   config.PortRange
	trust  []netip.Prefix
	kept   []relay.Record
	audit  *app.App // where changes of tokens are recorded; nil for nowhere
}

func listenRelay(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, family(address), address)
}

// newRelay builds a relay on a listener. serve must follow, or stop.
func newRelay(ctx context.Context, ln net.Listener, o relayOptions) (*relayServer, error) {
	o.SOCKSPool = relay.PortRange{First: uint16(o.pool.First), Last: uint16(o.pool.Last)}
	if len(o.ports) > 0 {
		o.PortAllowed = func(port uint16) bool {
			return slices.ContainsFunc(o.ports, func(r config.PortRange) bool { return r.Contains(int(port)) })
		}
	}
	o.Address = func(r *http.Request) string { return clientAddress(r, o.trust) }
	hub, err := relay.New(ctx, o.Options, o.kept)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(hub.Collector())
	mux := &relayMux{hub: hub}
	if !o.apiKey.IsZero() {
		var tokens relayapi.Tokens = hub
		if o.audit != nil {
			tokens = audited{hub, o.audit}
		}
		mux.api = relayapi.New(relayapi.Options{
			Tokens: tokens, Key: o.apiKey, Version: telemetry.ReadBuild().Version, Logger: o.Logger,
			Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		})
		if o.audit != nil {
			mux.api = acts(mux.api, o.trust)
		}
	}
	q := newQuiet(ln, firstByteTimeout, maxStrangers, hub.Count)
	return &relayServer{hub: hub, ln: q, served: make(chan error, 1), http: &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: relayMaxHeader, ConnState: q.state,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}}, nil
}

// url is where peers connect.
func (r *relayServer) url() string { return "ws://" + r.ln.Addr().String() }

func portOf(ln net.Listener) uint16 { return ln.Addr().(*net.TCPAddr).AddrPort().Port() }

func (r *relayServer) serve() { go func() { r.served <- r.http.Serve(r.ln) }() }

// stop takes nobody in, lets streams end until drain does, and ends the rest.
func (r *relayServer) stop(drain context.Context) {
	r.hub.Drain(drain)
	r.http.Close()
	r.ln.Close()
	r.hub.Close()
}

// relayMux finds who answers. It is no http.ServeMux, which would clean tokens
// that stand in paths.
type relayMux struct {
	hub *relay.Hub
	api http.Handler // nil: there is none
}

func (m *relayMux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == "/socket", strings.HasPrefix(path, "/socket/"):
		m.hub.ServeHTTP(w, r)
	case m.api != nil && strings.HasPrefix(path, "/api/"):
		m.api.ServeHTTP(w, r)
	case path == "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text := " but API is not enabled."
		if m.api != nil {
			text = ". API endpoints available at /api/*"
		}
		_, _ = fmt.Fprintf(w, "adit %s is running%s\n", telemetry.ReadBuild().Version, text) // to who may have left
	default:
		http.NotFound(w, r)
	}
}

// clientAddress is where a request came from, in the form that is logged: what
// a trusted proxy tells has no port.
func clientAddress(r *http.Request, trust []netip.Prefix) string {
	if addr, told := clientaddr.Of(r, trust); told {
		return addr.String()
	}
	return r.RemoteAddr
}

// RunRelay is `adit relay serve`: the relay alone, until ctx ends.
func RunRelay(ctx context.Context, cfg config.RelayServe, stdout, stderr io.Writer) error {
	log := telemetry.NewLogger(stderr, cfg.LogFormat == config.FormatJSON, cfg.LogLevel)
	o := relayOptions{apiKey: cfg.APIKey, ports: cfg.SOCKSPorts, pool: cfg.SOCKSPool, trust: cfg.TrustedProxies}
	if cfg.Data != "" {
		d, err := openData(ctx, cfg.Data, redact.Secret{})
		if err != nil {
			return err
		}
		defer d.close()
		o.Keeper = keeper{d}
		if o.kept, err = (keeper{d}).kept(ctx, log); err != nil {
			return err
		}
	}
	ln, err := listenRelay(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	if o.Options, err = alone(o.Options, cfg, log, portOf(ln)); err != nil {
		ln.Close()
		return err
	}
	r, err := newRelay(ctx, ln, o)
	if err != nil {
		ln.Close()
		return err
	}
	defer func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Drain)
		defer cancel()
		r.stop(drain)
		log.Info("stopped")
	}()
	if cfg.APIKey.IsZero() {
		if err := give(ctx, r.hub, cfg, stderr); err != nil {
			return err
		}
	}
	r.serve()
	if _, err := fmt.Fprintf(stdout, "adit ready relay=%s\n", r.url()); err != nil {
		return err
	}
	log.Info("serving", "relay", r.url())
	select {
	case <-ctx.Done():
		log.Info("stopping", "drain", cfg.Drain.String())
		return nil
	case err := <-r.served:
		return err
	}
}

// alone are the options of a relay that is told everything by its own command.
func alone(o relay.Options, cfg config.RelayServe, log *slog.Logger, self uint16) (relay.Options, error) {
	targets, err := policy.New(cfg.Allow, cfg.Deny)
	if err != nil {
		return o, err
	}
	targets.DenySelf(self)
	o.Policy, o.Logger = targets, log
	o.SOCKSHost, o.NoWait, o.ConnectorWait = cfg.SOCKSHost, cfg.SOCKSNoWait, cfg.ConnectorWait
	if o.ConnectorWait == 0 {
		o.ConnectorWait = -1 // 0 is the relay's default there
	}
	o.FastOpen, o.UDPIdle = cfg.FastOpen, cfg.UDPIdle
	if !cfg.UpstreamProxy.IsZero() {
		if _, err := beyond(cfg.UpstreamProxy, targets); err != nil {
			return o, err
		}
		o.Deliver = func(p *policy.Policy) relay.Place {
			place, _ := beyond(cfg.UpstreamProxy, p) // it has just been parsed
			return place
		}
	}
	return o, nil
}

// beyond is the network behind a proxy. Datagrams are refused there rather than
// sent beside it.
func beyond(upstream redact.Secret, p *policy.Policy) (relay.Place, error) {
	way, err := proxy.Parse(upstream.Reveal())
	if err != nil {
		return relay.Place{}, err
	}
	return relay.Place{Dial: (&proxy.Site{Proxy: way, Check: p.CheckThere}).Dial}, nil
}

// give adds the tokens of the command line. What nobody chose is shown once.
func give(ctx context.Context, hub *relay.Hub, cfg config.RelayServe, stderr io.Writer) error {
	spec := relay.TokenSpec{Kind: relay.Forward, Token: cfg.Token}
	if cfg.Reverse {
		spec.Kind, spec.ManageConnectors, spec.Port = relay.Reverse, cfg.Autonomy, cfg.SOCKSPort
		spec.Username, spec.Password = cfg.SOCKSUsername, cfg.SOCKSPassword
	}
	added, err := hub.Give(ctx, spec)
	if err != nil {
		return fmt.Errorf("add the %s token: %w", spec.Kind, err)
	}
	if cfg.Token.IsZero() {
		show(stderr, "The "+string(spec.Kind)+" token, which nobody gave, is: "+added.Token.Reveal())
	}
	if cfg.Reverse && added.Port > 0 {
		show(stderr, fmt.Sprintf("SOCKS5 for its users is at %s.", net.JoinHostPort(cfg.SOCKSHost, fmt.Sprint(added.Port))))
	}
	if !cfg.Reverse || cfg.Autonomy && cfg.ConnectorToken.IsZero() {
		return nil
	}
	c, err := hub.Give(ctx, relay.TokenSpec{Kind: relay.Connector, Token: cfg.ConnectorToken, ReverseToken: added.Token})
	if err != nil {
		return fmt.Errorf("add the connector token: %w", err)
	}
	if cfg.ConnectorToken.IsZero() {
		show(stderr, "The connector token, which nobody gave, is: "+c.Token.Reveal())
	}
	return nil
}

// show tells a person what no log may keep.
func show(stderr io.Writer, text string) { _, _ = fmt.Fprintln(stderr, text) } // where nobody reads, nobody misses it
