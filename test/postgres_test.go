package test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

// onPostgres has the flags for a database, whose URL stands in a file.
func onPostgres(t testing.TB, url string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "database-url")
	writeFile(t, path, []byte(url+"\n"))
	return []string{"--database-file", path}
}

func TestTheServerOutlivesARestartOfPostgreSQL(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	flags := onPostgres(t, server.Database(t))
	a := serve(t, newDir(t), flags...)
	a.register()
	a.post("/port-forwards", object{"localId": "f", "name": "web", "type": "local"}).is(201)
	server.Stop(t)
	a.get("/port-forwards").fails(503, "unavailable")
	server.Resume(t)
	a.get("/port-forwards/f").is(200)
	a.call("PATCH", "/port-forwards/f", object{"name": "renamed"}).is(200)

	a = a.again(a.kill, flags...) // whose lock ends with it
	a.has(a.get("/port-forwards/f").is(200), object{"name": "renamed"})
	if _, err := os.Stat(filepath.Join(a.data, storeFile)); err == nil {
		t.Error("there is an SQLite file too")
	}
	says(t, complains(t, 1, serveArgs(newDir(t), flags...)...), "adit: database ", " is used by another adit", "hint: ")
}

func TestADatabaseThatCannotBeReachedIsToldAndEndsWith1(t *testing.T) {
	t.Parallel()
	url := "postgres://adit:" + postgres.Password + "@127.0.0.1:1/tunnels"
	says(t, complains(t, 1, serveArgs(newDir(t), onPostgres(t, url)...)...), "127.0.0.1/tunnels", "connection refused")
	says(t, complains(t, 2, serveArgs(newDir(t), "--database", "mysql://adit:"+postgres.Password+"@h/d")...), "flag --database: is no URL of a PostgreSQL database")
}
