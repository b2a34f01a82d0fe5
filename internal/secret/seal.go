package secret

import (
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrUnreadable is a sealed value that cannot be opened: sealed with a key that
// is not in the keyring, for another row, or damaged.
var ErrUnreadable = errors.New("sealed value is unreadable")

// The envelope is
//
//	version (1 byte) | length of the key's id (1 byte) | id | nonce (24 bytes) | ciphertext and tag
//
// and the additional data is what stands before the nonce, then the row's name.
// The id tells its own end, so no two pairs of header and name run together to
// the same bytes. A random nonce of 24 bytes does not repeat in practice
// (draft-irtf-cfrg-xchacha, section 3.1).
const version = 1

// Row names one sealed column: the table, the row's id and the column, as in
// "servers/0190…/password". A value opens only under the name it was sealed for.
func Row(table, id, column string) string { return table + "/" + id + "/" + column }

// Seal encrypts plain for one row (see Row) with the newest key. The length of
// plain can be told from the result.
func (k *Keyring) Seal(plain []byte, row string) ([]byte, error) {
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("seal %s: no key", row)
	}
	newest := &k.keys[len(k.keys)-1]
	aead, err := chacha20poly1305.NewX(newest.value[:])
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", row, err)
	}
	head := 2 + len(newest.id)
	sealed := make([]byte, head+aead.NonceSize(), head+aead.NonceSize()+len(plain)+aead.Overhead())
	sealed[0], sealed[1] = version, byte(len(newest.id))
	copy(sealed[2:], newest.id)
	nonce := sealed[head:]
	_, _ = rand.Read(nonce) // never fails
	return aead.Seal(sealed, nonce, plain, additional(sealed[:head], row)), nil
}

// Open decrypts what Seal made for the same row. Its error is ErrUnreadable; it
// names the row and the reason, as far as there is one to tell.
func (k *Keyring) Open(sealed []byte, row string) ([]byte, error) {
	if len(sealed) < 2 {
		return nil, fmt.Errorf("%w: %s: too short", ErrUnreadable, row)
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("%w: %s: version %d, this adit knows %d", ErrUnreadable, row, sealed[0], version)
	}
	head := 2 + int(sealed[1])
	if len(sealed) < head+chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return nil, fmt.Errorf("%w: %s: too short", ErrUnreadable, row)
	}
	// The id comes from outside: %q, since it may hold anything.
	id := string(sealed[2:head])
	key := k.find(id)
	if key == nil {
		return nil, fmt.Errorf("%w: %s: sealed with key %q, which the key file does not hold", ErrUnreadable, row, id)
	}
	aead, err := chacha20poly1305.NewX(key.value[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreadable, row, err)
	}
	nonce, box := sealed[head:head+aead.NonceSize()], sealed[head+aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, box, additional(sealed[:head], row))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: damaged, or sealed for another row or with another key", ErrUnreadable, row)
	}
	return plain, nil
}

func additional(head []byte, row string) []byte {
	return append(head[:len(head):len(head)], row...)
}
