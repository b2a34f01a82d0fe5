// Package demo runs a working server with sample data, a sample target and an
// SSH server of its own.
package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
)

// Run is `adit demo`.
func Run(ctx context.Context, out io.Writer, logger *slog.Logger) error {
	return errors.New("not built yet")
}
