package config

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// RelayServe is all that `adit relay serve` can be told. LoadRelayServe gives
// one that is valid throughout.
//
// It starts with the one token that the flags describe, and a connector token
// beside a reverse one; or, where there is an API key, with none: then the
// fields of the first token are zero, whatever was given.
type RelayServe struct {
	Listen string // host:port of the relay; port 0 lets the system pick
	Data   string // the data directory, an absolute path; empty keeps tokens in memory alone

	// The first token, zero if there is an APIKey.
	Token          redact.Secret // 1 to 255 bytes; zero: one is to be generated
	Reverse        bool          // it is a reverse token, else a forward one
	ConnectorToken redact.Secret // of a reverse token; zero: one is to be generated, unless Autonomy is set
	Autonomy       bool          // of a reverse token: its providers manage connector tokens
	SOCKSPort      int           // of a reverse token; 0 takes one of SOCKSPool, or with Autonomy none
	SOCKSUsername  string        // of a reverse token, at most 255 bytes; if either it or the password is set, both are checked
	SOCKSPassword  redact.Secret // at most 255 bytes

	APIKey         redact.Secret  // of the HTTP API; zero when there shall be no such API
	SOCKSHost      string         // the IP or name that SOCKS ports listen on, without brackets
	SOCKSPorts     []PortRange    // the ports that reverse tokens may have; empty allows every one
	SOCKSPool      PortRange      // where a port is taken from when none is asked for
	SOCKSNoWait    bool           // a SOCKS client is refused at once when no provider is there
	ConnectorWait  time.Duration  // how long a connector's request waits for a provider; 0 does not wait
	UpstreamProxy  redact.Secret  // the URL of the proxy to targets, which proxy.Parse takes; zero for none
	FastOpen       bool           // SOCKS clients hear of success before the target has answered
	TrustedProxies []netip.Prefix // whose word on the client's address counts; masked, IPv4 unmapped
	Allow          []string       // policy rules for targets; empty allows what Deny leaves
	Deny           []string       // policy rules for targets
	UDPIdle        time.Duration  // after how long without a datagram a UDP association ends; above 0
	LogLevel       slog.Level     // LevelDebug if --debug is given
	LogFormat      string         // FormatText or FormatJSON
	Drain          time.Duration  // how long streams may go on after the first signal; 0 ends them at once
	Notes          []string       // what was given without effect, a sentence each, beginning with its source
}

// relayDraft is a RelayServe with what it is made of.
type relayDraft struct {
	RelayServe
	host  string
	port  int
	debug bool
}

// LoadRelayServe makes the configuration of `adit relay serve`, as Load does.
func LoadRelayServe(in Input) (RelayServe, error) {
	var r relayDraft
	l := load(r.settings(), in)
	r.finish(l)
	if err := l.err(); err != nil {
		return RelayServe{}, err
	}
	r.Notes = l.notes
	return r.RelayServe, nil
}

// RelayServeSettings are those of `adit relay serve`, in the order of its help.
func RelayServeSettings() []Setting { return new(relayDraft).settings() }

