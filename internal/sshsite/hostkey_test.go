package sshsite

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/sshserver"
)

func same(a, b ssh.PublicKey) bool {
	return a != nil && b != nil && string(a.Marshal()) == string(b.Marshal())
}

func hostKey(t *testing.T, generate func() (ssh.Signer, error)) ssh.Signer {
	t.Helper()
	key, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestTheFirstHostKeyIsPinnedAndAnotherRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.dial(t)
	if !same(f.keys.pinned, f.host.PublicKey()) {
		t.Fatal("the first key was not pinned")
	}
	other := hostKey(t, sshserver.GenerateHostKey)
	f.faults.SetHostKeys(other)
	e := f.fails(t, api.CodeHostKeyChanged)
	if !strings.Contains(e.Message, ssh.FingerprintSHA256(other.PublicKey())) {
		t.Errorf("%q does not name the new key", e.Message)
	}
	if !same(f.keys.offered, other.PublicKey()) || !same(f.keys.pinned, f.host.PublicKey()) {
		t.Error("the offered key was not kept apart from the pinned one")
	}
	if n := f.server.Counts().PasswordAttempts; n != 1 {
		t.Errorf("the password was sent %d times: the server with the other key got it", n)
	}
}

func TestAHostKeyOfAnotherTypeIsAChangedOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.dial(t)
	other := hostKey(t, sshserver.GenerateECDSAHostKey)
	f.faults.SetHostKeys(other)
	f.fails(t, api.CodeHostKeyChanged)
	if !same(f.keys.offered, other.PublicKey()) {
		t.Error("the offered key was not kept")
	}
}

func TestThePinnedAlgorithmIsAskedFor(t *testing.T) {
	t.Parallel()
	rsa := hostKey(t, sshserver.GenerateRSAHostKey)
	f := newFixture(t)
	f.faults.SetHostKeys(f.host, rsa, hostKey(t, sshserver.GenerateECDSAHostKey))
	f.keys.pinned = rsa.PublicKey()
	f.dial(t)
	if asked := f.faults.AskedHostKeys(); !slices.Equal(asked, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}) {
		t.Errorf("asked for %v", asked)
	}
}

func TestAStrictConnectionRecordsNothingByItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.Strict = true
	f.fails(t, api.CodeHostKeyUnknown)
	if f.keys.pinned != nil || !same(f.keys.offered, f.host.PublicKey()) {
		t.Error("the unknown key was pinned, or not kept as offered")
	}
	f.keys.pinned = f.keys.offered
	f.dial(t)
}
