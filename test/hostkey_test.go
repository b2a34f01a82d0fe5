package test

import (
	"testing"

	"golang.org/x/crypto/ssh"
)

// offers demands that a server row shows the sshd's new key as offered.
func (g *ground) offers(old string) string {
	g.t.Helper()
	row := g.get("/servers/site").is(200)
	offered, _ := row["hostKeyOffered"].(object)
	fingerprint := ssh.FingerprintSHA256(g.sshd.HostPublicKey)
	if offered["fingerprint"] != fingerprint || offered["type"] != g.sshd.HostPublicKey.Type() || offered["at"] == nil {
		g.t.Fatalf("offered: %v", row)
	}
	g.has(row, object{"hostKeyFingerprint": old})
	return fingerprint
}

func TestAChangedHostKeyIsRefusedUntilSomebodyAcceptsIt(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	forward := g.create(g.local(g.target))
	g.has(g.get("/servers/site").is(200), object{"hostKeyFingerprint": nil, "hostKeyType": nil, "hostKeyOffered": nil})
	door := bound(g.start(forward))
	old := ssh.FingerprintSHA256(g.sshd.HostPublicKey)
	g.has(g.get("/servers/site").is(200), object{"hostKeyFingerprint": old, "hostKeyType": "ssh-ed25519", "hostKeyOffered": nil})
	g.post(forward+"/stop", nil).is(200)

	g.sshd.RestartWithNewHostKey()
	g.post(forward+"/start", nil).fails(502, "host_key_changed")
	closed(t, door)
	g.has(g.get(forward).is(200), object{"state": "inactive", "desired": "inactive"})
	fingerprint := g.offers(old)
	g.call("PUT", "/servers/site/host-key", object{"fingerprint": "SHA256:of-no-key"}).fails(409, "conflict")
	g.post(forward+"/start", nil).fails(502, "host_key_changed")

	row := g.call("PUT", "/servers/site/host-key", object{"fingerprint": fingerprint}).is(200)
	g.has(row, object{"hostKeyFingerprint": fingerprint, "hostKeyOffered": nil})
	w := way{name: "local", dial: dialer(bound(g.start(forward)))}
	w.carries(t, small)
}

func TestARunningForwardFailsOnAChangedHostKeyAndGoesOnOnceItIsAccepted(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ways := g.ways()
	old := ssh.FingerprintSHA256(g.sshd.HostPublicKey)
	g.held(g.sshd.RestartWithNewHostKey)
	for _, w := range ways {
		st := g.reaches(w.path+"/status", "failed", patience)
		g.has(st, object{"status": "inactive", "desired": "active", "connectionId": nil})
		g.has(st["lastError"].(object), object{"code": "host_key_changed"})
	}
	fingerprint := g.offers(old)
	g.call("PUT", "/servers/site/host-key", object{"fingerprint": fingerprint}).is(200)
	for _, w := range ways {
		g.reaches(w.path, "active", patience)
		w.carries(t, small)
	}
}

func TestAStrictPolicyRefusesAKeyThatWasNeverSeen(t *testing.T) {
	t.Parallel()
	g := newGround(t, "--host-key-policy", "strict")
	forward := g.create(g.local(g.target))
	g.post(forward+"/start", nil).fails(502, "host_key_unknown")
	offered := g.get("/servers/site").is(200)["hostKeyOffered"].(object)
	g.call("PUT", "/servers/site/host-key", object{"fingerprint": offered["fingerprint"]}).is(200)
	g.start(forward)
}
