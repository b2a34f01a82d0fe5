package config

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// fileSetting names the configuration file, and so cannot stand in it.
const fileSetting = "config"

// stockPrefix begins the names of linksocks' own variables.
const stockPrefix = "LINKSOCKS_"

// Setting is one thing that can be configured: a flag, a variable and a key of
// the file, all by one name.
type Setting struct {
	Name    string // the flag's name and the file's key
	Short   string // the flag's letter; empty when it has none
	Value   string // the value's placeholder in help; empty for a Bool
	Usage   string // one line of help
	Default string // empty when there is none, or none that is fixed
	Bool    bool   // the flag needs no value, and without one means true
	List    bool   // may be given several times, and as a comma-separated list
	Secret  bool   // has a twin that names a file with the value
	Stock   string // linksocks' variable without its prefix, read where ours is unset; empty when it has none
	Inert   string // why it is taken and does nothing; empty when it does something

	// set parses the texts (one, unless List) into the field that the setting
	// is bound to. A secret's text must not be in its errors.
	set func(texts []string) []error
	// missing sets the field when nothing was given and Default is no text.
	missing func(env func(name string) string) error
}

// Twin is the name of the setting that names a file with a secret's value.
func (s Setting) Twin() string { return s.Name + "-file" }

// Variable is the environment variable of the setting with this name.
func Variable(name string) string {
	return "ADIT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// into sets a field from a single value.
func into[T any](field *T, parse func(text string) (T, error)) func([]string) []error {
	return func(texts []string) []error {
		value, err := parse(texts[0])
		if err != nil {
			return []error{err}
		}
		*field = value
		return nil
	}
}

// each sets a field from a list. Every wrong entry is told.
func each[T any](field *[]T, parse func(text string) (T, error)) func([]string) []error {
	return func(texts []string) []error {
		values := make([]T, 0, len(texts))
		var errs []error
		for _, text := range texts {
			value, err := parse(text)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			values = append(values, value)
		}
		*field = values
		return errs
	}
}

// The settings that several commands have.

func fileEntry() Setting {
	return Setting{Name: fileSetting, Value: "FILE",
		Usage: "YAML file with these flags' names as keys; values that begin with * want quotes"}
}

func apiKeyEntry(field *redact.Secret, short, usage string) Setting {
	return Setting{Name: "api-key", Short: short, Value: "KEY", Secret: true, Stock: "API_KEY",
		set: into(field, parseAPIKey), Usage: usage}
}

func tokenEntry(field *redact.Secret, usage string) Setting {
	return Setting{Name: "token", Short: "t", Value: "TOKEN", Secret: true, Stock: "TOKEN",
		set: into(field, parseToken), Usage: usage}
}

func connectorTokenEntry(field *redact.Secret, usage string) Setting {
	return Setting{Name: "connector-token", Short: "c", Value: "TOKEN", Secret: true, Stock: "CONNECTOR_TOKEN",
		set: into(field, parseToken), Usage: usage}
}

func socksHostEntry(field *string, short, usage string) Setting {
	return Setting{Name: "socks-host", Short: short, Value: "HOST", Default: "127.0.0.1", Stock: "SOCKS_HOST",
		set: into(field, parseHost), Usage: usage}
}

func socksPortEntry(field *int, usage string) Setting {
	return Setting{Name: "socks-port", Short: "p", Value: "PORT", Default: "9870", Stock: "SOCKS_PORT",
		set: into(field, parsePort), Usage: usage}
}

// socksLoginEntries are a user name and a password.
func socksLoginEntries(username *string, password *redact.Secret) []Setting {
	return []Setting{
		{Name: "socks-username", Short: "n", Value: "NAME", Stock: "SOCKS_USERNAME", set: into(username, parseSOCKSUsername),
			Usage: "user name that SOCKS clients must give; without one and without a password they need neither"},
		{Name: "socks-password", Short: "w", Value: "PASSWORD", Secret: true, Stock: "SOCKS_PASSWORD",
			set: into(password, parseSOCKSPassword), Usage: "password that SOCKS clients must give"},
	}
}

// reversePortEntries say which SOCKS ports a relay's reverse tokens get.
func reversePortEntries(ports *[]PortRange, pool *PortRange) []Setting {
	return []Setting{
		{Name: "socks-ports", Value: "PORT[-PORT]", List: true, set: each(ports, parsePortRange),
			Usage: "ports that reverse tokens may have; without any, all (repeatable)"},
		{Name: "socks-pool", Value: "PORT-PORT", Default: "1024-10240", set: into(pool, parsePortRange),
			Usage: "where the port of a reverse token is taken from when none is asked for"},
	}
}

func trustedProxyEntry(field *[]netip.Prefix) Setting {
	return Setting{Name: "trusted-proxy", Value: "CIDR", List: true, set: each(field, parsePrefix),
		Usage: "proxies in front of adit whose word on the client's address counts; without any, no one's does (repeatable)"}
}

func boolEntry(name, short string, field *bool, usage string) Setting {
	return Setting{Name: name, Short: short, Bool: true, set: into(field, parseBool), Usage: usage}
}

// stockBoolEntry is one that linksocks has a variable for.
func stockBoolEntry(name, short, stock string, field *bool, usage string) Setting {
	s := boolEntry(name, short, field, usage)
	s.Stock = stock
	return s
}

func debugEntry(field *bool) Setting {
	return Setting{Name: "debug", Short: "d", Bool: true, set: into(field, parseDebug),
		Usage: "log everything, whatever --log-level says (repeatable, to the same end)"}
}

func upstreamProxyEntry(field *redact.Secret, usage string) Setting {
	return Setting{Name: "upstream-proxy", Short: "x", Value: "URL", Secret: true, Stock: "UPSTREAM_PROXY",
		set: into(field, parseProxy), Usage: usage}
}

func targetEntries(allow, deny *[]string) []Setting {
	return []Setting{
		{Name: "allow", Value: "RULE", List: true, set: each(allow, parseRule),
			Usage: "targets that may be dialled, as (CIDR|IP|name|*.name|*)[:port[-port]]; without any, all that are not denied (repeatable)"},
		{Name: "deny", Value: "RULE", List: true, set: each(deny, parseRule),
			Usage: "targets that may not be dialled; stronger than --allow (repeatable)"},
	}
}

func udpIdleEntry(field *time.Duration) Setting {
	return Setting{Name: "udp-idle", Value: "DURATION", Default: "2m", set: into(field, parseSpan),
		Usage: "after how long without a datagram a UDP association ends"}
}

func logEntries(level *slog.Level, format *string) []Setting {
	return []Setting{
		{Name: "log-level", Value: "debug|info|warn|error", Default: "info", set: into(level, parseLogLevel),
			Usage: "least severe message that is logged"},
		{Name: "log-format", Value: "text|json", Default: FormatText, set: into(format, oneOf(FormatText, FormatJSON)),
			Usage: "form of the log on standard error"},
	}
}

func drainEntry(field *time.Duration) Setting {
	return Setting{Name: "drain", Value: "DURATION", Default: "10s", set: into(field, parseDuration),
		Usage: "how long open streams may go on after SIGTERM or SIGINT"}
}

// Why settings do nothing here that do something in linksocks.
const (
	noBuffers = "adit sizes its buffers by itself"
	noDirect  = "direct mode is not offered yet, everything goes through the relay"
)

func inertEntry(name, value, why string) Setting {
	return Setting{Name: name, Value: value, Bool: value == "", Inert: why, Usage: "ignored"}
}

func bufferSizeEntry() Setting {
	s := inertEntry("buffer-size", "BYTES", noBuffers)
	s.Short = "b"
	return s
}
