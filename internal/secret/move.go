package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Text is the keyring as a key file has it, for Parse. Whoever has it opens all
// that was sealed.
func (k *Keyring) Text() redact.Secret { return redact.New(string(k.text())) }

// AddToFile puts older keys before those of a key file, whose newest goes on to
// seal, or makes the file (mode 0600) of them. Keys that the file has already are
// left out. The file is replaced at once or not at all.
func AddToFile(path string, older *Keyring) (*Keyring, error) {
	k, err := OpenFile(path)
	place := os.Rename
	if errors.Is(err, fs.ErrNotExist) {
		k, place, err = &Keyring{}, placeNew, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := k.after(older)
	if err == nil && len(all.keys) > len(k.keys) {
		err = writeWhole(path, all.text(), place)
	}
	if err != nil {
		return nil, fmt.Errorf("add to key file %s: %w", path, err)
	}
	return all, nil
}

// after gives a keyring with the older keys before those of k.
func (k *Keyring) after(older *Keyring) (*Keyring, error) {
	all := &Keyring{}
	for _, key := range older.keys {
		have := k.find(key.id)
		if have == nil {
			all.keys = append(all.keys, key)
		} else if subtle.ConstantTimeCompare(have.value[:], key.value[:]) == 0 {
			return nil, fmt.Errorf("it has another key of the id %q already", key.id)
		}
	}
	all.keys = append(all.keys, k.keys...)
	if len(all.keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys together", maxKeys)
	}
	return all, nil
}
