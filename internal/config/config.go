// Package config makes the one configuration of a command out of its four
// sources: defaults, then the file, then the environment, then the flags, each
// overruling the one before. It reads files but makes none, and it knows no
// command-line library: the flags arrive as the texts that were given.
package config

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

// The host key policies: what to do with the key of a server that was never
// met.
const (
	AcceptNew = "accept-new" // record it
	Strict    = "strict"     // refuse it
)

// The log formats.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Config is all that `adit serve` can be told. Load gives one that is valid
// throughout.
type Config struct {
	Data           string           // the data directory, an absolute path; it need not exist yet
	Database       redact.Secret    // the URL of a PostgreSQL database; zero for SQLite in the data directory
	Listen         string           // host:port of the control API; port 0 lets the system pick
	RelayListen    string           // host:port of the relay; empty when it is off
	APIKey         redact.Secret    // of the relay's HTTP API; zero when there shall be no such API
	SOCKSHost      string           // the IP or name that reverse tokens' SOCKS ports listen on, without brackets
	SOCKSPorts     []PortRange      // the ports that reverse tokens may have; empty allows every one
	SOCKSPool      PortRange        // where a reverse token's port is taken from when none is asked for
	TrustedProxies []netip.Prefix   // whose word on the client's address counts; masked, IPv4 unmapped
	CORSOrigins    []string         // web origins that may call the control API, as browsers write them; "null" too
	Registration   string           // who may register, at most: invite, open, closed
	MinPassword    int              // the shortest password taken, in characters: 8 to 128
	HostKeyPolicy  string           // AcceptNew or Strict
	HostCAs        *sshsite.HostCAs // whose host certificates need no pin; nil when there are none
	KeyDir         string           // below which forwards' key files are read, an absolute path; empty for nowhere
	Allow          []string         // policy rules for targets; empty allows what Deny leaves
	Deny           []string         // policy rules for targets
	AllowBind      []string         // policy rules for listen addresses; empty allows every one
	UDPIdle        time.Duration    // after how long without a datagram a UDP association ends; above 0
	LogLevel       slog.Level
	LogFormat      string        // FormatText or FormatJSON
	Drain          time.Duration // how long streams may go on after the first signal; 0 ends them at once
}

// Input is what the process was given.
type Input struct {
	// Flags has the texts of each flag that was given, by name without the
	// dashes, in the order given.
	Flags map[string][]string
	// Env gives a variable's value, empty when it is unset, as os.Getenv does:
	// an empty variable counts as unset.
	Env func(name string) string
}

// Error tells everything that is wrong with a configuration: one sentence a
// problem, each beginning with its source ("flag --listen: …").
type Error struct{ Problems []string }

func (e *Error) Error() string { return strings.Join(e.Problems, "; ") }

// Load reads the file that the input names, if it names one, and makes the
// configuration of `adit serve`. Its error is an *Error. Values that a stronger
// source overrules are not looked at.
func Load(in Input) (Config, error) {
	var c Config
	l := load(serveSettings(&c), in)
	if err := l.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}
