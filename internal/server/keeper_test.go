package server

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/store/storetest"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func openTestData(t testing.TB, dir string) *data {
	t.Helper()
	d, err := openData(t.Context(), dir, storetest.URL(t, dir))
	must(t, err)
	t.Cleanup(d.close)
	return d
}

// records are one of each kind, with everything set that can be.
func records() []relay.Record {
	at := time.Now().Truncate(time.Millisecond).UTC()
	reverse := relay.Record{
		ID: uuid.NewString(), Kind: relay.Reverse, Token: redact.New("kept-reverse-token"), Port: 12345, Username: "kept-username",
		Password: redact.New("kept-password"), Manage: true, Allow: []string{"kept.example:80"}, Deny: []string{"10.20.30.40"}, CreatedAt: at,
	}
	return []relay.Record{
		reverse,
		{ID: uuid.NewString(), Kind: relay.Forward, Token: redact.New("kept-forward-token"), Port: -1, CreatedAt: at.Add(time.Second)},
		{ID: uuid.NewString(), Kind: relay.Connector, Token: redact.New("kept-connector-token"), Port: -1, ReverseID: reverse.ID,
			Instance: uuid.New(), CreatedAt: at.Add(2 * time.Second), OwnerSeenAt: at.Add(3 * time.Second)},
	}
}

// sameRecord compares what tests can see of records.
func sameRecord(a, b relay.Record) bool {
	same := a.CreatedAt.Equal(b.CreatedAt) && a.OwnerSeenAt.Equal(b.OwnerSeenAt) &&
		a.Token.Reveal() == b.Token.Reveal() && a.Password.Reveal() == b.Password.Reveal()
	a.CreatedAt, a.OwnerSeenAt = b.CreatedAt, b.OwnerSeenAt
	return same && reflect.DeepEqual(a, b)
}

func TestTokensAreKeptWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := new(journal)
	d := openTestData(t, dir)
	k := keeper{d}
	want := records()
	for _, r := range want {
		must(t, k.Put(t.Context(), r))
	}
	want[2].Instance, want[2].OwnerSeenAt = uuid.New(), want[2].OwnerSeenAt.Add(time.Hour)
	must(t, k.Put(t.Context(), want[2])) // in its own place
	d.close()
	d = openTestData(t, dir)
	k = keeper{d}
	got, err := k.kept(t.Context(), log.logger())
	must(t, err)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !sameRecord(got[i], want[i]) {
			t.Errorf("kept %+v, got %+v", want[i], got[i])
		}
	}
	must(t, k.Delete(t.Context(), want[0].ID, want[2].ID, "never-there"))
	got, err = k.kept(t.Context(), log.logger())
	must(t, err)
	if len(got) != 1 || got[0].ID != want[1].ID {
		t.Errorf("left are %+v", got)
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
}

func TestNothingSecretCanBeReadInTheDatabase(t *testing.T) {
	t.Parallel()
	postgres.SkipIfWanted(t)
	dir := t.TempDir()
	d := openTestData(t, dir)
	for _, r := range records() {
		must(t, keeper{d}.Put(t.Context(), r))
	}
	secrets := []string{"kept-username", "kept-password", "kept.example", "10.20.30.40"}
	for _, token := range []string{"kept-reverse-token", "kept-forward-token", "kept-connector-token"} {
		secrets = append(secrets, token, linksocks.HashToken(redact.New(token)).Reveal())
	}
	search := func() (files int) {
		must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			files++
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, s := range secrets {
				for _, form := range []string{s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s))} {
					if bytes.Contains(content, []byte(form)) {
						t.Errorf("%s has %q in it", filepath.Base(path), form)
					}
				}
			}
			return nil
		}))
		return files
	}
	search() // with its log beside it
	d.close()
	if n := search(); n < 3 {
		t.Errorf("only %d files were searched", n)
	}
}

func TestATokenThatCannotBeOpenedIsLeftAlone(t *testing.T) {
	t.Parallel()
	log := new(journal)
	d := openTestData(t, t.TempDir())
	k := keeper{d}
	kept := records()
	for _, r := range kept {
		must(t, k.Put(t.Context(), r))
	}
	rows, err := d.store.RelayTokens(t.Context())
	must(t, err)
	const stray, swapped = "stray-row", "swapped-row"
	must(t, d.store.Write(t.Context(), func(tx *store.Tx) error {
		broken := rows[1]
		broken.ID, broken.Sealed = stray, []byte("kept-forward-token, and not sealed")
		if err := tx.PutRelayToken(t.Context(), broken); err != nil {
			return err
		}
		broken.ID, broken.Sealed = swapped, rows[1].Sealed // sealed, but for another row
		return tx.PutRelayToken(t.Context(), broken)
	}))
	got, err := k.kept(t.Context(), log.logger())
	must(t, err)
	if len(got) != len(kept) {
		t.Errorf("%d are served, want %d", len(got), len(kept))
	}
	for _, id := range []string{stray, swapped} {
		if !bytes.Contains([]byte(log.String()), []byte(id)) {
			t.Errorf("%s is not logged:\n%s", id, log)
		}
	}
	log.without(t, "kept-forward-token", "kept-reverse-token", "kept-username", "kept-password")
	rows, err = d.store.RelayTokens(t.Context())
	if err != nil || len(rows) != len(kept)+2 {
		t.Errorf("%d rows are left, %v", len(rows), err)
	}
}
