package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/archive"
	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

const passphrase = "open sesame"

// cheap is as little as a passphrase may cost.
var cheap = archive.Costs{Memory: 10, Passes: 1, Lanes: 1}

func transfer(file, dir string, url redact.Secret) config.Transfer {
	return config.Transfer{File: file, Data: dir, Database: url, Passphrase: redact.New(passphrase)}
}

// furnished makes a data directory with some of what adit keeps in the database
// of url, and enough noise that its archive has several chunks.
func furnished(t *testing.T, dir string, url redact.Secret) (token redact.Secret) {
	t.Helper()
	d, err := openData(t.Context(), dir, url)
	must(t, err)
	defer d.close()
	tokens, err := d.tokens(t.Context(), slog.New(slog.DiscardHandler), time.Now())
	must(t, err)
	token, _, err = tokens.Issue("ann", "ann@example.org")
	must(t, err)
	noise := make([]byte, 300<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	must(t, d.store.Write(t.Context(), func(tx *store.Tx) error {
		at := time.Now()
		return errors.Join(
			tx.CreateUser(t.Context(), store.User{ID: "ann", Email: "ann@example.org", Username: "ann \" \u2028 <文字>", Role: store.Admin, CreatedAt: at, UpdatedAt: at}),
			tx.PutHostKey(t.Context(), store.HostKey{Scope: access.Personal("ann"), Address: "h:22", Pinned: noise, PinnedAt: at}),
		)
	}))
	for _, r := range records() {
		must(t, keeper{d}.Put(t.Context(), r))
	}
	return token
}

// kept is what a database has, as text.
func kept(t *testing.T, dir string, url redact.Secret) (rows []string) {
	t.Helper()
	d, err := lockData(dir)
	must(t, err)
	defer d.close()
	must(t, d.openStore(t.Context(), url))
	must(t, d.store.Dump(t.Context(), func(table string, row store.Values) error {
		rows = append(rows, fmt.Sprint(table, row))
		return nil
	}))
	return rows
}

func exported(t *testing.T, dir string, url redact.Secret) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "backup.adit")
	var notes strings.Builder
	must(t, Export(t.Context(), transfer(file, dir, url), nil, &notes))
	if n := len(kept(t, dir, url)); !strings.HasPrefix(notes.String(), fmt.Sprintf("exported %d rows (users 1, ", n)) || !strings.HasSuffix(notes.String(), ") to "+file+"\n") {
		t.Errorf("says %q", &notes)
	}
	return file
}

// untouched demands that an import left neither rows nor keys.
func untouched(t *testing.T, dir string, url redact.Secret) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err == nil {
		for _, e := range entries {
			if e.Name() != lockFile && !strings.HasPrefix(e.Name(), storeFile) {
				t.Errorf("there is %s", e.Name())
			}
		}
	}
	if rows := kept(t, dir, url); rows != nil {
		t.Errorf("there are %d rows", len(rows))
	}
}

func TestEverythingMovesBetweenTheDatabases(t *testing.T) {
	t.Parallel()
	type place struct {
		dir string
		url redact.Secret
	}
	sqlite := func() place { return place{filepath.Join(t.TempDir(), "data"), redact.Secret{}} }
	psql := func() place { return place{filepath.Join(t.TempDir(), "data"), redact.New(postgres.Database(t))} }
	from := sqlite()
	token := furnished(t, from.dir, from.url)
	want := kept(t, from.dir, from.url)
	for _, to := range []place{sqlite(), psql(), psql(), sqlite()} {
		file := exported(t, from.dir, from.url)
		var notes strings.Builder
		must(t, Import(t.Context(), transfer(file, to.dir, to.url), nil, &notes))
		if !strings.HasPrefix(notes.String(), fmt.Sprintf("imported %d rows (users 1, ", len(want))) {
			t.Errorf("says %q", &notes)
		}
		if got := kept(t, to.dir, to.url); !reflect.DeepEqual(got, want) {
			t.Errorf("%d rows, want %d; or other ones", len(got), len(want))
		}
		for _, name := range []string{file, filepath.Join(to.dir, keyFile)} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		opens(t, to.dir, to.url, token)
		from = to
	}
}

// opens demands that what was sealed opens, and that a token is good.
func opens(t *testing.T, dir string, url redact.Secret, token redact.Secret) {
	t.Helper()
	d, err := openData(t.Context(), dir, url)
	must(t, err)
	defer d.close()
	log := new(journal)
	tokens, err := d.tokens(t.Context(), log.logger(), time.Now())
	must(t, err)
	if _, err := tokens.Verify(token); err != nil {
		t.Error(err)
	}
	kept, err := keeper{d}.kept(t.Context(), log.logger())
	if err != nil || len(kept) != len(records()) || log.String() != "" {
		t.Errorf("%d relay tokens, %v, log %s", len(kept), err, log)
	}
}

