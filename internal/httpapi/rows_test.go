package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/store"
)

func fullServer() object {
	return object{
		"localId": "server-uuid", "name": "web", "host": "192.168.1.100", "port": 22, "username": "root",
		"authType": "password", "password": "s3rver-passw0rd", "description": "in the cellar",
	}
}

// with is o with some values changed.
func with(o object, changes object) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	for k, v := range changes {
		out[k] = v
	}
	return out
}

// has demands the values of some keys.
func has(t *testing.T, got, want object) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%s is %v (there: %t), want %v", k, g, ok, v)
		}
	}
}

// privateKey makes an OpenSSH private key.
func privateKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// lockedKey is an encrypted key that protects nothing. It was made with one
// round (ssh-keygen -a 1), since the usual number takes seconds under -race.
const lockedKeyPassphrase = "open-sesame-2"

func (f *fixture) lockedKey() string {
	f.t.Helper()
	key, err := os.ReadFile("testdata/locked_ed25519")
	if err != nil {
		f.t.Fatal(err)
	}
	f.hide(lockedKeyPassphrase, strings.Split(string(key), "\n")[1])
	return string(key)
}

func TestServersShowAllButTheirPassword(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("s3rver-passw0rd", "changed-passw0rd")
	got := f.post("/servers", fullServer()).is(201)
	want := []string{
		"authType", "createdAt", "dataType", "description", "hasPassword", "host", "hostKeyFingerprint", "hostKeyOffered", "hostKeyPolicy",
		"hostKeyType", "id", "isActive", "keyId", "localId", "name", "namespace", "port", "updatedAt", "username",
	}
	if keys := keysOf(got); !slices.Equal(keys, want) {
		t.Errorf("keys %v", keys)
	}
	has(t, got, object{
		"localId": "server-uuid", "name": "web", "host": "192.168.1.100", "port": 22.0, "username": "root", "authType": "password",
		"description": "in the cellar", "hasPassword": true, "keyId": nil, "isActive": true, "namespace": nil, "dataType": "personal",
		"hostKeyFingerprint": nil, "hostKeyType": nil, "hostKeyOffered": nil, "hostKeyPolicy": nil,
	})
	instant(t, got["createdAt"])
	id := got["id"].(string)
	has(t, f.get("/servers/"+id).is(200), got)
	has(t, f.get("/servers/server-uuid").is(200), got)
	has(t, f.get("/servers").list()[0], got)
	if m := f.delete("/servers/server-uuid").is(200); len(m) != 1 || m["message"] != "Server deleted successfully" {
		t.Errorf("answer %v", m)
	}
	f.get("/servers/"+id).fails(404, "not_found")
}

func TestServersNeedTheirFields(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	got := f.post("/servers", object{}).fails(400, "invalid")
	for _, field := range []string{"name", "host", "port", "username", "authType"} {
		if !slices.Contains(got, field+" should not be empty") {
			t.Errorf("%s: %q", field, got)
		}
	}
	for field, wrong := range map[string]any{"port": 0, "name": "", "host": nil, "authType": "magic", "hostKeyPolicy": "maybe", "username": 5, "password": 5} {
		if got := f.post("/servers", with(fullServer(), object{field: wrong})).fails(400, "invalid"); !strings.HasPrefix(got[0], field+" ") {
			t.Errorf("%s: %q", field, got)
		}
		if got := f.patch("/servers/"+f.server(t, field), object{field: wrong}).fails(400, "invalid"); !strings.HasPrefix(got[0], field+" ") {
			t.Errorf("%s: %q", field, got)
		}
	}
}

// server adds a server with this localId and gives its id.
func (f *fixture) server(t *testing.T, localID string) string {
	t.Helper()
	return f.post("/servers", with(fullServer(), object{"localId": localID})).is(201)["id"].(string)
}