func (r *relayDraft) settings() []Setting {
	return slices.Concat(
		[]Setting{
			{Name: "ws-host", Short: "H", Value: "HOST", Default: "0.0.0.0", Stock: "WEBSOCKET_HOST", set: into(&r.host, parseHost),
				Usage: "address that the relay listens on"},
			{Name: "ws-port", Short: "P", Value: "PORT", Default: "8765", Stock: "WEBSOCKET_PORT", set: into(&r.port, parsePort),
				Usage: "port that the relay listens on; 0 takes a free one"},
			tokenEntry(&r.Token, "the first token; without one it is generated and shown once"),
			connectorTokenEntry(&r.ConnectorToken, "with --reverse, a token for connectors to its providers; without one it is generated and shown once"),
			stockBoolEntry("connector-autonomy", "a", "CONNECTOR_AUTONOMY", &r.Autonomy,
				"with --reverse, let the token's providers manage connector tokens of their own"),
			boolEntry("reverse", "r", &r.Reverse, "make the token a reverse one: its providers lend their network, by a SOCKS port here"),
			socksHostEntry(&r.SOCKSHost, "s", "where SOCKS ports listen"),
			socksPortEntry(&r.SOCKSPort, "with --reverse, the token's SOCKS port; 0 takes one of --socks-pool"),
		},
		socksLoginEntries(&r.SOCKSUsername, &r.SOCKSPassword),
		[]Setting{
			boolEntry("socks-nowait", "i", &r.SOCKSNoWait, "refuse a SOCKS client at once when no provider is there"),
			apiKeyEntry(&r.APIKey, "k", "key of the HTTP API, which adds and removes tokens; with one there is no first token, without one no such API"),
			upstreamProxyEntry(&r.UpstreamProxy, "proxy by which targets are reached, as socks5://user:password@host:port or http://…"),
			stockBoolEntry("fast-open", "f", "FASTOPEN", &r.FastOpen, "tell SOCKS clients of success before the target has answered"),
			debugEntry(&r.debug),
			{Name: "connector-wait-provider", Value: "DURATION", Default: "5s", set: into(&r.ConnectorWait, parseDuration),
				Usage: "how long a connector's request waits for a provider to come"},
			{Name: "data", Value: "DIR", set: into(&r.Data, parsePath),
				Usage: "directory that keeps the tokens that the HTTP API adds, made when it is not there; without one they are gone after a restart"},
		},
		reversePortEntries(&r.SOCKSPorts, &r.SOCKSPool),
		[]Setting{trustedProxyEntry(&r.TrustedProxies), fileEntry()},
		targetEntries(&r.Allow, &r.Deny),
		[]Setting{udpIdleEntry(&r.UDPIdle)},
		logEntries(&r.LogLevel, &r.LogFormat),
		[]Setting{
			drainEntry(&r.Drain),
			bufferSizeEntry(),
			inertEntry("direct-enable", "", noDirect),
			inertEntry("direct-rendezvous-udp", "", noDirect),
			inertEntry("direct-rendezvous-host", "HOST", noDirect),
			inertEntry("direct-rendezvous-port", "PORT", noDirect),
		},
	)
}

// finish settles what follows from several settings at once.
func (r *relayDraft) finish(l *loader) {
	r.Listen = net.JoinHostPort(r.host, strconv.Itoa(r.port))
	if r.debug {
		r.LogLevel = slog.LevelDebug
	}
	if !r.APIKey.IsZero() {
		l.ignore("with an API key there is no first token, the API adds them", "token", "reverse")
		l.ignore("with an API key the API says it for each token", reverseOnly...)
		r.Token, r.Reverse = redact.Secret{}, false
		r.forward()
		return
	}
	if !r.Reverse {
		l.ignore("it is for a reverse token, and there is no --reverse", reverseOnly...)
		r.forward()
		return
	}
	if _, asked := l.chosen["socks-port"]; r.Autonomy && !asked {
		r.SOCKSPort = 0
	}
	allowed := func(ports PortRange) bool { return ports.Contains(r.SOCKSPort) }
	if r.SOCKSPort != 0 && len(r.SOCKSPorts) > 0 && !slices.ContainsFunc(r.SOCKSPorts, allowed) {
		l.problem(l.source("socks-port"), "%d is not one of --socks-ports", r.SOCKSPort)
	}
}

// reverseOnly are the settings that say more about a reverse token.
var reverseOnly = []string{"connector-token", "connector-autonomy", "socks-port", "socks-username", "socks-password"}

// forward takes back what only a reverse token has.
func (r *RelayServe) forward() {
	r.ConnectorToken, r.Autonomy = redact.Secret{}, false
	r.SOCKSPort, r.SOCKSUsername, r.SOCKSPassword = 0, "", redact.Secret{}
}
