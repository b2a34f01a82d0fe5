// Package redact holds the type of every secret value in memory: it prints,
// logs and marshals as "[redacted]". Sealing at rest is package secret's work.
package redact

import (
	"fmt"
	"log/slog"
)

const mark = "[redacted]"

// Secret is a password, passphrase, private key or token. The zero value means
// that there is none.
type Secret struct{ value string }

// New wraps a secret value.
func New(value string) Secret { return Secret{value} }

// Reveal gives the value itself. Call it only where the value is used.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" }

// Format prints the mark for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(mark)) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(mark) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(mark), nil }
