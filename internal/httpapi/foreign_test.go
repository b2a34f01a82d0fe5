package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
)

// second adds another account behind the API's back and gives its token.
func (f *fixture) second() string {
	f.t.Helper()
	hash, err := f.hasher.Hash(f.t.Context(), redact.New(password))
	if err != nil {
		f.t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	user := store.User{
		ID: "00000000-0000-7000-8000-00000000000b", Email: "bob@example.com", Username: "bob",
		PasswordHash: hash, Role: store.Member, CreatedAt: at, UpdatedAt: at,
	}
	if err := f.store.Write(f.t.Context(), func(tx *store.Tx) error { return tx.CreateUser(f.t.Context(), user) }); err != nil {
		f.t.Fatal(err)
	}
	return f.post("/auth/login", object{"email": user.Email, "password": password}).is(200)["token"].(string)
}

func TestWhatBelongsToOthersIsNotThere(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	server := f.post("/servers", fullServer()).is(201)["id"].(string)
	key := f.post("/keys", object{"name": "k", "type": "password", "password": "pw-of-ada", "localId": "key-uuid"}).is(201)["id"].(string)
	forward := f.post("/port-forwards", seedLocal).is(201)["id"].(string)
	ada := f.token

	f.token = f.second()
	for path, refs := range map[string][]string{
		"/servers/": {server, "server-uuid"}, "/keys/": {key, "key-uuid"}, "/port-forwards/": {forward, "local-uuid"},
	} {
		for _, ref := range refs {
			f.get(path+ref).fails(404, "not_found")
			f.patch(path+ref, object{"name": "stolen"}).fails(404, "not_found")
			f.delete(path+ref).fails(404, "not_found")
			if path != "/keys/" {
				f.call("PUT", path+ref+"/host-key", object{"fingerprint": "SHA256:x"}).fails(404, "not_found")
				f.delete(path+ref+"/host-key").fails(404, "not_found")
			}
		}
		if list := f.get(strings.TrimSuffix(path, "/")).list(); len(list) != 0 {
			t.Errorf("%s: %v", path, list)
		}
	}
	f.post("/port-forwards/"+forward+"/start", nil).fails(404, "not_found")
	f.post("/port-forwards/"+forward+"/stop", nil).fails(404, "not_found")
	f.get("/port-forwards/"+forward+"/status").fails(404, "not_found")
	for _, ref := range []string{server, "server-uuid"} {
		f.post("/port-forwards", object{"name": "a", "type": "local", "serverId": ref}).fails(400, "bad_request")
		got := f.post("/port-forwards/sync", []object{{"name": "a", "type": "local", "serverId": ref}}).is(200)
		has(t, got, object{"syncedCount": 0.0})
	}
	for _, ref := range []string{key, "key-uuid"} {
		f.post("/servers", with(fullServer(), object{"keyId": ref})).fails(400, "bad_request")
	}
	// The same localIds are free for him, and mean his own rows.
	mine := f.post("/servers", with(fullServer(), object{"name": "bob's"})).is(201)
	has(t, f.get("/servers/server-uuid").is(200), object{"id": mine["id"], "name": "bob's"})
	got := f.post("/port-forwards/sync", "["+seedLocal+"]").is(200)
	has(t, got, object{"created": 1.0})

	f.token = ada
	has(t, f.get("/servers/server-uuid").is(200), object{"id": server, "name": "web"})
	has(t, f.get("/port-forwards/local-uuid").is(200), object{"id": forward})
}

func TestADisabledUserIsNoLongerWelcome(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.execute("UPDATE users SET disabled = TRUE")
	f.get("/auth/validate").fails(401, "unauthorized")
	f.post("/auth/login", object{"email": email, "password": password}).fails(401, "unauthorized")
}

func TestAnEndedSessionIsNoLongerWelcome(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	id := f.get("/auth/validate").is(200)["user"].(object)["id"].(string)
	err := f.store.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteOtherSessions(t.Context(), id, "") })
	if err != nil {
		t.Fatal(err)
	}
	f.get("/auth/validate").fails(401, "unauthorized")
}
