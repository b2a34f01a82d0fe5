package test

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
)

// secrets are texts that no answer, log line or file may hold.
type secrets map[string]string // by what they are

// addKey adds what a private key in PEM form must not be recognised by: its
// bytes, and the second half of its text, which the type does not decide.
func (s secrets) addKey(t *testing.T, name string, text []byte) {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is not PEM", name)
	}
	half := len(block.Bytes) / 2
	s[name+", its bytes"] = string(block.Bytes[half : half+24])
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	s[name+", its text"] = lines[len(lines)/2]
}

// absent looks for the secrets in a text.
func (s secrets) absent(t *testing.T, where, text string) {
	t.Helper()
	if text == "" {
		t.Errorf("%s is empty", where)
	}
	for what, secret := range s {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the %s", where, what)
		}
	}
}

func TestNoSecretIsEverShownLoggedOrStoredOpenly(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	hidden := secrets{
		"account's password": password, "server's password": "pw-of-the-server", "forward's password": "pw-of-the-forward",
		"passphrase": "phrase-of-the-key", "SOCKS password": "pw-of-the-proxy", "key that is a password": "pw-that-is-a-key",
		"new password": "battery-correct-horse", "new passphrase": "another-phrase", "guess": "not-the-password",
	}
	key := encrypted(t, g.sshd.ClientKeyPEM, hidden["passphrase"])
	hidden.addKey(t, "plain key", g.sshd.ClientKeyPEM)
	hidden.addKey(t, "encrypted key", []byte(key))

	fresh := serve(t, newDir(t))
	fresh.register()
	fresh.stop()
	g.useSecrets(hidden, key)
	token := g.token
	g.useAccount(hidden)
	shown := []string{fresh.answers(), fresh.stderr.String(), g.answers(), g.stderr.String()}
	g.restarted(g.kill)
	g.get("/port-forwards").list()
	g.stop()
	shown = append(shown, g.answers(), g.stderr.String())

	hidden.absent(t, "an answer or the log", strings.Join(shown, "\n"))
	hidden["token"], hidden["first token"] = token, fresh.token // answers to logins do hold tokens
	hidden.absent(t, "the log", shown[1]+shown[3]+g.stderr.String())
	g.searchFiles(t, hidden)
}

// useSecrets gives each secret to the server in every way that there is, good
// and bad.
func (g *ground) useSecrets(s secrets, key string) {
	g.t.Helper()
	g.ways()
	g.post("/keys", object{"name": "encrypted", "type": "ed25519", "privateKey": key, "passphrase": s["passphrase"]}).is(201)
	g.post("/keys", object{"name": "wrong phrase", "type": "ed25519", "privateKey": key, "passphrase": s["guess"]}).is(400)
	g.post("/keys", object{"name": "cut", "type": "ed25519", "privateKey": key[:len(key)/2]}).is(400)
	g.post("/keys", object{"localId": "word", "name": "word", "type": "password", "password": s["key that is a password"]}).is(201)
	server := object{
		"localId": "locked", "name": "locked", "host": g.sshd.Host, "port": g.sshd.Port, "username": g.sshd.User,
		"authType": "password", "password": s["server's password"],
	}
	g.post("/servers", server).is(201)
	server["port"] = "22"
	g.post("/servers", server).is(400)

	good := g.create(g.manual(key, s["passphrase"]))
	g.start(good)
	g.call("PATCH", good, object{"passphrase": s["new passphrase"]})
	bad := g.local(g.target)
	bad["serverId"] = "locked"
	g.post(g.create(bad)+"/start", nil).fails(502, "auth_failed")
	bad["serverId"], bad["serverAddress"], bad["username"], bad["password"] = nil, g.sshd.Addr, g.sshd.User, s["forward's password"]
	g.post(g.create(bad)+"/start", nil).fails(502, "auth_failed")
	bad["passwort"] = s["forward's password"]
	g.post("/port-forwards", bad).is(400)
	g.call("POST", "/port-forwards", `{"name":"cut","password":"`+s["forward's password"]).is(400)
	g.post("/port-forwards/sync", []object{bad}).is(200)

	proxy := g.dynamic()
	proxy["socksUsername"], proxy["socksPassword"], proxy["bindPort"] = "mole", s["SOCKS password"], sshd.FreePort(g.t)
	g.start(g.create(proxy))
}

