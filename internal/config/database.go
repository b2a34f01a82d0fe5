package config

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/adit-tunnel/adit/internal/redact"
)

// parseDatabase takes the URL of a PostgreSQL database as libpq does. The text
// holds a password, and so do the driver's own errors, in part.
func parseDatabase(text string) (redact.Secret, error) {
	const form = "write postgres://user:password@host:5432/name"
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return redact.Secret{}, errors.New("is no URL of a PostgreSQL database, the only kind beside SQLite, which needs no setting: " + form)
	}
	parsed, err := pgconn.ParseConfig(text)
	if err == nil && strings.ContainsAny(parsed.Host+parsed.Database, "@") || err == nil && strings.Contains(parsed.Database, "/") {
		err = errors.New("a part of the password was taken for the host or the name") // and would be shown as such
	}
	if err != nil {
		if file, ok := errors.AsType[*fs.PathError](err); ok { // a certificate
			return redact.Secret{}, file
		}
		return redact.Secret{}, errors.New("cannot be read as the URL of a PostgreSQL database: " + form +
			`; in a password :, /, ?, #, [, ], @ and % are written as %3A and the like`)
	}
	return redact.New(text), nil
}
