package sshsite

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
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
	certify bool          // ask for a certificate before a plain key
	passed  func()        // the key was accepted

	announced string   // with no pinned key: the fingerprint that it must have; empty: none is known
	kinds     []string // with announced: the algorithms to ask for, without certificates

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
	if cert, ok := key.(*ssh.Certificate); ok && v.certify {
		return v.judgeCertificate(cert)
	}
	switch {
	case v.accepted != nil && string(v.accepted.Marshal()) == string(key.Marshal()):
		return nil // the keys are exchanged again, long after ctx has ended
	case v.isAnnounced(key), v.announced == "" && v.pinned == nil && !v.cfg.Strict:
		return v.pin(key)
	case v.announced != "":
		return &otherKeyError{key}
	case v.pinned == nil:
		return v.refuse(key, &api.Error{
			Code:    api.CodeHostKeyUnknown,
			Message: fmt.Sprintf("the host key of %s is not known: it offers %s %s", v.cfg.Address, key.Type(), ssh.FingerprintSHA256(key)),
			Hint:    "compare the fingerprint with the server's and accept it with PUT …/host-key",
		})
	case !v.probing && v.isPinned(key):
		return nil
	}
	return v.refuse(key, &api.Error{
		Code: api.CodeHostKeyChanged,
		Message: fmt.Sprintf("the host key of %s has changed: %s %s is pinned, it offers %s %s", v.cfg.Address,
			v.pinned.Type(), ssh.FingerprintSHA256(v.pinned), key.Type(), ssh.FingerprintSHA256(key)),
		Hint: "somebody may be in between; if the server's key was really replaced, accept the new one with PUT …/host-key",
	})
}

func (v *verifier) isPinned(key ssh.PublicKey) bool {
	return v.pinned != nil && string(v.pinned.Marshal()) == string(key.Marshal())
}

func (v *verifier) isAnnounced(key ssh.PublicKey) bool {
	return v.announced != "" && v.announced == ssh.FingerprintSHA256(key)
}

func (v *verifier) pin(key ssh.PublicKey) error {
	if err := v.cfg.HostKeys.Pin(v.ctx, key); err != nil {
		return fmt.Errorf("record the host key of %s: %w", v.cfg.Address, err)
	}
	return nil
}

// judgeCertificate accepts a certificate by a known authority, whatever is
// pinned. One of theirs that is not valid proves nothing, but its key is not
// recorded either, as that of a server that was never met would be: where there
// are authorities, somebody should look.
func (v *verifier) judgeCertificate(cert *ssh.Certificate) error {
	if v.accepted != nil && string(v.accepted.Marshal()) == string(cert.Marshal()) {
		return nil // the keys are exchanged again, and it may have expired since
	}
	ours, why := v.cfg.HostCAs.check(v.cfg.Address, cert)
	switch {
	case ours && why == nil, v.isPinned(cert.Key):
		return nil
	case v.isAnnounced(cert.Key):
		return v.pin(cert.Key)
	case !ours:
		return errForeignCertificate
	}
	code := api.CodeHostKeyUnknown
	if v.pinned != nil || v.announced != "" {
		code = api.CodeHostKeyChanged
	}
	return v.refuse(cert.Key, &api.Error{
		Code: code,
		Message: fmt.Sprintf("the host certificate of %s cannot be used: %v; its key is %s %s",
			v.cfg.Address, why, cert.Key.Type(), ssh.FingerprintSHA256(cert.Key)),
		Hint: "have the server's certificate issued anew, or compare the fingerprint with the server's and accept the key with PUT …/host-key",
	})
}

func (v *verifier) refuse(key ssh.PublicKey, refusal *api.Error) error {
	if err := v.cfg.HostKeys.Offer(v.ctx, key); err != nil {
		return fmt.Errorf("keep the offered host key of %s: %w", v.cfg.Address, err)
	}
	return refusal
}

// otherKeyError is a host key that is not the announced one. The server may
// have that, too.
type otherKeyError struct{ key ssh.PublicKey }

func (e *otherKeyError) Error() string {
	return "host key " + ssh.FingerprintSHA256(e.key) + " is not the announced one"
}

// refuseAll refuses all keys of a server, at least one, since none is the
// announced one, and keeps the first as offered.
func (v *verifier) refuseAll(shown []ssh.PublicKey) error {
	offers := make([]string, len(shown))
	for i, key := range shown {
		offers[i] = key.Type() + " " + ssh.FingerprintSHA256(key)
	}
	return v.refuse(shown[0], &api.Error{
		Code: api.CodeHostKeyChanged,
		Message: fmt.Sprintf("no host key of %s is the announced one: %s was announced, it offers %s",
			v.cfg.Address, v.announced, strings.Join(offers, ", ")),
		Hint: "somebody may be in between, or the announced fingerprint is not this server's: compare it there; " +
			"accept the offered key with PUT …/host-key, or forget the announced one with DELETE …/host-key",
	})
}

// kindsAfter lists the algorithms without certificates that are asked for after
// those of a key.
func kindsAfter(key ssh.PublicKey) []string {
	if i := slices.Index(plainAlgorithms, key.Type()); i >= 0 {
		return plainAlgorithms[i+1:]
	}
	return nil // RSA keys, whose algorithms have other names and are the last
}

// plainAlgorithms are the host key algorithms without certificates, which are
// another matter: a certificate would be pinned as if it were the key.
var plainAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// certificateAlgorithms are those of the same keys with certificates.
var certificateAlgorithms = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// algorithms lists what to ask for.
func (v *verifier) algorithms() []string {
	if v.certify {
		return slices.Concat(certificateAlgorithms, v.plain())
	}
	return v.plain()
}

// plain lists the algorithms without certificates to ask for, so that a server
// with several keys shows the pinned one.
func (v *verifier) plain() []string {
	switch {
	case v.announced != "":
		return v.kinds
	case v.pinned == nil, v.probing:
		return plainAlgorithms
	case v.pinned.Type() == ssh.KeyAlgoRSA:
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{v.pinned.Type()}
}