func TestAPatchKeepsWhatIsAbsentAndClearsWhatIsNull(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("s3rver-passw0rd")
	before := f.post("/servers", fullServer()).is(201)
	path := "/servers/" + before["id"].(string)
	got := f.patch(path, object{"name": "other"}).is(200)
	has(t, got, with(before, object{"name": "other", "updatedAt": got["updatedAt"]}))
	has(t, f.patch(path, object{"password": ""}).is(200), object{"hasPassword": true})
	has(t, f.patch(path, object{"description": "", "localId": nil}).is(200), object{"description": nil, "localId": nil, "hasPassword": true})
	has(t, f.patch(path, object{"password": nil}).is(200), object{"hasPassword": false})
	has(t, f.patch(path, object{"hostKeyPolicy": "strict"}).is(200), object{"hostKeyPolicy": "strict"})
	has(t, f.patch(path, object{"hostKeyPolicy": nil}).is(200), object{"hostKeyPolicy": nil})
}

func TestUpdatedAtChangesWithTheConfigurationOnly(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	before := f.post("/servers", fullServer()).is(201)
	path := "/servers/" + before["id"].(string)
	same := with(fullServer(), object{"id": before["id"]})
	has(t, f.patch(path, same).is(200), before)
	has(t, f.patch(path, nil).is(200), before)
	created := f.row(t, before["id"].(string)).CreatedAt
	for !time.Now().Truncate(time.Millisecond).After(created) { // instants have no more digits
	}
	f.patch(path, object{"password": "changed-passw0rd"}).is(200)
	if row := f.row(t, before["id"].(string)); !row.UpdatedAt.After(created) || !row.CreatedAt.Equal(created) {
		t.Errorf("created %v, updated %v", row.CreatedAt, row.UpdatedAt)
	}
}

