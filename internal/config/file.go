package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Larger files than these are not what they were meant to be: a device or a
// log, say.
const (
	maxFileSize   = 1 << 20
	maxSecretSize = 64 << 10
)

// fileKeys is what a configuration file says, and what is wrong with it.
type fileKeys struct {
	name     string // as it was given, for messages
	given    map[string]given
	problems []string
}

// readFile reads a YAML mapping of settings. Its error is about the file as a
// whole; what is wrong inside is in the problems.
func readFile(path string, settings []Setting) (fileKeys, error) {
	text, err := readBounded(path, maxFileSize)
	if err != nil {
		return fileKeys{}, err
	}
	keys := fileKeys{name: path, given: make(map[string]given)}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return keys, nil // nothing but comments
	case err != nil:
		return fileKeys{}, fmt.Errorf("read %s: %w", path, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fileKeys{}, fmt.Errorf("read %s: more than one YAML document", path)
	}
	keys.collect(document.Content[0], settings)
	return keys, nil
}

func (k *fileKeys) source(line int) string {
	return fmt.Sprintf("file %s, line %d", k.name, line)
}

func (k *fileKeys) problem(line int, format string, args ...any) {
	k.problems = append(k.problems, k.source(line)+": "+fmt.Sprintf(format, args...))
}

// collect takes the root mapping apart by hand, not into a struct, for the
// lines: a problem's place is half of its message.
func (k *fileKeys) collect(root *yaml.Node, settings []Setting) {
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		k.problem(root.Line, "is no list of settings: write one \"name: value\" a line")
		return
	}
	kinds := fileNames(settings)
	lines := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		name := key.Value
		isList, known := kinds[name]
		switch first, twice := lines[name]; {
		case name == fileSetting:
			k.problem(key.Line, "%q names this file and cannot stand in it", name)
		case !known:
			k.problem(key.Line, "unknown key %q", name)
		case twice:
			k.problem(key.Line, "%q stands in line %d already", name, first)
		default:
			lines[name] = key.Line
			k.value(name, value, isList)
		}
	}
}

// fileNames has the keys that a file may hold, and whether each is a list.
func fileNames(settings []Setting) map[string]bool {
	names := make(map[string]bool)
	for _, s := range settings {
		names[s.Name] = s.List
		if s.Secret {
			names[s.Twin()] = false
		}
	}
	return names
}

func (k *fileKeys) value(name string, value *yaml.Node, isList bool) {
	scalars := []*yaml.Node{value}
	if isList && value.Kind == yaml.SequenceNode {
		scalars = value.Content
	}
	g := given{source: k.source(value.Line) + ": " + name}
	for _, scalar := range scalars {
		switch {
		case scalar.Kind != yaml.ScalarNode && isList:
			k.problem(scalar.Line, "%s is a list of plain values", name)
			return
		case scalar.Kind != yaml.ScalarNode:
			k.problem(scalar.Line, "%s takes one plain value", name)
			return
		case scalar.Tag != "!!null": // "key:" alone is an empty value, as "" is
			g.texts = append(g.texts, scalar.Value)
		}
	}
	if len(g.texts) == 0 {
		g.texts = []string{""}
	}
	k.given[name] = g
}

// readSecret reads the value of a secret from its file, without the line's end
// that editors and echo put after it.
func readSecret(path string) (string, error) {
	if path == "" {
		return "", errors.New("has no value")
	}
	text, err := readBounded(path, maxSecretSize)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("read %s: the file is empty", path)
	}
	return secret, nil
}

// readBounded reads a whole file of at most limit bytes. The file may be a
// pipe: it is not asked for its size.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer func() { _ = f.Close() }() // only read from
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return text, nil
}

// fileError names the path once: the system's own error has it too.
func fileError(path string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("read %s: %w", path, err)
}
