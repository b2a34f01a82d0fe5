package config

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Standard is the archive's file when it is standard output or input.
const Standard = "-"

// minPassphrase is the shortest passphrase of an archive, in characters.
const minPassphrase = 8

// Transfer is all that `adit export` and `adit import` can be told. LoadTransfer
// gives one that is valid throughout.
type Transfer struct {
	File       string        // the archive, an absolute path, or Standard
	Data       string        // the data directory, an absolute path
	Database   redact.Secret // the URL of a PostgreSQL database; zero for SQLite in the data directory
	Passphrase redact.Secret // of the archive, 8 characters at least
}

// TransferSettings are those of `adit export` and `adit import`, in the order of
// their help.
func TransferSettings() []Setting { return transferSettings(new(Transfer), new(Config)) }

// LoadTransfer makes the configuration of `adit export` and `adit import`, as
// Load does, but without a file.
func LoadTransfer(in Input) (Transfer, error) {
	var t Transfer
	var c Config
	l := load(transferSettings(&t, &c), in)
	if err := l.err(); err != nil {
		return Transfer{}, err
	}
	t.Data, t.Database = c.Data, c.Database
	return t, nil
}

// transferSettings are bound to the fields of t; those that the server has too,
// to the server's.
func transferSettings(t *Transfer, c *Config) []Setting {
	own := []Setting{
		{Name: "file", Value: "FILE", set: into(&t.File, parseArchive), missing: needed("is needed: the archive's path, or - for standard output or input"),
			Usage: "the archive; - for standard output or input"},
		{Name: "passphrase", Value: "TEXT", Secret: true, set: into(&t.Passphrase, parsePassphrase),
			missing: needed("is needed, best by --passphrase-file: what the archive is sealed with"),
			Usage:   "what the archive is sealed with, 8 characters at least"},
	}
	for _, s := range serveSettings(c) {
		if s.Name == "data" || s.Name == "database" {
			own = append(own, s)
		}
	}
	return own
}

func needed(problem string) func(func(string) string) error {
	return func(func(string) string) error { return errors.New(problem) }
}

func parseArchive(text string) (string, error) {
	if text == Standard {
		return Standard, nil
	}
	return parsePath(text)
}

func parsePassphrase(text string) (redact.Secret, error) {
	if utf8.RuneCountInString(text) < minPassphrase {
		return redact.Secret{}, fmt.Errorf("has fewer than %d characters", minPassphrase)
	}
	return redact.New(text), nil
}
