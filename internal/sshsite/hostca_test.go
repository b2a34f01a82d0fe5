package sshsite

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/sshd"
)

// certify makes a host certificate for 127.0.0.1 that is valid now, unless
// changed, and a signer that shows it.
func certify(t *testing.T, ca, host ssh.Signer, change ...func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{
		Key: host.PublicKey(), CertType: ssh.HostCert, KeyId: "test", ValidPrincipals: []string{"other.example", "127.0.0.1"},
		ValidAfter: uint64(time.Now().Add(-time.Hour).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	for _, c := range change {
		c(cert)
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, host)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func hostCAs(t *testing.T, lines ...string) *HostCAs {
	t.Helper()
	c, err := ParseHostCAs([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// certified is a fixture that trusts a new authority.
func certified(t *testing.T) (f *fixture, ca ssh.Signer) {
	t.Helper()
	f, ca = newFixture(t), hostKey(t, sshserver.GenerateHostKey)
	f.cfg.HostCAs = hostCAs(t, "# ours", "", line(ca.PublicKey())+" a comment")
	return f, ca
}

func TestAHostCertificateOfAnAuthorityNeedsNoPin(t *testing.T) {
	t.Parallel()
	for what, generate := range map[string]func() (ssh.Signer, error){
		"ed25519": sshserver.GenerateHostKey, "rsa": sshserver.GenerateRSAHostKey, "ecdsa": sshserver.GenerateECDSAHostKey,
	} {
		f, ca := certified(t)
		f.cfg.Strict = true
		f.faults.SetHostKeys(f.host, certify(t, ca, hostKey(t, generate)))
		f.dial(t)
		if f.keys.pinned != nil || f.keys.offered != nil {
			t.Errorf("%s: the key was pinned, or kept as refused", what)
		}
		// Whatever is pinned: the authority says that this is the host.
		f.keys.pinned = hostKey(t, sshserver.GenerateHostKey).PublicKey()
		f.dial(t)
	}
}

func TestAnAuthorityMayBeARSAKey(t *testing.T) {
	t.Parallel()
	f, ca := newFixture(t), hostKey(t, sshserver.GenerateRSAHostKey)
	f.cfg.HostCAs, f.cfg.Strict = hostCAs(t, line(ca.PublicKey())), true
	f.faults.SetHostKeys(certify(t, ca, f.host))
	f.dial(t)
}

func TestAHostCertificateThatIsNotValidIsRefused(t *testing.T) {
	t.Parallel()
	for why, change := range map[string]func(*ssh.Certificate){
		"it expired at ":                   func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Unix()) },
		"it is not valid before ":          func(c *ssh.Certificate) { c.ValidAfter = uint64(time.Now().Add(time.Minute).Unix()) },
		"it is a user's certificate":       func(c *ssh.Certificate) { c.CertType = ssh.UserCert },
		`not for "127.0.0.1"`:              func(c *ssh.Certificate) { c.ValidPrincipals = []string{"127.0.0.2", "127.0.0.1.example"} },
		"it names no host":                 func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"it has critical options":          func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "x"} },
		"it is not valid before the end o": func(c *ssh.Certificate) { c.ValidAfter = 1 << 63 },
	} {
		f, ca := certified(t)
		cert := certify(t, ca, f.host, change)
		f.faults.SetHostKeys(cert)
		e := f.fails(t, api.CodeHostKeyUnknown)
		if !strings.Contains(e.Message, why) || !strings.Contains(e.Message, ssh.FingerprintSHA256(f.host.PublicKey())) {
			t.Errorf("%q does not say %q and the fingerprint", e.Message, why)
		}
		if f.keys.pinned != nil || !same(f.keys.offered, f.host.PublicKey()) {
			t.Errorf("%s: its key was pinned, or not kept for a person to accept", why)
		}
		if n := f.server.Counts().PasswordAttempts; n != 0 {
			t.Errorf("%s: the server got the password", why)
		}
		// A person accepts the key; a certificate is not asked of it then.
		f.keys.pinned = f.host.PublicKey()
		f.dial(t)
		f.keys.pinned = hostKey(t, sshserver.GenerateHostKey).PublicKey()
		f.fails(t, api.CodeHostKeyChanged)
	}
}

func TestAForgedSignatureIsNoAuthoritys(t *testing.T) {
	t.Parallel()
	f, ca := certified(t)
	forged := certify(t, hostKey(t, sshserver.GenerateHostKey), f.host)
	forged.PublicKey().(*ssh.Certificate).SignatureKey = ca.PublicKey()
	f.faults.SetHostKeys(forged)
	if e := f.fails(t, api.CodeHostKeyUnknown); !strings.Contains(e.Message, "its signature is not the authority's") {
		t.Errorf("%q", e.Message)
	}
}

func TestASHA1SignatureIsNoProof(t *testing.T) {
	t.Parallel()
	cert := certify(t, hostKey(t, sshserver.GenerateRSAHostKey), hostKey(t, sshserver.GenerateHostKey)).PublicKey().(*ssh.Certificate)
	if err := usable("127.0.0.1", cert, time.Now()); err != nil {
		t.Fatal(err)
	}
	cert.Signature.Format = ssh.KeyAlgoRSA
	if err := usable("127.0.0.1", cert, time.Now()); err == nil || !strings.Contains(err.Error(), "SHA-1") {
		t.Errorf("%v", err)
	}
}

// OpenSSH exchanges keys every hour or GiB.
func TestACertificateThatExpiresDoesNotEndAConnection(t *testing.T) {
	t.Parallel()
	f, ca := certified(t)
	expired := certify(t, ca, f.host, func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Unix()) }).PublicKey()
	v := &verifier{ctx: t.Context(), cfg: &f.cfg, certify: true, accepted: expired}
	if err := v.judge(expired); err != nil {
		t.Error(err)
	}
	if v.accepted = f.host.PublicKey(); v.judge(expired) == nil {
		t.Error("accepted because another key was")
	}
}

