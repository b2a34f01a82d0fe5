package sshsite

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/sshd"
)

// everyKind is a fixture whose server has keys of several kinds.
func everyKind(t *testing.T) (f *fixture, keys []ssh.Signer) {
	t.Helper()
	f = newFixture(t)
	keys = []ssh.Signer{f.host, hostKey(t, sshserver.GenerateECDSAHostKey), hostKey(t, sshserver.GenerateRSAHostKey)}
	f.faults.SetHostKeys(keys...)
	return f, keys
}

func TestAnAnnouncedKeyIsFoundAmongAllThatAServerHas(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		f, keys := everyKind(t)
		f.cfg.Strict = strict
		for i, key := range keys {
			f.keys.pinned, f.keys.announced = nil, ssh.FingerprintSHA256(key.PublicKey())
			before := f.server.Counts().Accepted
			f.dial(t)
			if !same(f.keys.pinned, key.PublicKey()) || f.keys.announced != "" || f.keys.offered != nil {
				t.Errorf("%s: it was not pinned, or is still announced, or another was kept as refused", key.PublicKey().Type())
			}
			if n := f.server.Counts().Accepted - before; n != i+1 {
				t.Errorf("%s: %d connections", key.PublicKey().Type(), n)
			}
		}
		f.dial(t)
	}
}

func TestAServerNeedNotHaveEveryKindOfKey(t *testing.T) {
	t.Parallel()
	for _, generate := range []func() (ssh.Signer, error){sshserver.GenerateECDSAHostKey, sshserver.GenerateRSAHostKey} {
		f, key := newFixture(t), hostKey(t, generate)
		f.faults.SetHostKeys(key)
		f.keys.announced = ssh.FingerprintSHA256(key.PublicKey())
		f.dial(t)
		if !same(f.keys.pinned, key.PublicKey()) {
			t.Errorf("%s was not pinned", key.PublicKey().Type())
		}
	}
}

func TestAServerWithoutTheAnnouncedKeyIsRefused(t *testing.T) {
	t.Parallel()
	announced := ssh.FingerprintSHA256(hostKey(t, sshserver.GenerateHostKey).PublicKey())
	f, keys := everyKind(t)
	for _, has := range [][]ssh.Signer{keys, keys[:2], keys[1:2], keys[2:]} {
		f.faults.SetHostKeys(has...)
		f.keys.announced, f.keys.offered = announced, nil
		e := f.fails(t, api.CodeHostKeyChanged)
		if !strings.Contains(e.Message, announced) {
			t.Errorf("%q does not name the announced key", e.Message)
		}
		for _, key := range has {
			if !strings.Contains(e.Message, ssh.FingerprintSHA256(key.PublicKey())) {
				t.Errorf("%q does not name the %s key", e.Message, key.PublicKey().Type())
			}
		}
		if f.keys.pinned != nil || f.keys.announced != announced || !same(f.keys.offered, has[0].PublicKey()) {
			t.Error("a key was pinned, or the announcement lost, or no key kept for a person to accept")
		}
	}
	if n := f.server.Counts().PasswordAttempts; n != 0 {
		t.Error("the server got the password")
	}
}

func TestAnAnnouncedKeyDoesNotHideOtherTroubles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys.announced = ssh.FingerprintSHA256(hostKey(t, sshserver.GenerateHostKey).PublicKey())
	f.faults.SetAlgorithms(ssh.Algorithms{Ciphers: []string{ssh.InsecureCipherRC4256}})
	f.fails(t, api.CodeNoCommonAlgorithm)
	if f.keys.offered != nil {
		t.Error("a key was kept that no key exchange showed")
	}
}

func TestAKnownAuthorityIsAsGoodAsTheAnnouncedKey(t *testing.T) {
	t.Parallel()
	f, ca := certified(t)
	other := ssh.FingerprintSHA256(hostKey(t, sshserver.GenerateHostKey).PublicKey())
	f.faults.SetHostKeys(certify(t, ca, f.host))
	f.keys.announced = other
	f.dial(t)
	if f.keys.pinned != nil || f.keys.announced != other {
		t.Error("a key was pinned, or the announcement lost")
	}
	expired := certify(t, ca, f.host, func(c *ssh.Certificate) { c.ValidBefore = c.ValidAfter + 1 })
	f.faults.SetHostKeys(expired)
	f.fails(t, api.CodeHostKeyChanged)
	if !same(f.keys.offered, f.host.PublicKey()) {
		t.Error("the key of the expired certificate was not kept")
	}
	f.keys.announced = ssh.FingerprintSHA256(f.host.PublicKey())
	f.dial(t)
	if !same(f.keys.pinned, f.host.PublicKey()) {
		t.Error("the announced key, shown in a certificate, was not pinned")
	}
}

func TestWithAuthoritiesAnAnnouncedPlainKeyIsFoundToo(t *testing.T) {
	t.Parallel()
	f, _ := certified(t)
	rsa := hostKey(t, sshserver.GenerateRSAHostKey)
	foreign := certify(t, hostKey(t, sshserver.GenerateHostKey), hostKey(t, sshserver.GenerateECDSAHostKey))
	for _, has := range [][]ssh.Signer{{f.host, rsa}, {foreign, f.host, rsa}} {
		f.faults.SetHostKeys(has...)
		f.keys.pinned, f.keys.announced = nil, ssh.FingerprintSHA256(rsa.PublicKey())
		f.dial(t)
		if !same(f.keys.pinned, rsa.PublicKey()) {
			t.Error("it was not pinned")
		}
		f.keys.pinned, f.keys.announced = nil, ssh.FingerprintSHA256(hostKey(t, sshserver.GenerateHostKey).PublicKey())
		f.fails(t, api.CodeHostKeyChanged)
	}
}

func TestAnAnnouncedKeyOfARealSSHServerIsFound(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t, sshd.WithHostKeys(sshd.Ed25519, sshd.ECDSA, sshd.RSA))
	keys := new(memoryKeys)
	cfg := Config{Owner: "test", Address: server.Addr, User: server.User, Signer: server.ClientSigner, HostKeys: keys}
	keys.announced = ssh.FingerprintSHA256(hostKey(t, sshserver.GenerateHostKey).PublicKey())
	if conn, err := Dial(t.Context(), cfg); err == nil {
		conn.Close()
		t.Fatal("connected to a server without the announced key")
	}
	if !same(keys.offered, server.HostPublicKey) {
		t.Errorf("offered %v", keys.offered)
	}
	for _, key := range server.HostPublicKeys {
		keys.pinned, keys.announced = nil, ssh.FingerprintSHA256(key)
		conn, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if !same(keys.pinned, key) {
			t.Errorf("%s was not pinned", key.Type())
		}
	}
}