func TestAnArchiveGoesThroughStandardOutputAndInput(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	furnished(t, from, redact.Secret{})
	var file, notes bytes.Buffer
	must(t, Export(t.Context(), transfer(config.Standard, from, redact.Secret{}), &file, &notes))
	must(t, Import(t.Context(), transfer(config.Standard, to, redact.Secret{}), iotest.HalfReader(&file), &notes))
	if !strings.Contains(notes.String(), ") to standard output\n") || !strings.HasSuffix(notes.String(), ") from standard input\n") {
		t.Errorf("says %q", &notes)
	}
	if got, want := kept(t, to, redact.Secret{}), kept(t, from, redact.Secret{}); !reflect.DeepEqual(got, want) {
		t.Errorf("%d rows, want %d; or other ones", len(got), len(want))
	}
}

func TestTheKeysOfAnArchiveComeBeforeTheDirectorysOwn(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	token := furnished(t, from, redact.Secret{})
	own, err := secret.CreateFile(filepath.Join(to, keyFile))
	must(t, err)
	must(t, Import(t.Context(), transfer(exported(t, from, redact.Secret{}), to, redact.Secret{}), nil, io.Discard))
	opens(t, to, redact.Secret{}, token)
	both, err := secret.OpenFile(filepath.Join(to, keyFile))
	must(t, err)
	sealed, err := both.Seal([]byte("after"), "row")
	must(t, err)
	if _, err := own.Open(sealed, "row"); err != nil {
		t.Errorf("another key seals now: %v", err)
	}
}

func TestAnArchiveThatIsNotWholeLeavesNothing(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	furnished(t, from, redact.Secret{})
	file := resealed(t, exported(t, from, redact.Secret{}))
	const header, chunk = 49, 64<<10 + 16
	damaged := map[string][]byte{
		"wrong passphrase, or the archive is damaged": bytes.Replace(file, file[header+10:header+20], make([]byte, 10), 1),
		"the archive is damaged":                      append(bytes.Clone(file[:len(file)-1]), file[len(file)-1]^1),
		"it is no archive of adit's":                  []byte("SQLite format 3\x00 and so on"),
	}
	for n := header; n < len(file); n += chunk {
		damaged[fmt.Sprintf("the archive is cut off: its end is missing%.*s", n/chunk, "      ")] = file[:n]
	}
	if len(damaged) < 3+4 {
		t.Fatalf("only %d cases: the archive has too few chunks", len(damaged))
	}
	dir, url := filepath.Join(t.TempDir(), "data"), redact.New(postgres.Database(t))
	for want, text := range damaged {
		for _, url := range []redact.Secret{{}, url} {
			err := Import(t.Context(), transfer(config.Standard, dir, url), bytes.NewReader(text), io.Discard)
			if err == nil || err.Error() != "read standard input: "+strings.TrimSpace(want) {
				t.Errorf("%d bytes: %v, want %s", len(text), err, want)
			}
			untouched(t, dir, url)
		}
	}
	must(t, Import(t.Context(), transfer(config.Standard, dir, url), bytes.NewReader(file), io.Discard))
	must(t, Import(t.Context(), transfer(config.Standard, dir, redact.Secret{}), bytes.NewReader(file), io.Discard)) // and the same keys again
}

func TestAWrongPassphraseMakesNotEvenTheDirectory(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "data")
	furnished(t, from, redact.Secret{})
	cfg := transfer(exported(t, from, redact.Secret{}), to, redact.Secret{})
	cfg.Passphrase = redact.New("open sesam!")
	err := Import(t.Context(), cfg, nil, io.Discard)
	if err == nil || !strings.HasPrefix(err.Error(), "read "+cfg.File+": wrong passphrase") || strings.Contains(err.Error(), "sesam") {
		t.Error(err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory: %v", err)
	}
}

// resealed gives an archive that has the same lines and opens quickly.
func resealed(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	r, err := archive.Open(f, redact.New(passphrase))
	must(t, err)
	var lines []string
	for {
		line, err := r.Line()
		if errors.Is(err, io.EOF) {
			return written(t, lines)
		}
		must(t, err)
		lines = append(lines, string(line))
	}
}

func wantConflict(t *testing.T, err error, says string) {
	t.Helper()
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeConflict || said.Hint == "" || !strings.Contains(said.Message, says) {
		t.Errorf("%v, want a conflict with a hint that says %q", err, says)
	}
}