// To such a server it is as if no authority were configured.
func TestACertificateByAForeignAuthorityCountsForNothing(t *testing.T) {
	t.Parallel()
	f, _ := certified(t)
	rsa := hostKey(t, sshserver.GenerateRSAHostKey)
	f.faults.SetHostKeys(certify(t, hostKey(t, sshserver.GenerateHostKey), rsa), f.host, rsa)
	f.dial(t)
	if !same(f.keys.pinned, f.host.PublicKey()) {
		t.Error("the plain key was not pinned")
	}
	f.dial(t) // its pinned key is of another type than its certificate
	f.keys.pinned = rsa.PublicKey()
	before := f.server.Counts().Accepted
	f.dial(t)
	if n := f.server.Counts().Accepted - before; n != 1 {
		t.Errorf("%d connections to a server whose certificate has the pinned key", n)
	}
	f.keys.pinned = hostKey(t, sshserver.GenerateHostKey).PublicKey()
	f.fails(t, api.CodeHostKeyChanged)
	f.keys.pinned, f.cfg.Strict = nil, true
	f.fails(t, api.CodeHostKeyUnknown)
}

func TestCertificatesAreAskedForFirstAndOnlyWhereThereIsAnAuthority(t *testing.T) {
	t.Parallel()
	f, ca := certified(t)
	f.faults.SetHostKeys(f.host)
	f.dial(t)
	if asked, want := f.faults.AskedHostKeys(), slices.Concat(certificateAlgorithms, plainAlgorithms); !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	f.dial(t)
	if asked, want := f.faults.AskedHostKeys(), append(slices.Clone(certificateAlgorithms), ssh.KeyAlgoED25519); !slices.Equal(asked, want) {
		t.Errorf("with a pin asked for %v, want %v", asked, want)
	}
	f.cfg.HostCAs = nil
	f.faults.SetHostKeys(f.host, certify(t, ca, hostKey(t, sshserver.GenerateRSAHostKey)))
	f.dial(t)
	for _, algorithm := range f.faults.AskedHostKeys() {
		if strings.Contains(algorithm, "-cert-") {
			t.Errorf("asked for %s without an authority", algorithm)
		}
	}
}

