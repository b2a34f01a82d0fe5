package config

import (
	"errors"
	"fmt"
	"strings"
)

// given is what one source says about one setting.
type given struct {
	source string // as messages name it
	texts  []string
	path   bool // texts[0] names the file that holds the value
}

type loader struct {
	env      func(name string) string
	chosen   map[string]given // what counts, by setting; not those left to their defaults
	problems []string
	notes    []string
}

// load sets the fields that the settings are bound to.
func load(settings []Setting, in Input) *loader {
	l := &loader{env: in.Env, chosen: make(map[string]given)}
	file := l.file(settings, in)
	layers := []map[string]given{l.flags(settings, in.Flags), l.environment(settings), l.stock(settings), file}
	for _, s := range settings {
		if s.Name == fileSetting {
			continue // read above
		}
		l.apply(s, strongest(s.Name, layers))
	}
	return l
}

// err gives the problems as the error of a Load.
func (l *loader) err() error {
	if len(l.problems) == 0 {
		return nil
	}
	return &Error{l.problems}
}

func (l *loader) problem(source, format string, args ...any) {
	l.problems = append(l.problems, source+": "+fmt.Sprintf(format, args...))
}

// ignore notes those of the named settings that were given, and why they do
// nothing.
func (l *loader) ignore(why string, names ...string) {
	for _, name := range names {
		if g, ok := l.chosen[name]; ok {
			l.notes = append(l.notes, g.source+": has no effect: "+why)
		}
	}
}

// source names the one that a setting's value is from, for messages.
func (l *loader) source(name string) string {
	if g, ok := l.chosen[name]; ok {
		return g.source
	}
	return "flag --" + name
}

// strongest gives the first layer's word on a setting.
func strongest(name string, layers []map[string]given) *given {
	for _, layer := range layers {
		if g, ok := layer[name]; ok {
			return &g
		}
	}
	return nil
}

// apply sets the setting's field from what was given, or from the default.
func (l *loader) apply(s Setting, g *given) {
	if g == nil {
		if err := s.unset(l.env); err != nil {
			l.problem("flag --"+s.Name, "%v", err)
		}
		return
	}
	l.chosen[s.Name] = *g
	if s.Inert != "" {
		l.inert(s, *g)
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
	for _, err := range s.set(texts) {
		l.problem(g.source, "%v", err)
	}
}

// inert tells that a setting does nothing, unless doing nothing is what was
// asked for.
func (l *loader) inert(s Setting, g given) {
	if s.Bool {
		on, err := parseBool(g.texts[len(g.texts)-1])
		if err != nil {
			l.problem(g.source, "%v", err)
		}
		if !on {
			return
		}
	}
	l.ignore(s.Inert, s.Name)
}

func (l *loader) flags(settings []Setting, flags map[string][]string) map[string]given {
	return l.layer(settings, func(name string) (given, bool) {
		texts := flags[name]
		return given{source: "flag --" + name, texts: texts}, len(texts) > 0
	})
}

func (l *loader) environment(settings []Setting) map[string]given {
	return l.layer(settings, func(name string) (given, bool) {
		return l.variable(Variable(name))
	})
}

// stock collects the variables that linksocks has, which trims them.
func (l *loader) stock(settings []Setting) map[string]given {
	layer := make(map[string]given)
	for _, s := range settings {
		if s.Stock == "" {
			continue
		}
		g, ok := l.variable(stockPrefix + s.Stock)
		if text := strings.TrimSpace(g.texts[0]); ok && text != "" {
			g.texts[0] = text
			layer[s.Name] = g
		}
	}
	return layer
}

func (l *loader) variable(name string) (given, bool) {
	text := l.env(name)
	return given{source: "variable " + name, texts: []string{text}}, text != ""
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

// file reads the configuration file, when the command takes one and a flag or a
// variable names it.
func (l *loader) file(settings []Setting, in Input) map[string]given {
	if !has(settings, fileSetting) {
		return nil
	}
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

func has(settings []Setting, name string) bool {
	for _, s := range settings {
		if s.Name == name {
			return true
		}
	}
	return false
}

// unset is what becomes of a setting that no source has a word on.
func (s Setting) unset(env func(name string) string) error {
	switch {
	case s.missing != nil:
		return s.missing(env)
	case s.Default != "" && s.Inert == "":
		return errors.Join(s.set([]string{s.Default})...)
	}
	return nil
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
