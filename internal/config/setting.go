package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
)

// fileSetting names the configuration file, and so cannot stand in it.
const fileSetting = "config"

// Off is the relay listener's address when there shall be none.
const Off = "off"

// The bounds of --min-password, in characters. A longer minimum than 128 would
// refuse every pass phrase a person types.
const (
	leastMinPassword = 8
	mostMinPassword  = 128
)

// Setting is one thing that can be configured: a flag, a variable and a key of
// the file, all by one name.
type Setting struct {
	Name    string // the flag's name and the file's key
	Value   string // the value's placeholder in help
	Usage   string // one line of help
	Default string // empty when there is none, or none that is fixed
	List    bool   // may be given several times, and as a comma-separated list
	Secret  bool   // has a twin that names a file with the value

	// set parses the texts (one, unless List) into the configuration. A
	// secret's text must not be in its errors.
	set func(c *Config, texts []string) []error
	// missing sets the field when nothing was given and Default is no text.
	missing func(c *Config, env func(name string) string) error
}

// Twin is the name of the setting that names a file with a secret's value.
func (s Setting) Twin() string { return s.Name + "-file" }

// Variable is the environment variable of the setting with this name.
func Variable(name string) string {
	return "ADIT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func (s Setting) unset(c *Config, env func(name string) string) error {
	switch {
	case s.missing != nil:
		return s.missing(c, env)
	case s.Default != "":
		return errors.Join(s.set(c, []string{s.Default})...)
	}
	return nil
}

// Settings are those of `adit serve`, in the order of its help.
func Settings() []Setting {
	return []Setting{
		{Name: "data", Value: "DIR", set: one(setData), missing: defaultData,
			Usage: "directory that holds the database and the keys, made when it is not there (default $XDG_DATA_HOME/adit, else ~/.local/share/adit)"},
		{Name: "listen", Value: "HOST:PORT", Default: "127.0.0.1:3000", set: one(setListen),
			Usage: "where the control API listens; port 0 takes a free one"},
		{Name: "relay-listen", Value: "HOST:PORT|off", Default: "127.0.0.1:8765", set: one(setRelayListen),
			Usage: "where the relay will listen: taken now, without effect until the relay is part of adit"},
		{Name: "api-key", Value: "KEY", Secret: true, set: one(setAPIKey),
			Usage: "key of the relay's API: taken now, without effect until the relay is part of adit"},
		{Name: fileSetting, Value: "FILE",
			Usage: "YAML file with these flags' names as keys; values that begin with * want quotes"},
		{Name: "min-password", Value: "N", Default: "8", set: one(setMinPassword),
			Usage: "shortest password that an account may have, in characters, 8 at least"},
		{Name: "host-key-policy", Value: "accept-new|strict", Default: AcceptNew, set: one(setHostKeyPolicy),
			Usage: "record the host key of an SSH server on the first connection, or refuse a key that is not on record"},
		{Name: "allow", Value: "RULE", List: true, set: setAllow,
			Usage: "targets that may be dialled, as (CIDR|IP|name|*.name|*)[:port[-port]]; without any, all that are not denied (repeatable)"},
		{Name: "deny", Value: "RULE", List: true, set: setDeny,
			Usage: "targets that may not be dialled; stronger than --allow (repeatable)"},
		{Name: "allow-bind", Value: "RULE", List: true, set: setAllowBind,
			Usage: "addresses that forwards may listen on, in the same form; without any, all (repeatable)"},
		{Name: "log-level", Value: "debug|info|warn|error", Default: "info", set: one(setLogLevel),
			Usage: "least severe message that is logged"},
		{Name: "log-format", Value: "text|json", Default: FormatText, set: one(setLogFormat),
			Usage: "form of the log on standard error"},
		{Name: "drain", Value: "DURATION", Default: "10s", set: one(setDrain),
			Usage: "how long open streams may go on after SIGTERM or SIGINT"},
	}
}

// one adapts the parser of a single value.
func one(set func(c *Config, text string) error) func(*Config, []string) []error {
	return func(c *Config, texts []string) []error {
		if err := set(c, texts[0]); err != nil {
			return []error{err}
		}
		return nil
	}
}

func setData(c *Config, text string) error {
	path, err := filepath.Abs(text)
	if err != nil {
		return fmt.Errorf("make %q absolute: %w", text, err)
	}
	c.Data = path
	return nil
}

// defaultData follows the XDG Base Directory Specification, which says that a
// relative path in a variable is to be ignored. A root without a home is a
// service started by init: its state belongs under /var/lib.
func defaultData(c *Config, env func(name string) string) error {
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

func setListen(c *Config, text string) error {
	if err := checkAddress(text); err != nil {
		return err
	}
	c.Listen = text
	return nil
}

func setRelayListen(c *Config, text string) error {
	if text == Off {
		c.RelayListen = ""
		return nil
	}
	if err := checkAddress(text); err != nil {
		return fmt.Errorf("%w, or %q", err, Off)
	}
	c.RelayListen = text
	return nil
}

// checkAddress takes host:port with a numeric port. The host may be empty
// (every address), an IP or a name, which is resolved when it is listened on.
func checkAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.ContainsAny(host, " \t/") {
		return fmt.Errorf("%q is no address: write host:port, as in 127.0.0.1:3000 or [::1]:3000", text)
	}
	return nil
}

// setAPIKey takes what can stand in an HTTP header.
func setAPIKey(c *Config, text string) error {
	for _, r := range text {
		if r <= ' ' || r > '~' {
			return errors.New("holds a space or a character outside printable ASCII, which no HTTP header can carry")
		}
	}
	c.APIKey = redact.New(text)
	return nil
}

func setMinPassword(c *Config, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < leastMinPassword || n > mostMinPassword {
		return fmt.Errorf("%q is not a whole number from %d to %d", text, leastMinPassword, mostMinPassword)
	}
	c.MinPassword = n
	return nil
}

func setHostKeyPolicy(c *Config, text string) error {
	return setOneOf(&c.HostKeyPolicy, text, AcceptNew, Strict)
}

func setLogFormat(c *Config, text string) error {
	return setOneOf(&c.LogFormat, text, FormatText, FormatJSON)
}

func setOneOf(field *string, text string, choices ...string) error {
	for _, choice := range choices {
		if text == choice {
			*field = text
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", text, strings.Join(choices, ", "))
}

func setLogLevel(c *Config, text string) error {
	var name string
	if err := setOneOf(&name, text, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return c.LogLevel.UnmarshalText([]byte(name))
}

func setDrain(c *Config, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no duration: write a number and a unit, as in 10s or 1m30s", text)
	}
	c.Drain = d
	return nil
}

func setAllow(c *Config, texts []string) []error {
	c.Allow = texts
	return checkRules(texts)
}

func setDeny(c *Config, texts []string) []error {
	c.Deny = texts
	return checkRules(texts)
}

func setAllowBind(c *Config, texts []string) []error {
	c.AllowBind = texts
	return checkRules(texts)
}

// checkRules parses the rules one by one, so that every wrong one is told.
func checkRules(rules []string) []error {
	var errs []error
	for _, rule := range rules {
		if _, err := policy.ParseRule(rule); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
