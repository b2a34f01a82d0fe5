package config

import (
	"log/slog"
	"slices"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Role is what a relay's peer does.
type Role string

// The roles.
const (
	RoleClient    Role = "client"    // opens a SOCKS port here that leads to the relay's network
	RoleProvider  Role = "provider"  // lends this host's network to the relay
	RoleConnector Role = "connector" // opens a SOCKS port here that leads to providers' networks
)

// Peer is all that `adit relay client`, `provider` and `connector` can be told.
// LoadPeer gives one that is valid throughout.
type Peer struct {
	Role     Role
	URL      string        // of the relay: ws or wss, with a path, without credentials
	Token    redact.Secret // 1 to 255 bytes; zero when none was given
	FastOpen bool          // data goes out before the other side has told of success

	// Of a client or connector.
	SOCKSHost     string        // the IP or name that the SOCKS port listens on, without brackets
	SOCKSPort     int           // 0 lets the system pick
	SOCKSUsername string        // at most 255 bytes; if either it or the password is set, both are checked
	SOCKSPassword redact.Secret // at most 255 bytes
	SOCKSNoWait   bool          // the SOCKS port listens before the relay is reached

	// Of a provider.
	ConnectorToken redact.Secret // to be added at the relay; 1 to 255 bytes, zero for none
	UpstreamProxy  redact.Secret // the URL of the proxy to targets, which proxy.Parse takes; zero for none
	Allow          []string      // policy rules for targets; empty allows what Deny leaves
	Deny           []string      // policy rules for targets

	RelayProxy  redact.Secret // the URL, likewise, of the proxy to the relay; zero for none, or the environment's
	NoEnvProxy  bool          // the environment's proxies are not for the way to the relay
	CA          string        // a PEM file with the certificates that the relay's may come from, an absolute path; empty for the system's
	Dialect     string        // DialectAuto or DialectLinksocks
	NoReconnect bool          // the first lost connection is the end
	RetryAuth   bool          // a refused token is tried again, not the end
	Threads     int           // connections to the relay: 1 to 100 a CPU
	UDPIdle     time.Duration // after how long without a datagram a UDP association ends; above 0
	LogLevel    slog.Level    // LevelDebug if --debug is given
	LogFormat   string        // FormatText or FormatJSON
	Notes       []string      // what was given without effect, a sentence each, beginning with its source
}

// What a peer speaks with its relay.
const (
	DialectAuto      = "auto"      // adit's own dialect, or linksocks's if the relay does not know it
	DialectLinksocks = "linksocks" // linksocks's
)

// The direct modes that linksocks has.
const (
	directAuto = "auto"
	relayOnly  = "relay-only"
	directOnly = "direct-only"
)

// peerDraft is a Peer with what it is made of.
type peerDraft struct {
	Peer
	reverse    bool
	debug      bool
	directMode string
}

// LoadPeer makes the configuration of the command of that role, as Load does,
// but without a file. A client that is told --reverse is a provider.
func LoadPeer(role Role, in Input) (Peer, error) {
	p := peerDraft{Peer: Peer{Role: role}}
	l := load(p.settings(), in)
	p.finish(l)
	if err := l.err(); err != nil {
		return Peer{}, err
	}
	p.Notes = l.notes
	return p.Peer, nil
}

// PeerSettings are those of a peer's command, in the order of its help. Every
// role takes them all, as in linksocks; those that are another role's give a
// note or a problem.
func PeerSettings() []Setting { return new(peerDraft).settings() }

func (p *peerDraft) settings() []Setting {
	return slices.Concat(
		[]Setting{
			tokenEntry(&p.Token, "token that the relay knows this peer by"),
			{Name: "url", Short: "u", Value: "URL", Default: "ws://localhost:8765", Stock: "URL", set: into(&p.URL, parseRelayURL),
				Usage: "where the relay is; without a scheme wss, without a path /socket"},
			boolEntry("reverse", "r", &p.reverse, "make a client a provider, which lends its own network"),
			connectorTokenEntry(&p.ConnectorToken, "of a provider, the connector token to add at the relay"),
			socksHostEntry(&p.SOCKSHost, "s", "where the SOCKS port listens"),
			socksPortEntry(&p.SOCKSPort, "the SOCKS port; 0 takes a free one"),
		},
		socksLoginEntries(&p.SOCKSUsername, &p.SOCKSPassword),
		[]Setting{
			boolEntry("socks-no-wait", "i", &p.SOCKSNoWait, "open the SOCKS port before the relay is reached"),
			boolEntry("no-reconnect", "R", &p.NoReconnect, "end when the connection to the relay is lost"),
			stockBoolEntry("retry-auth", "", "RETRY_AUTH", &p.RetryAuth, "try again when the relay refuses the token, instead of ending"),
			{Name: "dialect", Value: "auto|linksocks", Default: DialectAuto, set: into(&p.Dialect, oneOf(DialectAuto, DialectLinksocks)),
				Usage: "what to speak with the relay: the best that it knows, or linksocks's"},
			debugEntry(&p.debug),
			{Name: "threads", Short: "T", Value: "N", Default: "1", set: into(&p.Threads, parseThreads),
				Usage: "connections to the relay, that streams are spread over; below 0 one a CPU"},
			upstreamProxyEntry(&p.UpstreamProxy, "of a provider, the proxy by which targets are reached, as socks5://user:password@host:port or http://…"),
			{Name: "relay-proxy", Value: "URL", Secret: true, set: into(&p.RelayProxy, parseProxy),
				Usage: "proxy by which the relay is reached, in the same form; stronger than the environment's"},
			stockBoolEntry("fast-open", "f", "FASTOPEN", &p.FastOpen, "send data at once, before the target is known to be reached; if it is not, the SOCKS connection is reset"),
			boolEntry("no-env-proxy", "E", &p.NoEnvProxy, "reach the relay without the proxy that HTTPS_PROXY and its like name"),
			{Name: "ca", Value: "FILE", set: into(&p.CA, parsePath),
				Usage: "PEM file with the certificates to check the relay's by, in place of the system's"},
		},
		targetEntries(&p.Allow, &p.Deny),
		[]Setting{udpIdleEntry(&p.UDPIdle)},
		logEntries(&p.LogLevel, &p.LogFormat),
		[]Setting{
			{Name: "direct-mode", Value: "MODE", set: into(&p.directMode, oneOf(relayOnly, directAuto, directOnly)), Usage: "ignored"},
			inertEntry("direct-discovery", "METHOD", noDirect),
			inertEntry("direct-host-candidates", "WHEN", noDirect),
			inertEntry("stun-server", "HOST:PORT", noDirect),
			inertEntry("direct-only-action", "ACTION", noDirect),
			inertEntry("direct-upnp", "", noDirect),
			inertEntry("direct-upnp-lease", "DURATION", noDirect),
			inertEntry("direct-upnp-keep", "", noDirect),
			inertEntry("direct-upnp-external-port", "PORT", noDirect),
			bufferSizeEntry(),
		},
	)
}

// finish settles what follows from several settings at once.
func (p *peerDraft) finish(l *loader) {
	if p.debug {
		p.LogLevel = slog.LevelDebug
	}
	switch p.directMode {
	case directAuto:
		l.ignore(noDirect, "direct-mode")
	case directOnly:
		l.problem(l.source("direct-mode"), "%s cannot be had: direct mode is not offered yet", directOnly)
	}
	p.settleRole(l)
	if p.Role == RoleProvider {
		l.ignore("a provider opens no SOCKS port", "socks-host", "socks-port", "socks-username", "socks-password", "socks-no-wait")
		return
	}
	l.ignore("a "+string(p.Role)+" dials no targets, a provider does", "upstream-proxy", "allow", "deny")
	if _, given := l.chosen["connector-token"]; !given {
		return
	}
	if p.Role == RoleConnector {
		l.problem(l.source("connector-token"), "is what a provider adds: a connector's own token is --token")
	} else {
		l.problem(l.source("connector-token"), "is what a provider adds: give --reverse too, or leave it out")
	}
}

// settleRole compares --reverse with the command.
func (p *peerDraft) settleRole(l *loader) {
	_, given := l.chosen["reverse"]
	switch {
	case p.Role == RoleClient && p.reverse:
		p.Role = RoleProvider
	case p.Role == RoleConnector && p.reverse:
		l.problem(l.source("reverse"), "a connector does not lend its network: use adit relay provider")
	case p.Role == RoleProvider && given && !p.reverse:
		l.problem(l.source("reverse"), "a provider lends its network: use adit relay client")
	}
}
