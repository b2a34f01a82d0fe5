package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// ErrHash is a stored hash that is none, or whose costs are out of bounds.
var ErrHash = errors.New("not a usable argon2id hash")

// The bounds of what is read from a stored hash: a damaged or planted one must
// not take all memory, or be so cheap that it verifies nothing.
const (
	maxMemory      = 256 * 1024 // KiB
	maxPasses      = 32
	maxParallelism = 32
	minSalt        = 8
	minHash        = 16
	maxBytes       = 64 // of salt and hash, each
)

// phc is a password hash in the string form of the Password Hashing
// Competition:
//
//	$argon2id$v=19$m=32768,t=3,p=1$<salt>$<hash>
//
// with salt and hash in base64 without padding.
type phc struct {
	params Params
	salt   []byte
	hash   []byte
}

func (p phc) String() string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.params.Memory, p.params.Passes, p.params.Parallelism, encode(p.salt), encode(p.hash))
}

// parsePHC reads what String writes. Its error is ErrHash and repeats nothing.
func parsePHC(text string) (phc, error) {
	fields := strings.Split(text, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, fmt.Errorf("%w: want $argon2id$v=%d$…", ErrHash, argon2.Version)
	}
	var p phc
	if err := p.params.parse(fields[3]); err != nil {
		return phc{}, err
	}
	var err error
	if p.salt, err = decode(fields[4], minSalt); err != nil {
		return phc{}, fmt.Errorf("%w: salt", ErrHash)
	}
	if p.hash, err = decode(fields[5], minHash); err != nil {
		return phc{}, fmt.Errorf("%w: hash", ErrHash)
	}
	return p, nil
}

// parse reads "m=32768,t=3,p=1", in that order.
func (p *Params) parse(text string) error {
	costs := strings.Split(text, ",")
	if len(costs) != 3 {
		return fmt.Errorf("%w: want three costs", ErrHash)
	}
	memory, err1 := cost(costs[0], "m=", maxMemory)
	passes, err2 := cost(costs[1], "t=", maxPasses)
	threads, err3 := cost(costs[2], "p=", maxParallelism)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if memory < 8*threads { // RFC 9106, section 3.1
		return fmt.Errorf("%w: memory below 8 KiB a lane", ErrHash)
	}
	*p = Params{Memory: memory, Passes: passes, Parallelism: uint8(threads)}
	return nil
}

func cost(text, name string, most uint32) (uint32, error) {
	digits, ok := strings.CutPrefix(text, name)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n < 1 || n > uint64(most) || digits != strconv.FormatUint(n, 10) {
		return 0, fmt.Errorf("%w: want %s1 to %d", ErrHash, name, most)
	}
	return uint32(n), nil
}

func decode(text string, least int) ([]byte, error) {
	if len(text) > base64.RawStdEncoding.EncodedLen(maxBytes) {
		return nil, ErrHash
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < least || strings.ContainsAny(text, "\r\n") {
		return nil, ErrHash
	}
	return b, nil
}