// useAccount goes through all that an account can do.
func (g *ground) useAccount(s secrets) {
	g.t.Helper()
	g.post("/auth/login", object{"email": email, "password": s["guess"]}).is(401)
	g.post("/auth/password", object{"currentPassword": s["guess"], "newPassword": s["new password"]}).is(400)
	g.post("/auth/password", object{"currentPassword": password, "newPassword": s["new password"]}).is(200)
	g.token = g.post("/auth/login", object{"email": email, "password": s["new password"]}).is(200)["token"].(string)
	g.post("/auth/logout", nil).is(200)
	g.post("/auth/logout", nil).fails(401, "unauthorized")
	g.token = g.post("/auth/login", object{"email": email, "password": s["new password"]}).is(200)["token"].(string)
}

// searchFiles looks into every file of the data directory.
func (a *adit) searchFiles(t *testing.T, s secrets) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(a.data, "*"))
	if err != nil || len(paths) < 2 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			s.absent(t, filepath.Base(path), string(readFile(t, path)))
		}
	}
}

// Many people, all that they have in common, and what they get in from outside.
func TestNoSecretOfATeamIsEverShownLoggedOrStoredOpenly(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--registration", "open")
	made := c.team("burrow")
	hidden := secrets{
		"password of an account": "pw-of-nina-0815", "server's password": "pw-of-the-server", "key that is a password": "pw-that-is-a-key",
		"forward's password": "pw-of-the-forward", "SOCKS password": "pw-of-the-proxy", "guess": "not-the-password", "passphrase": "phrase-of-a-key",
	}
	nina := newClient(t, c.url)
	registration := object{"email": "nina@example.com", "username": "nina", "password": hidden["password of an account"], "inviteCode": made.code}
	nina.token = nina.post("/auth/register", registration).is(201)["token"].(string)
	nina.post("/auth/login", object{"email": "nina@example.com", "password": hidden["guess"]}).is(401)
	nina.post("/auth/register", with(registration, object{"setupCode": hidden["guess"]})).is(400)
	for _, query := range []string{"", made.query} {
		c.developer.syncSecrets(query, hidden)
	}
	id, robot := c.developer.newToken("manage", made.id)
	robot.get("/port-forwards" + made.query).list()
	robot.get("/data" + made.path("")).is(200)
	robot.get("/auth/tokens").fails(403, "forbidden")
	c.developer.delete("/auth/tokens/" + id).is(200)
	robot.lockedOut()
	c.owner.get("/audit" + made.query).list()
	c.operator.get("/audit").list()
	c.owner.delete(made.path("")).is(200)
	c.stop()

	everybody := []*client{nina, robot.client}
	for _, p := range c.everybody() {
		everybody = append(everybody, p.client)
	}
	var answers strings.Builder
	for _, someone := range everybody {
		answers.WriteString(someone.answers())
	}
	hidden.absent(t, "an answer", answers.String())
	hidden["API token"], hidden["session's token"], hidden["token of a long session"] = robot.token, nina.token, c.owner.token
	hidden.absent(t, "the log", c.stderr.String())
	c.searchFiles(t, hidden)
}

// syncSecrets gives secrets to a namespace, in items good and bad.
func (p *person) syncSecrets(query string, s secrets) {
	p.t.Helper()
	p.post("/keys/sync"+query, []object{
		{"localId": "k", "name": "k", "type": "password", "password": s["key that is a password"]},
		{"localId": "bad", "name": "bad", "type": "ed25519", "privateKey": s["guess"], "passphrase": s["passphrase"]},
	}).is(200)
	p.post("/servers/sync"+query, []object{
		with(serverRow("s"), object{"password": s["server's password"]}),
		with(serverRow("bad"), object{"password": s["server's password"], "port": s["guess"]}),
		with(serverRow("unknown"), object{"passwort": s["guess"]}),
	}).is(200)
	p.post("/port-forwards/sync"+query, []object{
		{"localId": "f", "name": "f", "type": "local", "password": s["forward's password"], "passphrase": s["passphrase"], "keyContent": s["guess"]},
		{"localId": "d", "name": "d", "type": "dynamic", "socksUsername": "mole", "socksPassword": s["SOCKS password"]},
		{"localId": "bad", "name": "bad", "type": "dynamic", "socksPassword": s["SOCKS password"]},
	}).is(200)
	p.post("/port-forwards/f/start", nil).gets(400)
}