func TestAuthoritiesOfKnownHostsSpeakForTheirHostsOnly(t *testing.T) {
	t.Parallel()
	ca, host := hostKey(t, sshserver.GenerateHostKey), hostKey(t, sshserver.GenerateHostKey)
	anyone := certify(t, ca, host, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*"} }).PublicKey().(*ssh.Certificate)
	for _, tt := range []struct {
		hosts, address string
		want           bool
	}{
		{"*", "a.example:22", true},
		{"*.example", "a.example:22", true},
		{"*.example", "A.Example.:22", true},
		{"*.EXAMPLE", "a.example:22", true},
		{"*.example", "example:22", false},
		{"*.example,!b.example", "b.example:22", false},
		{"!b.example,*.example", "a.example:22", true},
		{"!b.example", "a.example:22", false},
		{"b.example,10.0.0.?", "10.0.0.7:2222", true},
		{"10.0.0.?", "10.0.0.77:2222", false},
		{"[a.example]:2222", "a.example:2222", true},
		{"[a.example]:2222", "a.example:22", false},
		{"2001:db8::*", "[2001:db8::1]:22", true},
	} {
		c := hostCAs(t, "@cert-authority "+tt.hosts+"  "+line(ca.PublicKey()))
		if ours, why := c.check(tt.address, anyone); ours != tt.want || why != nil {
			t.Errorf("%s for %s: %v, %v", tt.hosts, tt.address, ours, why)
		}
	}
}

func TestPrincipalsMayBePatterns(t *testing.T) {
	t.Parallel()
	ca, host := hostKey(t, sshserver.GenerateHostKey), hostKey(t, sshserver.GenerateHostKey)
	for _, tt := range []struct {
		principal, host string
		want            bool
	}{
		{"a.example", "a.example", true},
		{"A.example", "a.example", true},
		{"a.example", "b.example", false},
		{"*.example", "a.b.example", true},
		{"*.example", "a.example.org", false},
		{"a*c*e", "abcde", true},
		{"a*c*e", "abcdef", false},
		{"?", "", false},
		{"", "a", false},
		{"*", "a", true},
		{strings.Repeat("*a", 500) + "b", strings.Repeat("a", 1000), false},
	} {
		cert := certify(t, ca, host, func(c *ssh.Certificate) { c.ValidPrincipals = []string{tt.principal} })
		if err := usable(tt.host, cert.PublicKey().(*ssh.Certificate), time.Now()); (err == nil) != tt.want {
			t.Errorf("%.20q for %.20q: %v", tt.principal, tt.host, err)
		}
	}
}

func TestAuthoritiesThatCannotBeUsedAreTold(t *testing.T) {
	t.Parallel()
	ca := hostKey(t, sshserver.GenerateHostKey)
	key := line(ca.PublicKey())
	for text, want := range map[string]string{
		"":                                    "holds no public key",
		"# nothing\n\n":                       "holds no public key",
		key + "\nssh-ed25519 AAAA\n":          "line 2: is no public key",
		"-----BEGIN OPENSSH PRIVATE KEY-----": "line 1: is no public key",
		"\n@revoked * " + key:                 "line 2: of the lines that begin with @",
		"@cert-authority":                     "line 1: of the lines that begin with @",
		"@cert-authority * x":                 "line 1: is no public key",
		"@cert-authority |1|a|b " + key:       "line 1: hashed host names",
		"no-pty " + key:                       "line 1: has options (no-pty)",
		line(certify(t, ca, ca).PublicKey()):  "line 1: is a certificate",
		strings.Repeat("#\n", maxHostCAs):     "holds more than",
	} {
		if _, err := ParseHostCAs([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	hostCAs(t, "cert-authority "+key+"\r")
}

func TestARealSSHServersCertificateIsAccepted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "host-cert.pub")
	server := sshd.Start(t, sshd.WithConfig("HostCertificate "+path))
	ca := hostKey(t, sshserver.GenerateHostKey)
	cert := &ssh.Certificate{
		Key: server.HostPublicKey, CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.*"}, ValidBefore: ssh.CertTimeInfinity,
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	server.Restart() // now the file is there
	keys := new(memoryKeys)
	cfg := Config{
		Owner: "test", Address: server.Addr, User: server.User,
		Signer: server.ClientSigner, Strict: true, HostKeys: keys, HostCAs: hostCAs(t, "@cert-authority 127.* "+line(ca.PublicKey())),
	}
	conn, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if keys.pinned != nil || keys.offered != nil {
		t.Error("the key was pinned, or kept as refused")
	}
}
