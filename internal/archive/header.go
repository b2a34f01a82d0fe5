package archive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/adit-tunnel/adit/internal/redact"
)

// The first line says what the file is, to people as well. A newer format has
// another number.
const (
	family = "adit archive "
	magic  = family + "1\n"
)

// Costs are those of making a key of a passphrase: argon2id's (RFC 9106). An
// archive says its own. The zero value stands for the usual ones.
type Costs struct {
	Memory byte // the binary logarithm of KiB: 10 to 18, which are 1 to 256 MiB
	Passes byte // 1 to 16
	Lanes  byte // 1 to 16
}

// usualCosts are the second recommended option of RFC 9106, section 4: 64 MiB.
var usualCosts = Costs{Memory: 16, Passes: 3, Lanes: 4}

// ok bounds what a file may ask for before anything of it is known to be true.
func (c Costs) ok() bool {
	return 10 <= c.Memory && c.Memory <= 18 && 1 <= c.Passes && c.Passes <= 16 && 1 <= c.Lanes && c.Lanes <= 16
}

// header is what stands in clear before the chunks:
//
//	"adit archive 1\n" | memory | passes | lanes | salt (16 bytes) | prefix of the nonces (15 bytes)
//
// All of it is additional data of each chunk.
type header struct {
	Costs
	salt   [16]byte
	prefix [15]byte
}

func newHeader(c Costs) *header {
	h := &header{Costs: c}
	// crypto/rand never fails: it ends the program instead.
	_, _ = rand.Read(h.salt[:])
	_, _ = rand.Read(h.prefix[:])
	return h
}

func (h *header) bytes() []byte {
	b := append([]byte(magic), h.Memory, h.Passes, h.Lanes)
	return append(append(b, h.salt[:]...), h.prefix[:]...)
}

// readHeader reads exactly the header.
func readHeader(from io.Reader) (*header, error) {
	first := make([]byte, len(magic))
	if n, err := io.ReadFull(from, first); err != nil {
		return nil, short(err, n > 0 && bytes.HasPrefix([]byte(magic), first[:n]))
	}
	if string(first) != magic {
		if bytes.HasPrefix(first, []byte(family)) {
			return nil, ErrNewer
		}
		return nil, ErrFormat
	}
	var h header
	rest := make([]byte, 3+len(h.salt)+len(h.prefix))
	if _, err := io.ReadFull(from, rest); err != nil {
		return nil, short(err, true)
	}
	h.Costs = Costs{rest[0], rest[1], rest[2]}
	copy(h.salt[:], rest[3:])
	copy(h.prefix[:], rest[3+len(h.salt):])
	if !h.ok() {
		return nil, fmt.Errorf("%w: its passphrase would cost more than adit spends on one", ErrDamaged)
	}
	return &h, nil
}

// short is the error of a header that ended, or could not be read. begun tells
// that what there was is how an archive begins.
func short(err error, begun bool) error {
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case begun:
		return ErrTruncated
	default:
		return ErrFormat
	}
}

// key makes the key of the passphrase. The salt is fresh for each archive, and so
// is the key.
func (h *header) key(passphrase redact.Secret) []byte {
	return argon2.IDKey([]byte(passphrase.Reveal()), h.salt[:], uint32(h.Passes), 1<<h.Memory, h.Lanes, chacha20poly1305.KeySize)
}
