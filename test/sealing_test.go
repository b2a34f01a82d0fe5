package test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

// The names of files in the data directory, as operators know them.
const (
	keyFile   = "sealing.key"
	storeFile = "adit.db"
)

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// database gives the bytes of SQLite's file; none when the tests are on PostgreSQL.
func (a *adit) database() []byte {
	a.t.Helper()
	if postgres.Wanted() {
		return nil
	}
	return readFile(a.t, filepath.Join(a.data, storeFile))
}

func writeFile(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAWrongSealingKeyIsToldAndDestroysNothing(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	row := g.start(g.create(g.local(g.target)))
	manual := g.manual(encrypted(t, g.sshd.ClientKeyPEM, "open-sesame"), "open-sesame")
	wanted, idle := "/port-forwards/"+row["id"].(string), g.create(manual)
	other := serve(t, newDir(t))
	other.stop()
	path := filepath.Join(g.data, keyFile)
	right, wrong := readFile(t, path), readFile(t, filepath.Join(other.data, keyFile))

	g.restarted(func() { g.stop(); writeFile(t, path, wrong) })
	g.login()
	failed := g.reaches(wanted, "failed", patience)
	g.has(failed, object{"status": "inactive", "desired": "active", "name": row["name"], "tunnelId": nil})
	g.has(failed["lastError"].(object), object{"code": "secret_unreadable"})
	says(t, g.post(wanted+"/start", nil).fails(500, "secret_unreadable"), `key "key"`)
	says(t, g.post(idle+"/start", nil).fails(500, "secret_unreadable"), `"manual"`)
	if n := len(g.get("/port-forwards").list()); n != 2 {
		t.Errorf("%d rows are listed", n)
	}
	g.get("/keys/key").is(200)
	g.get("/servers/site").is(200)
	for _, row := range []string{wanted, idle, "/keys/key", "/servers/site"} {
		g.has(g.call("PATCH", row, object{"name": "renamed"}).is(200), object{"name": "renamed"})
	}

	g.restarted(func() { g.stop(); writeFile(t, path, right) })
	g.login()
	for _, forward := range []string{wanted, idle} {
		g.reaches(wanted, "active", restoreLimit) // by itself
		w := way{name: forward, dial: dialer(bound(g.start(forward)))}
		w.carries(t, small)
	}
}

func TestAMissingSealingKeyBesideADatabaseIsRefused(t *testing.T) {
	t.Parallel()
	a := serve(t, newDir(t))
	a.register()
	a.stop()
	path := filepath.Join(a.data, keyFile)
	key, database := readFile(t, path), a.database()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	says(t, complains(t, 1, serveArgs(a.data)...), "adit: the sealing key "+path+" is missing", "hint: ")
	if _, err := os.Stat(path); err == nil {
		t.Error("a fresh key was made")
	}
	if string(a.database()) != string(database) {
		t.Error("the database was written")
	}
	writeFile(t, path, key)
	a.again(func() {}).get("/auth/validate").is(200)
}
