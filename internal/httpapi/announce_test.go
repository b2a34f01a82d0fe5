package httpapi_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/sshserver"
)

const serverHostKey = "/servers/mole/host-key"

func TestAHostKeyIsAnnouncedBeforeAnyConnectionAndPinnedByTheFirst(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	rsa, err := sshserver.GenerateRSAHostKey()
	if err != nil {
		t.Fatal(err)
	}
	g.faults.SetHostKeys(g.host, rsa)
	path, second := g.forward(nil), ssh.FingerprintSHA256(rsa.PublicKey())
	announce := func(fingerprint string) answer {
		return g.call("PUT", serverHostKey, object{"fingerprint": fingerprint})
	}
	first := ssh.FingerprintSHA256(g.host.PublicKey())
	before := g.get("/servers/mole").is(200)
	has(t, announce(first).is(200), object{"hostKeyFingerprint": first, "hostKeyType": nil, "hostKeyOffered": nil, "updatedAt": before["updatedAt"]})
	has(t, announce(second).is(200), object{"hostKeyFingerprint": second}) // a slip can be mended
	has(t, announce(second).is(200), object{"hostKeyFingerprint": second})
	g.started(path)
	has(t, g.get("/servers/mole").is(200), object{"hostKeyFingerprint": second, "hostKeyType": "ssh-rsa", "hostKeyOffered": nil})
	has(t, announce(second).is(200), object{"hostKeyFingerprint": second})
	// The server has this key too, and has not offered it.
	announce(first).fails(409, "conflict")
	announce("SHA256:"+strings.Repeat("A", 43)).fails(409, "conflict")
}

func TestAServerWithoutTheAnnouncedHostKeyIsNotUsed(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(object{"serverId": nil, "serverAddress": g.addr, "username": "mole", "password": sshPassword})
	hostKeyPath := path + "/host-key"
	announce := func(fingerprint string) answer {
		return g.call("PUT", hostKeyPath, object{"fingerprint": fingerprint})
	}
	first, other := ssh.FingerprintSHA256(g.host.PublicKey()), ssh.FingerprintSHA256(hostKey(t).PublicKey())
	has(t, announce(other).is(200), object{"hostKeyFingerprint": other, "hostKeyType": nil})
	g.post(path+"/start", nil).fails(502, "host_key_changed")
	row := g.get(path).is(200)
	has(t, row, object{"state": "inactive", "hostKeyFingerprint": other, "hostKeyType": nil})
	has(t, row["hostKeyOffered"].(object), object{"fingerprint": first, "type": "ssh-ed25519"})
	announce(ssh.FingerprintSHA256(hostKey(t).PublicKey())).fails(409, "conflict")
	// The server row of the same address knows the same.
	has(t, g.get("/servers/mole").is(200), object{"hostKeyFingerprint": other})

	has(t, announce(first).is(200), object{"hostKeyFingerprint": first, "hostKeyType": "ssh-ed25519", "hostKeyOffered": nil})
	g.started(path)
}

func TestAnAnnouncedHostKeyCanBeForgotten(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(nil)
	g.call("PUT", serverHostKey, object{"fingerprint": ssh.FingerprintSHA256(hostKey(t).PublicKey())}).is(200)
	has(t, g.delete(serverHostKey).is(200), object{"hostKeyFingerprint": nil, "hostKeyType": nil})
	g.started(path)
}

func TestWhatIsNoFingerprintIsNotAnnounced(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	digest := strings.Repeat("A", 43)
	for _, bad := range []string{
		digest, "SHA256:", "SHA256:" + digest[1:], "SHA256:" + digest + "A", "SHA256:" + digest + "=", "sha256:" + digest, "MD5:" + digest,
		"SHA256:" + digest[1:] + "-", "SHA256:" + digest + "\n", "SHA256:" + digest[1:] + "\n", " SHA256:" + digest,
	} {
		g.call("PUT", serverHostKey, object{"fingerprint": bad}).fails(400, "invalid")
	}
	has(t, g.get("/servers/mole").is(200), object{"hostKeyFingerprint": nil})
}
