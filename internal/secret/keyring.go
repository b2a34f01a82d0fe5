// Package secret seals what must not be readable at rest: passwords,
// passphrases, private keys, signing keys. It knows no rows and no database;
// whoever seals names the row, and only under that name it opens again.
package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	maxID   = 32 // bytes of a key's id
	maxKeys = 1000
)

// Keyring holds the keys that seal and open. It is immutable, safe for
// concurrent use, and prints as "[redacted]".
type Keyring struct {
	keys []key // in the order of the file: the last is the newest
}

type key struct {
	id    string
	value [chacha20poly1305.KeySize]byte
}

// New makes a keyring with one fresh random key, kept nowhere.
func New() *Keyring { return (&Keyring{}).Rotate() }

// Rotate gives a keyring with one more fresh random key, which seals from then
// on. What the older keys sealed still opens.
func (k *Keyring) Rotate() *Keyring {
	var fresh key
	var id [8]byte
	// crypto/rand never fails: it ends the program instead.
	_, _ = rand.Read(id[:])
	_, _ = rand.Read(fresh.value[:])
	fresh.id = hex.EncodeToString(id[:])
	return &Keyring{keys: append(k.keys[:len(k.keys):len(k.keys)], fresh)}
}

// Parse reads the text of a key file: on each line the id of a key (1 to 32 of
// a-z A-Z 0-9 . _ -), a space, and its 32 bytes in standard base64. Empty lines
// and lines that begin with # are skipped. The last key is the newest and seals.
// Errors name the line and never what stands on it.
func Parse(text []byte) (*Keyring, error) {
	k := &Keyring{}
	for i, line := range bytes.Split(text, []byte("\n")) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		next, err := parseKey(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if k.find(next.id) != nil {
			return nil, fmt.Errorf("line %d: the id of an earlier line", i+1)
		}
		if len(k.keys) == maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
		k.keys = append(k.keys, *next)
	}
	if len(k.keys) == 0 {
		return nil, errors.New("no key in it")
	}
	return k, nil
}

func parseKey(fields [][]byte) (*key, error) {
	if len(fields) != 2 {
		return nil, errors.New("want an id and a key")
	}
	next := &key{id: string(fields[0])}
	if !validID(next.id) {
		return nil, fmt.Errorf("want an id of 1 to %d letters, digits, dots, dashes or underscores", maxID)
	}
	value, err := base64.StdEncoding.Strict().DecodeString(string(fields[1]))
	if err != nil || len(value) != len(next.value) {
		return nil, fmt.Errorf("want a key of %d bytes in base64", len(next.value))
	}
	copy(next.value[:], value)
	return next, nil
}

func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for _, c := range []byte(id) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && !strings.ContainsRune("._-", rune(c)) {
			return false
		}
	}
	return true
}

// text is the key file, see Parse.
func (k *Keyring) text() []byte {
	var b bytes.Buffer
	b.WriteString("# adit seals secrets with the last of these keys and opens them with any.\n" +
		"# Whoever has this file and the database has the secrets. Lost keys cannot be replaced.\n")
	for _, key := range k.keys {
		fmt.Fprintf(&b, "%s %s\n", key.id, base64.StdEncoding.EncodeToString(key.value[:]))
	}
	return b.Bytes()
}

func (k *Keyring) find(id string) *key {
	for i := range k.keys {
		if k.keys[i].id == id {
			return &k.keys[i]
		}
	}
	return nil
}

// Format prints no key, whatever the verb.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue implements slog.LogValuer.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue("[redacted]") }