func TestAnImportIntoAUsedDatabaseLeavesItAlone(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	furnished(t, from, redact.Secret{})
	file := exported(t, from, redact.Secret{})
	for _, url := range []redact.Secret{{}, redact.New(postgres.Database(t))} {
		dir := t.TempDir()
		d, err := openData(t.Context(), dir, url)
		must(t, err)
		_, err = d.tokens(t.Context(), slog.New(slog.DiscardHandler), time.Now()) // as much as a first start makes
		must(t, err)
		wantConflict(t, Import(t.Context(), transfer(file, dir, url), nil, io.Discard), "another adit serves this data directory")
		wantConflict(t, Export(t.Context(), transfer(file+"2", dir, url), nil, io.Discard), "another adit serves this data directory")
		if !url.IsZero() {
			wantConflict(t, Import(t.Context(), transfer(file, t.TempDir(), url), nil, io.Discard), " is used by another adit")
		}
		d.close()
		keys, err := os.ReadFile(filepath.Join(dir, keyFile))
		must(t, err)
		before := kept(t, dir, url)
		wantConflict(t, Import(t.Context(), transfer(file, dir, url), nil, io.Discard), " is not empty: it has rows in signing_keys")
		if !reflect.DeepEqual(kept(t, dir, url), before) {
			t.Error("the rows changed")
		}
		if after, err := os.ReadFile(filepath.Join(dir, keyFile)); err != nil || !bytes.Equal(after, keys) {
			t.Errorf("the keys changed: %v", err)
		}
	}
}

func TestAnExportOverwritesNothingAndLeavesNoPieces(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	furnished(t, dir, redact.Secret{})
	file := filepath.Join(out, "backup.adit")
	must(t, os.WriteFile(file, []byte("mine"), 0o600))
	wantConflict(t, Export(t.Context(), transfer(file, dir, redact.Secret{}), nil, io.Discard), file+" is there already")
	wantConflict(t, newFile(file, func(w io.Writer) error { _, err := io.WriteString(w, "other"); return err }), file+" is there already")
	broken := errors.New("broken")
	if err := newFile(filepath.Join(out, "other"), func(w io.Writer) error { _, err := io.WriteString(w, "half"); return errors.Join(err, broken) }); !errors.Is(err, broken) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Export(ctx, transfer(file+"2", dir, redact.Secret{}), nil, io.Discard); err == nil || err.Error() != "interrupted: nothing was exported" {
		t.Error(err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 1 {
		t.Errorf("there are %v, %v", entries, err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAnExportOfNothingIsToldAndMakesNothing(t *testing.T) {
	t.Parallel()
	dir, file := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "a")
	for _, url := range []redact.Secret{{}, redact.New(postgres.Database(t))} {
		err := Export(t.Context(), transfer(file, dir, url), nil, io.Discard)
		var said *api.Error
		if !errors.As(err, &said) || said.Code != api.CodeNotFound || said.Hint == "" {
			t.Errorf("%v", err)
		}
		for _, path := range []string{dir, file} {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

func TestAnExportWithAWrongKeyFileIsRefused(t *testing.T) {
	t.Parallel()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "backup.adit")
	furnished(t, dir, redact.Secret{})
	must(t, os.Remove(filepath.Join(dir, keyFile)))
	_, err := secret.CreateFile(filepath.Join(dir, keyFile))
	must(t, err)
	err = Export(t.Context(), transfer(file, dir, redact.Secret{}), nil, io.Discard)
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeSecretUnreadable || said.Hint == "" {
		t.Error(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
}

// A start with another key file makes a signing key that opens, beside those
// that do not.
func TestAnExportIsRefusedWhileAnySigningKeyDoesNotOpen(t *testing.T) {
	t.Parallel()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "backup.adit")
	furnished(t, dir, redact.Secret{})
	path := filepath.Join(dir, keyFile)
	right, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Remove(path))
	_, err = secret.CreateFile(path)
	must(t, err)
	wrong, err := os.ReadFile(path)
	must(t, err)
	d, err := openData(t.Context(), dir, redact.Secret{})
	must(t, err)
	_, err = d.tokens(t.Context(), slog.New(slog.DiscardHandler), time.Now())
	d.close()
	must(t, err)
	for _, keys := range [][]byte{wrong, right} {
		must(t, os.WriteFile(path, keys, 0o600))
		err := Export(t.Context(), transfer(file, dir, redact.Secret{}), nil, io.Discard)
		var said *api.Error
		if !errors.As(err, &said) || said.Code != api.CodeSecretUnreadable || !strings.Contains(said.Message, "does not open 1 of 2 signing keys") || said.Hint == "" {
			t.Error(err)
		}
	}
	must(t, os.WriteFile(path, slices.Concat(wrong, right), 0o600)) // as the hint says
	must(t, Export(t.Context(), transfer(file, dir, redact.Secret{}), nil, io.Discard))
}

// interrupting cancels once it has been read halfway.
type interrupting struct {
	from   io.Reader
	after  int
	cancel func()
}

func (r *interrupting) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	if r.after -= n; r.after < 0 {
		r.cancel()
	}
	return n, err
}

func TestAnInterruptedImportLeavesNothing(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	furnished(t, from, redact.Secret{})
	file := resealed(t, exported(t, from, redact.Secret{}))
	for _, url := range []redact.Secret{{}, redact.New(postgres.Database(t))} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		err := Import(ctx, transfer(config.Standard, dir, url), &interrupting{bytes.NewReader(file), len(file) / 2, cancel}, io.Discard)
		if err == nil || err.Error() != "interrupted: nothing was imported" || errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		untouched(t, dir, url)
	}
}
