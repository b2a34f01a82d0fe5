package sshsite

import (
	"context"
	"fmt"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
)

// verifier decides about the host key of one connection attempt.
type verifier struct {
	ctx     context.Context
	cfg     *Config
	pinned  ssh.PublicKey // nil: none yet
	probing bool          // learn the key of a server that no longer has the pinned one's algorithm
	passed  func()        // the key was accepted

	accepted ssh.PublicKey // by an earlier key exchange of this connection; only check uses it

	mu      sync.Mutex // guards below; the handshake may be given up while check still runs
	refusal error      // why the key was refused: *api.Error, or what the HostKeys said
}

// verdict returns why the key was refused, or nil.
func (v *verifier) verdict() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refusal
}

// check is the ssh.HostKeyCallback.
func (v *verifier) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	err := v.judge(key)
	if err == nil {
		v.accepted = key
		v.passed()
	}
	v.mu.Lock()
	v.refusal = err
	v.mu.Unlock()
	return err
}

func (v *verifier) judge(key ssh.PublicKey) error {
	switch {
	case v.accepted != nil && string(v.accepted.Marshal()) == string(key.Marshal()):
		return nil // the keys are exchanged again, long after ctx has ended
	case v.pinned == nil && !v.cfg.Strict:
		if err := v.cfg.HostKeys.Pin(v.ctx, key); err != nil {
			return fmt.Errorf("record the host key of %s: %w", v.cfg.Address, err)
		}
		return nil
	case v.pinned == nil:
		return v.refuse(key, &api.Error{
			Code:    api.CodeHostKeyUnknown,
			Message: fmt.Sprintf("the host key of %s is not known: it offers %s %s", v.cfg.Address, key.Type(), ssh.FingerprintSHA256(key)),
			Hint:    "compare the fingerprint with the server's and accept it with PUT …/host-key",
		})
	case !v.probing && string(v.pinned.Marshal()) == string(key.Marshal()):
		return nil
	}
	return v.refuse(key, &api.Error{
		Code: api.CodeHostKeyChanged,
		Message: fmt.Sprintf("the host key of %s has changed: %s %s is pinned, it offers %s %s", v.cfg.Address,
			v.pinned.Type(), ssh.FingerprintSHA256(v.pinned), key.Type(), ssh.FingerprintSHA256(key)),
		Hint: "somebody may be in between; if the server's key was really replaced, accept the new one with PUT …/host-key",
	})
}

func (v *verifier) refuse(key ssh.PublicKey, refusal *api.Error) error {
	if err := v.cfg.HostKeys.Offer(v.ctx, key); err != nil {
		return fmt.Errorf("keep the offered host key of %s: %w", v.cfg.Address, err)
	}
	return refusal
}

// plainAlgorithms are the host key algorithms without certificates, which are
// another matter: a certificate would be pinned as if it were the key.
var plainAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// algorithms lists what to ask for, so that a server with several keys shows the pinned one.
func (v *verifier) algorithms() []string {
	switch {
	case v.pinned == nil, v.probing:
		return plainAlgorithms
	case v.pinned.Type() == ssh.KeyAlgoRSA:
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{v.pinned.Type()}
}
