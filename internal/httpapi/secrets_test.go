package httpapi_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestSecretsAreSealedAtRest(t *testing.T) {
	t.Parallel()
	postgres.SkipIfWanted(t)
	f := signedUp(t)
	private := privateKey(t)
	line := strings.Split(private, "\n")[1]
	texts := []string{"rest-server-pw", "rest-forward-pw", "rest-socks-pw", "rest-passphrase", line}
	f.hide(texts...)
	f.post("/servers", with(fullServer(), object{"password": texts[0]})).is(201)
	f.post("/port-forwards", object{
		"name": "a", "type": "dynamic", "serverAddress": "h", "password": texts[1], "keyContent": private, "passphrase": texts[3],
		"socksUsername": "u", "socksPassword": texts[2],
	}).is(201)
	f.post("/keys", object{"name": "k", "type": "ed25519", "privateKey": private}).is(201)
	f.close() // moves the log into the file
	data, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(texts, password, f.token) {
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("%q is in the database", text)
		}
	}
}

func TestARowThatCannotBeOpenedIsToldByNameAndNeverOverwritten(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("lost-server-pw")
	server := f.post("/servers", with(fullServer(), object{"password": "lost-server-pw"})).is(201)["id"].(string)
	key := f.post("/keys", object{"name": "k", "type": "ed25519", "privateKey": f.lockedKey(), "passphrase": lockedKeyPassphrase}).is(201)["id"].(string)
	f.post("/port-forwards", with(parsed(t, seedLocal), object{"bindAddress": "127.0.0.1", "localPort": 0, "bindPort": nil})).is(201)
	sealedServer := f.row(t, server)
	sealedKey, err := f.store.Key(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}

	f.close()
	f.keyring = secret.New()
	f.open()
	m := f.post("/port-forwards/local-uuid/start", nil).fails(500, "secret_unreadable")
	if !strings.Contains(m[0], `server "web"`) || !strings.Contains(m[0], server) {
		t.Errorf("message %q", m)
	}
	has(t, f.patch("/servers/"+server, object{"name": "renamed", "password": "", "host": "10.0.0.1"}).is(200), object{"hasPassword": true, "name": "renamed"})
	has(t, f.patch("/keys/"+key, object{"name": "renamed", "passphrase": ""}).is(200), object{"hasPrivateKey": true, "name": "renamed"})
	f.patch("/keys/"+key, object{"passphrase": "new-one"}).fails(500, "secret_unreadable")
	nowServer := f.row(t, server)
	nowKey, err := f.store.Key(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(nowServer.Password, sealedServer.Password) || !bytes.Equal(nowKey.PrivateKey, sealedKey.PrivateKey) || !bytes.Equal(nowKey.Passphrase, sealedKey.Passphrase) {
		t.Error("sealed values were overwritten")
	}
	// Entering the secret again mends the row.
	f.patch("/servers/"+server, object{"password": "lost-server-pw"}).is(200)
}
