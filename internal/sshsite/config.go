package sshsite

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Config is all that is needed to connect to one SSH server.
type Config struct {
	Owner    string // whose connection this is, e.g. a scope and a server row; connections are shared only within it
	Address  string // host:port, as dialled and as host keys are kept
	User     string
	Password redact.Secret // may be empty; also answers keyboard-interactive
	Signer   ssh.Signer    // may be nil; see ParseKey
	Strict   bool          // refuse an unknown host key instead of recording it
	HostKeys HostKeys
	HostCAs  *HostCAs // whose host certificates need no pin; nil: no certificates are asked for. The same for all that share a connection
}

// HostKeys remembers the host key of one address in one scope.
type HostKeys interface {
	// Known returns the recorded key, or nil when there is none, and the
	// fingerprint ("SHA256:…") of the key that somebody said the server has, or
	// "". It only counts while there is no recorded key.
	Known(ctx context.Context) (pinned ssh.PublicKey, announced string, err error)
	// Pin records the key of the first connection, which ends an announcement.
	Pin(ctx context.Context, key ssh.PublicKey) error
	// Offer keeps a key that was refused, for a person to accept.
	Offer(ctx context.Context, key ssh.PublicKey) error
}

// Identity is the same for two configurations exactly when they may share a
// connection. It is a digest: it can be kept and compared, and reveals nothing
// that was not known before, but is not meant to be shown.
func (c *Config) Identity() string {
	h := hmac.New(sha256.New, identityKey[:])
	for _, part := range []string{c.Owner, c.Address, c.User, c.Password.Reveal(), c.keyBlob(), fmt.Sprint(c.Strict)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return string(h.Sum(nil))
}

func (c *Config) keyBlob() string {
	if c.Signer == nil {
		return ""
	}
	return string(c.Signer.PublicKey().Marshal())
}

// identityKey makes identities of one process useless to another, since they depend on passwords.
var identityKey = func() [32]byte {
	var k [32]byte
	_, _ = rand.Read(k[:]) // never fails
	return k
}()
