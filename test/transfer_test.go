package test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

const passphrase = "moving day 1971"

// transferArgs are those of adit export and adit import.
func transferArgs(t testing.TB, command, data, file string, flags ...string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passphrase")
	writeFile(t, path, []byte(passphrase+"\n"))
	return append([]string{command, "--data", data, "--file", file, "--passphrase-file", path}, flags...)
}

// transferred runs one of them, which must do it, and gives what it said.
func transferred(t testing.TB, args ...string) string {
	t.Helper()
	p := launch(t, args...)
	p.exits(0)
	if said := p.stderr.String(); p.stdout.String() != "" || strings.Count(said, "\n") != 1 || strings.Contains(said, passphrase) {
		t.Errorf("%v: standard output %q, standard error %q", args, p.stdout, said)
	}
	return p.stderr.String()
}

var rowsMoved = regexp.MustCompile(`^(?:ex|im)ported (\d+ rows \(users 1, .*\)) (?:to|from) `)

func TestEverythingMovesFromOneDatabaseToTheOther(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	team := g.post("/teams/create", object{"name": "miners"}).is(201)
	wanted := g.create(g.local(g.target))
	row := g.start(wanted)
	idle := g.create(g.manual(encrypted(t, g.sshd.ClientKeyPEM, "open-sesame"), "open-sesame"))
	flags := []string(nil)
	for i, next := range [][]string{onPostgres(t, postgres.Database(t)), nil} {
		file := filepath.Join(t.TempDir(), "backup.adit")
		says(t, complains(t, 1, transferArgs(t, "export", g.data, file, flags...)...), "another adit serves this data directory", "hint: stop it first")
		g.stop()
		wrote := rowsMoved.FindStringSubmatch(transferred(t, transferArgs(t, "export", g.data, file, flags...)...))
		to := newDir(t)
		read := rowsMoved.FindStringSubmatch(transferred(t, transferArgs(t, "import", to, file, next...)...))
		if wrote == nil || read == nil || read[1] != wrote[1] {
			t.Errorf("move %d: wrote %q, read %q", i, wrote, read)
		}
		says(t, complains(t, 1, transferArgs(t, "import", to, file, next...)...), " is not empty: it has rows in users", "hint: ")
		for _, secret := range []string{passphrase, email, "open-sesame", "PRIVATE KEY", "miners"} {
			if bytes.Contains(readFile(t, file), []byte(secret)) {
				t.Errorf("%q stands in the archive", secret)
			}
		}

		token := g.token
		g.adit, flags = serve(t, to, next...), next
		g.token = token // goes on
		g.reaches(wanted, "active", restoreLimit)
		w := way{name: "moved", dial: dialer(bound(g.get(wanted).is(200)))}
		w.carries(t, small)
		g.has(g.get(wanted).is(200), object{"name": row["name"], "createdAt": row["createdAt"]})
		w = way{name: "sealed", dial: dialer(bound(g.start(idle)))}
		w.carries(t, small)
		g.has(g.get("/teams/"+team["id"].(string)).is(200), object{"name": "miners", "inviteCode": team["inviteCode"]})
		g.get("/keys/key").is(200)
		g.get("/servers/site").is(200)
		g.login()
		g.post(idle+"/stop", nil).is(200)
	}
}

func TestAnImportThatIsKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	a := serve(t, newDir(t))
	a.register()
	for i := range 300 { // sealed passwords do not compress
		a.post("/servers", object{"name": fmt.Sprint("server ", i), "host": "h", "port": 22, "username": "u", "authType": "password", "password": strings.Repeat("p", 1024)}).is(201)
	}
	a.stop()
	cmd := exec.Command(program, transferArgs(t, "export", a.data, "-")...)
	p := launchCommand(t, cmd)
	p.exits(0)
	file := []byte(p.stdout.String())

	to := newDir(t)
	cmd = exec.Command(program, transferArgs(t, "import", to, "-")...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = r
	p = launchCommand(t, cmd)
	// The pipe holds 64 KiB. What is beyond it was read, and only the first chunk
	// of 64 KiB is before the transaction begins.
	_, err = w.Write(file[:240<<10])
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	p.kill()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, keyFile)); err == nil {
		t.Error("the keys are there")
	}
	path := filepath.Join(t.TempDir(), "backup.adit")
	writeFile(t, path, file)
	transferred(t, transferArgs(t, "import", to, path)...)
	b := serve(t, to)
	b.token = a.token
	if n := len(b.get("/servers").list()); n != 300 {
		t.Errorf("%d servers", n)
	}
}

func TestWhatCannotBeMovedIsToldAndMakesNothing(t *testing.T) {
	t.Parallel()
	data, file := newDir(t), filepath.Join(t.TempDir(), "backup.adit")
	says(t, complains(t, 4, transferArgs(t, "export", data, file)...), "adit: there is nothing to export: no "+data, "hint: name the data directory")
	says(t, complains(t, 1, transferArgs(t, "import", data, file)...), file+": no such file")
	noise := make([]byte, 1000)
	_, _ = rand.Read(noise)
	writeFile(t, file, noise)
	says(t, complains(t, 1, transferArgs(t, "import", data, file)...), "adit: read "+file+": it is no archive of adit's")
	says(t, complains(t, 2, "import", "--data", data, "--file", file, "--passphrase", "2 short"), "flag --passphrase: has fewer than 8 characters")
	if _, err := os.Stat(data); err == nil {
		t.Error("the data directory was made")
	}

	a := serve(t, data)
	a.register()
	a.stop()
	says(t, complains(t, 1, transferArgs(t, "export", data, file)...), file+" is there already, and is not overwritten", "hint: ")
	if !bytes.Equal(readFile(t, file), noise) {
		t.Error("it was overwritten")
	}
	transferred(t, transferArgs(t, "export", data, file+"2")...)
	to := newDir(t)
	says(t, complains(t, 1, "import", "--data", to, "--file", file+"2", "--passphrase", "moving day 1972"), "wrong passphrase, or the archive is damaged")
	if _, err := os.Stat(to); err == nil {
		t.Error("the data directory was made")
	}
}
