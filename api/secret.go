package api

import (
	"fmt"
	"log/slog"
)

// Secret is a password, passphrase, private key or token on its way over the
// wire. It marshals as it is, and prints and logs as "[redacted]".
type Secret string

const redacted = "[redacted]"

// Format prints "[redacted]" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
