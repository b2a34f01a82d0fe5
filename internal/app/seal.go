package app

import (
	"crypto/subtle"
	"fmt"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
)

// Tables and columns that sealed values are bound to. A value opens only under
// the name it was sealed for, so these never change.
const (
	serverTable  = "servers"
	keyTable     = "keys"
	forwardTable = "forwards"

	passwordColumn      = "password"
	privateKeyColumn    = "private_key"
	passphraseColumn    = "passphrase"
	keyContentColumn    = "key_content"
	socksPasswordColumn = "socks_password"
)

// sealed is one secret column of one row.
type sealed struct {
	noun   string // for people: `server "web"`
	table  string
	id     string
	column string
}

// open gives the value, none when bytes is empty. Its error names the row.
func (a *App) open(bytes []byte, of sealed) (redact.Secret, error) {
	if len(bytes) == 0 {
		return redact.Secret{}, nil
	}
	plain, err := a.Keyring.Open(bytes, secret.Row(of.table, of.id, of.column))
	if err != nil {
		return redact.Secret{}, &api.Error{
			Code:    api.CodeSecretUnreadable,
			Message: fmt.Sprintf("The stored %s of %s (id %s) cannot be opened: it was sealed with another key", readable(of.column), of.noun, of.id),
			Hint:    "start adit with the key file that it was saved with, or enter the secret again",
			Err:     err,
		}
	}
	return redact.New(string(plain)), nil
}

// put changes a sealed column as a request says: absent and empty keep it,
// null clears it. What stays the same keeps its bytes, readable or not.
func (a *App) put(bytes *[]byte, change api.Opt[api.Secret], of sealed) error {
	value, ok := change.Get()
	switch {
	case !change.Given():
		return nil
	case !ok:
		*bytes = nil
		return nil
	case value == "":
		return nil
	}
	old, err := a.open(*bytes, of)
	if err == nil && subtle.ConstantTimeCompare([]byte(old.Reveal()), []byte(value)) == 1 {
		return nil
	}
	fresh, err := a.Keyring.Seal([]byte(value), secret.Row(of.table, of.id, of.column))
	if err != nil {
		return fmt.Errorf("seal %s of %s %s: %w", of.column, of.table, of.id, err)
	}
	*bytes = fresh
	return nil
}

func readable(column string) string {
	switch column {
	case privateKeyColumn, keyContentColumn:
		return "private key"
	case socksPasswordColumn:
		return "SOCKS password"
	}
	return column
}