// row reads a server behind the API's back.
func (f *fixture) row(t *testing.T, id string) store.Server {
	t.Helper()
	row, err := f.store.Server(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func TestABodyMayRepeatTheIDOfThePath(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	id, other := f.server(t, "a"), f.server(t, "b")
	f.patch("/servers/"+id, object{"id": id, "name": "x"}).is(200)
	f.patch("/servers/a", object{"id": id, "name": "y"}).is(200)
	f.patch("/servers/a", object{"id": "a", "name": "y"}).is(200)
	for _, wrong := range []any{other, "b", 5} {
		if got := f.patch("/servers/"+id, object{"id": wrong, "name": "z"}).fails(400, "invalid"); !strings.HasPrefix(got[0], "id must be ") {
			t.Errorf("%v: %q", wrong, got)
		}
	}
	has(t, f.get("/servers/"+id).is(200), object{"name": "y"})
	if got := f.post("/servers", with(fullServer(), object{"id": id, "localId": "c"})).fails(400, "invalid"); got[0] != "property id should not exist" {
		t.Errorf("%q", got)
	}
}

func TestATakenLocalIDIsAConflictThatNamesTheRow(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	id := f.server(t, "taken")
	got := f.post("/servers", with(fullServer(), object{"localId": "taken"})).fails(409, "conflict")
	if !strings.Contains(got[0], "taken") || !strings.Contains(got[0], id) {
		t.Errorf("message %q", got)
	}
	f.patch("/servers/"+f.server(t, "free"), object{"localId": "taken"}).fails(409, "conflict")
	f.patch("/servers/"+id, object{"localId": "taken"}).is(200)
	// Other nouns have their own, and a deleted row gives its up.
	f.post("/port-forwards", object{"name": "a", "type": "local", "localId": "taken"}).is(201)
	f.delete("/servers/" + id).is(200)
	f.server(t, "taken")
}

func TestServersNameKeysInTheFormThatWasSent(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	key := f.post("/keys", object{"name": "k", "type": "ed25519", "localId": "key-uuid", "privateKey": privateKey(t)}).is(201)
	id := f.server(t, "s")
	has(t, f.patch("/servers/"+id, object{"keyId": "key-uuid", "authType": "keySelect"}).is(200), object{"keyId": "key-uuid"})
	has(t, f.patch("/servers/"+id, object{"keyId": key["id"]}).is(200), object{"keyId": key["id"]})
	if got := f.patch("/servers/"+id, object{"keyId": "no-such-key"}).fails(400, "bad_request"); got[0] != "Key with id no-such-key not found" {
		t.Errorf("message %q", got)
	}
	has(t, f.patch("/servers/"+id, object{"keyId": ""}).is(200), object{"keyId": nil})
}

func TestKeysShowTheirPublicHalfOnly(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	got := f.post("/keys", object{
		"name": "k", "type": "ed25519", "localId": "key-uuid", "privateKey": f.lockedKey(), "passphrase": lockedKeyPassphrase,
	}).is(201)
	want := []string{
		"createdAt", "dataType", "description", "fingerprint", "hasPassphrase", "hasPassword", "hasPrivateKey", "id", "isActive",
		"localId", "name", "namespace", "publicKey", "type", "updatedAt",
	}
	if keys := keysOf(got); !slices.Equal(keys, want) {
		t.Errorf("keys %v", keys)
	}
	has(t, got, object{"name": "k", "type": "ed25519", "localId": "key-uuid", "hasPrivateKey": true, "hasPassphrase": true, "isActive": true, "dataType": "personal"})
	if public := got["publicKey"].(string); !strings.HasPrefix(public, "ssh-ed25519 AAAA") || !strings.HasPrefix(got["fingerprint"].(string), "SHA256:") {
		t.Errorf("public half %v", got)
	}
	has(t, f.get("/keys/key-uuid").is(200), got)
	has(t, f.get("/keys").list()[0], got)
	if m := f.delete("/keys/key-uuid").is(200); len(m) != 1 || m["message"] != "Key deleted successfully" {
		t.Errorf("answer %v", m)
	}
}

func TestKeysThatDoNotOpenAreRefused(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	locked := f.lockedKey()
	f.hide("wrong-passphrase-x", "no-key-at-all-y")
	for what, in := range map[string]object{
		"no key":           {"name": "k", "type": "rsa"},
		"an empty key":     {"name": "k", "type": "rsa", "privateKey": ""},
		"garbage":          {"name": "k", "type": "rsa", "privateKey": "no-key-at-all-y"},
		"no passphrase":    {"name": "k", "type": "ed25519", "privateKey": locked},
		"wrong passphrase": {"name": "k", "type": "ed25519", "privateKey": locked, "passphrase": "wrong-passphrase-x"},
	} {
		if got := f.post("/keys", in).fails(400, "invalid"); !strings.HasPrefix(got[0], "privateKey ") || len(got) != 1 {
			t.Errorf("%s: %q", what, got)
		}
	}
	id := f.post("/keys", object{"name": "k", "type": "ed25519", "privateKey": locked, "passphrase": lockedKeyPassphrase}).is(201)["id"].(string)
	f.patch("/keys/"+id, object{"passphrase": "wrong-passphrase-x"}).fails(400, "invalid")
	f.patch("/keys/"+id, object{"passphrase": nil}).fails(400, "invalid")
	f.patch("/keys/"+id, object{"privateKey": nil}).fails(400, "invalid")
	has(t, f.patch("/keys/"+id, object{"passphrase": "", "privateKey": "", "name": "renamed"}).is(200), object{"hasPassphrase": true, "hasPrivateKey": true, "name": "renamed"})
}

func TestAKeyMayBeAPasswordUnderEitherName(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("key-that-is-a-password")
	for _, in := range []object{
		{"password": "key-that-is-a-password"}, {"passphrase": "key-that-is-a-password"},
		{"password": "key-that-is-a-password", "passphrase": nil}, {"password": "key-that-is-a-password", "passphrase": ""},
		{"passphrase": "key-that-is-a-password", "password": nil},
	} {
		has(t, f.post("/keys", with(in, object{"name": "k", "type": "password"})).is(201),
			object{"hasPassphrase": true, "hasPassword": true, "hasPrivateKey": false, "publicKey": nil, "fingerprint": nil})
	}
}

func TestPEMKeysAreTaken(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	got := f.post("/keys", object{"name": "k", "type": "ecdsa", "privateKey": string(pem.EncodeToMemory(block))}).is(201)
	if !strings.HasPrefix(got["publicKey"].(string), "ecdsa-sha2-nistp256 ") {
		t.Errorf("%v", got)
	}
}
