package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// Off is the relay listener's address when there shall be none.
const Off = "off"

// Settings are those of `adit serve`, in the order of its help.
func Settings() []Setting { return serveSettings(new(Config)) }

// serveSettings are bound to the fields of c.
func serveSettings(c *Config) []Setting {
	return slices.Concat(
		[]Setting{
			{Name: "data", Value: "DIR", set: into(&c.Data, parsePath), missing: c.defaultData,
				Usage: "directory that holds the database and the keys, made when it is not there (default $XDG_DATA_HOME/adit, else ~/.local/share/adit)"},
			{Name: "database", Value: "URL", Secret: true, set: into(&c.Database, parseDatabase),
				Usage: "PostgreSQL database to use, as postgres://user:password@host:5432/name; without one, SQLite in the data directory"},
			{Name: "listen", Value: "HOST:PORT", Default: "127.0.0.1:3000", set: into(&c.Listen, parseAddress),
				Usage: "where the control API listens; port 0 takes a free one"},
			{Name: "relay-listen", Value: "HOST:PORT|off", Default: "127.0.0.1:8765", set: into(&c.RelayListen, parseAddressOrOff),
				Usage: "where the relay listens; port 0 takes a free one"},
			apiKeyEntry(&c.APIKey, "", "key of the relay's HTTP API, which adds and removes tokens; without one that API does not exist"),
			socksHostEntry(&c.SOCKSHost, "", "where the SOCKS ports of the relay's reverse tokens listen"),
		},
		reversePortEntries(&c.SOCKSPorts, &c.SOCKSPool),
		[]Setting{
			trustedProxyEntry(&c.TrustedProxies),
			{Name: "cors-origin", Value: "ORIGIN", List: true, set: each(&c.CORSOrigins, parseOrigin),
				Usage: "web origins whose pages may call the control API, as https://app.example.org, or null; without any, none (repeatable)"},
			fileEntry(),
			{Name: "registration", Value: "invite|open|closed", Default: "invite", set: into(&c.Registration, oneOf("invite", "open", "closed")),
				Usage: "who may register, after the first account: those with a team's invite code, everybody, nobody; operators can narrow it at run time"},
			{Name: "min-password", Value: "N", Default: "8", set: into(&c.MinPassword, parseMinPassword),
				Usage: "shortest password that an account may have, in characters, 8 at least"},
			{Name: "host-key-policy", Value: "accept-new|strict", Default: AcceptNew, set: into(&c.HostKeyPolicy, oneOf(AcceptNew, Strict)),
				Usage: "record the host key of an SSH server on the first connection, or refuse a key that is not on record"},
			{Name: "host-ca", Value: "FILE", set: into(&c.HostCAs, parseHostCA),
				Usage: "public keys of the authorities whose SSH host certificates are accepted, one a line"},
			{Name: "key-dir", Value: "DIR", set: into(&c.KeyDir, parseKeyDir),
				Usage: "directory below which the keyPath of forwards is read; without it none is"},
		},
		targetEntries(&c.Allow, &c.Deny),
		[]Setting{
			{Name: "allow-bind", Value: "RULE", List: true, set: each(&c.AllowBind, parseRule),
				Usage: "addresses that forwards may listen on, in the same form; without any, all (repeatable)"},
			udpIdleEntry(&c.UDPIdle),
		},
		logEntries(&c.LogLevel, &c.LogFormat),
		[]Setting{drainEntry(&c.Drain)},
	)
}

// defaultData follows the XDG Base Directory Specification, which says that a
// relative path in a variable is to be ignored. A root without a home is a
// service started by init: its state belongs under /var/lib.
func (c *Config) defaultData(env func(name string) string) error {
	xdg, home := env("XDG_DATA_HOME"), env("HOME")
	switch {
	case filepath.IsAbs(xdg):
		c.Data = filepath.Join(xdg, "adit")
	case filepath.IsAbs(home):
		c.Data = filepath.Join(home, ".local", "share", "adit")
	case os.Geteuid() == 0:
		c.Data = "/var/lib/adit"
	default:
		return errors.New("is needed: neither XDG_DATA_HOME nor HOME says where data belongs")
	}
	return nil
}
