// Package config makes the one configuration of a process out of its four
// sources: defaults, then the file, then the environment, then the flags, each
// overruling the one before. It reads files but makes none, and it knows no
// command-line library: the flags arrive as the texts that were given.
package config

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
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
	Data          string        // the data directory, an absolute path; it need not exist yet
	Listen        string        // host:port of the control API; port 0 lets the system pick
	RelayListen   string        // host:port of the relay; empty when it is off
	APIKey        redact.Secret // of the relay's API; zero when there is none
	MinPassword   int           // the shortest password taken, in characters: 8 to 128
	HostKeyPolicy string        // AcceptNew or Strict
	Allow         []string      // policy rules for targets; empty allows what Deny leaves
	Deny          []string      // policy rules for targets
	AllowBind     []string      // policy rules for listen addresses; empty allows every one
	LogLevel      slog.Level
	LogFormat     string        // FormatText or FormatJSON
	Drain         time.Duration // how long streams may go on after the first signal; 0 ends them at once
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
// configuration. Its error is an *Error. Values that a stronger source
// overrules are not looked at.
func Load(in Input) (Config, error) {
	settings := Settings()
	l := loader{env: in.Env}
	file := l.file(settings, in)
	env := l.environment(settings)
	flags := l.flags(settings, in.Flags)

	var c Config
	for _, s := range settings {
		if s.set == nil {
			continue // the file itself: read above
		}
		l.apply(&c, s, strongest(s.Name, flags, env, file))
	}
	if len(l.problems) > 0 {
		return Config{}, &Error{l.problems}
	}
	return c, nil
}

// given is what one source says about one setting.
type given struct {
	source string // as messages name it
	texts  []string
	path   bool // texts[0] names the file that holds the value
}

type loader struct {
	env      func(name string) string
	problems []string
}

func (l *loader) problem(source, format string, args ...any) {
	l.problems = append(l.problems, source+": "+fmt.Sprintf(format, args...))
}

// strongest gives the first layer's word on a setting.
func strongest(name string, layers ...map[string]given) *given {
	for _, layer := range layers {
		if g, ok := layer[name]; ok {
			return &g
		}
	}
	return nil
}

// apply sets one field of c from what was given, or from the default.
func (l *loader) apply(c *Config, s Setting, g *given) {
	if g == nil {
		if err := s.unset(c, l.env); err != nil {
			l.problem("flag --"+s.Name, "%v", err)
		}
		return
	}
	texts := g.texts
	if g.path {
		text, err := readSecret(texts[len(texts)-1])
		if err != nil {
			l.problem(g.source, "%v", err)
			return
		}
		texts = []string{text}
	}
	if s.List {
		texts = splitList(texts)
	} else {
		texts = texts[len(texts)-1:] // of a flag given twice, the last counts
	}
	if len(texts) == 0 || texts[0] == "" {
		l.problem(g.source, "has no value")
		return
	}
	for _, err := range s.set(c, texts) {
		l.problem(g.source, "%v", err)
	}
}

func (l *loader) flags(settings []Setting, flags map[string][]string) map[string]given {
	return l.layer(settings, func(name string) (given, bool) {
		texts := flags[name]
		return given{source: "flag --" + name, texts: texts}, len(texts) > 0
	})
}

func (l *loader) environment(settings []Setting) map[string]given {
	return l.layer(settings, func(name string) (given, bool) {
		variable := Variable(name)
		text := l.env(variable)
		return given{source: "variable " + variable, texts: []string{text}}, text != ""
	})
}

// layer collects what one source says. A secret and its file twin are one
// setting: within a source only one of them can be meant.
func (l *loader) layer(settings []Setting, lookup func(name string) (given, bool)) map[string]given {
	layer := make(map[string]given)
	for _, s := range settings {
		g, ok := lookup(s.Name)
		if ok {
			layer[s.Name] = g
		}
		if !s.Secret {
			continue
		}
		twin, both := lookup(s.Twin())
		switch {
		case both && ok:
			l.problem(twin.source, "%s is given too: use one of them", g.source)
		case both:
			twin.path = true
			layer[s.Name] = twin
		}
	}
	return layer
}

// file reads the configuration file, when a flag or a variable names one.
func (l *loader) file(settings []Setting, in Input) map[string]given {
	source, path := "variable "+Variable(fileSetting), ""
	if texts := in.Flags[fileSetting]; len(texts) > 0 {
		source, path = "flag --"+fileSetting, texts[len(texts)-1]
		if path == "" {
			l.problem(source, "has no value")
		}
	} else {
		path = in.Env(Variable(fileSetting))
	}
	if path == "" {
		return nil
	}
	keys, err := readFile(path, settings)
	if err != nil {
		l.problem(source, "%v", err)
		return nil
	}
	l.problems = append(l.problems, keys.problems...)
	return l.layer(settings, func(name string) (given, bool) {
		g, ok := keys.given[name]
		return g, ok
	})
}

// splitList takes lists apart: each text may hold several entries, separated
// by commas.
func splitList(texts []string) []string {
	var entries []string
	for _, text := range texts {
		for entry := range strings.SplitSeq(text, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				entries = append(entries, entry)
			}
		}
	}
	return entries
}
