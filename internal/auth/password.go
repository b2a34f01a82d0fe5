// Package auth proves who somebody is: password hashes and signed tokens. It
// knows no HTTP, no rows and no rights.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"runtime"

	"golang.org/x/crypto/argon2"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Params are the costs of one argon2id hash (RFC 9106, section 3.1).
type Params struct {
	Memory      uint32 // KiB
	Passes      uint32
	Parallelism uint8
}

// DefaultParams are what new passwords are hashed with: above the least that
// OWASP recommends (19 MiB, 2 passes), and about a tenth of a second of one
// core. The 64 MiB and four threads of RFC 9106, section 4, would be too much
// for small machines that carry traffic meanwhile.
var DefaultParams = Params{Memory: 32 * 1024, Passes: 3, Parallelism: 1}

const (
	saltSize = 16 // RFC 9106, section 3.1
	hashSize = 32
)

// Hasher hashes and verifies passwords, a bounded number at a time, since each
// takes Params.Memory and a core. It is safe for concurrent use.
type Hasher struct {
	params Params
	turns  chan struct{} // as many as may run at a time
	derive func(password, salt []byte, passes, memory uint32, threads uint8, size uint32) []byte
}

// NewHasher makes a hasher that runs at most concurrent hashes at a time;
// further calls wait. Zero params are DefaultParams; concurrent below 1 is half
// of the machine's cores, 4 at most.
func NewHasher(params Params, concurrent int) *Hasher {
	if params == (Params{}) {
		params = DefaultParams
	}
	if concurrent < 1 {
		concurrent = min(max(runtime.GOMAXPROCS(0)/2, 1), 4)
	}
	return &Hasher{params: params, turns: make(chan struct{}, concurrent), derive: argon2.IDKey}
}

// Hash makes the PHC string of a password under a fresh salt. It waits its turn
// no longer than ctx, whose error is the only one.
func (h *Hasher) Hash(ctx context.Context, password redact.Secret) (redact.Secret, error) {
	made := phc{params: h.params, salt: make([]byte, saltSize), hash: make([]byte, hashSize)}
	_, _ = rand.Read(made.salt) // never fails
	sum, err := h.run(ctx, made, password)
	if err != nil {
		return redact.Secret{}, err
	}
	made.hash = sum
	return redact.New(made.String()), nil
}

// Verify reports whether password is the one that hash (a PHC string) was made
// of, in time that does not tell how near it was. The error is ErrHash or the
// context's.
func (h *Hasher) Verify(ctx context.Context, hash, password redact.Secret) (bool, error) {
	stored, err := parsePHC(hash.Reveal())
	if err != nil {
		return false, err
	}
	sum, err := h.run(ctx, stored, password)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(sum, stored.hash) == 1, nil
}

// VerifyNone costs what Verify of a hash of today costs: call it when there is
// no such user, so that the time does not tell. Its error is the context's.
func (h *Hasher) VerifyNone(ctx context.Context, password redact.Secret) error {
	none := phc{params: h.params, salt: make([]byte, saltSize), hash: make([]byte, hashSize)}
	_, err := h.run(ctx, none, password)
	return err
}

// Outdated reports whether hash was made with other costs than new ones are, or
// is none at all, so that a successful login can replace it.
func (h *Hasher) Outdated(hash redact.Secret) bool {
	stored, err := parsePHC(hash.Reveal())
	return err != nil || stored.params != h.params
}

// run derives the hash of a password as like was made, when its turn comes.
func (h *Hasher) run(ctx context.Context, like phc, password redact.Secret) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("hash password: %w", ctx.Err())
	}
	defer func() { <-h.turns }()
	p := like.params
	return h.derive([]byte(password.Reveal()), like.salt, p.Passes, p.Memory, p.Parallelism, uint32(len(like.hash))), nil
}
