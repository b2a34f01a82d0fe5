package secret

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

const row = "servers/1/password"

func TestWhatIsSealedOpensForItsRow(t *testing.T) {
	t.Parallel()
	k := New()
	for _, plain := range []string{"", "x", "password123", strings.Repeat("long\x00", 10000)} {
		sealed := seal(t, k, plain)
		got, err := k.Open(sealed, row)
		if err != nil || string(got) != plain {
			t.Errorf("%d bytes: %d bytes back, %v", len(plain), len(got), err)
		}
		if plain != "" && len(plain) > 4 && bytes.Contains(sealed, []byte(plain)) {
			t.Error("the plain text stands in the sealed one")
		}
	}
}

// What is in databases already must open for ever.
func TestAValueSealedLongAgoOpens(t *testing.T) {
	t.Parallel()
	k, sealed := fixed(t)
	if plain, err := k.Open(sealed, row); err != nil || string(plain) != "secret" {
		t.Errorf("%q, %v", plain, err)
	}
}

func TestSealingTwiceGivesDifferentBytes(t *testing.T) {
	t.Parallel()
	k := New()
	if bytes.Equal(seal(t, k, "same"), seal(t, k, "same")) {
		t.Error("a nonce was used twice")
	}
}

func TestAValueDoesNotOpenForAnotherRow(t *testing.T) {
	t.Parallel()
	k := New()
	sealed := seal(t, k, "secret")
	for _, other := range []string{"servers/2/password", "servers/1/passphrase", "servers/1/passwor", "", "x" + row, row + "x"} {
		wantUnreadable(t, k, sealed, other)
	}
	if Row("servers", "1", "password") != row {
		t.Errorf("Row: %s", Row("servers", "1", "password"))
	}
}

func TestAValueDoesNotOpenWithAnotherKey(t *testing.T) {
	t.Parallel()
	k := New()
	sealed := seal(t, k, "secret")
	wantUnreadable(t, New(), sealed, row)
	wantUnreadable(t, &Keyring{}, sealed, row)

	sameID := New()
	sameID.keys[0].id = k.keys[0].id
	wantUnreadable(t, sameID, sealed, row)
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	t.Parallel()
	k := New()
	sealed := seal(t, k, "secret")
	for i := range sealed {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(sealed)
			damaged[i] ^= flip
			wantUnreadable(t, k, damaged, row)
		}
		wantUnreadable(t, k, sealed[:i], row)
	}
	wantUnreadable(t, k, append(bytes.Clone(sealed), 0), row)
	wantUnreadable(t, k, nil, row)
}

// The id of the key belongs to what is authenticated: a value cannot be passed
// off as sealed with another key of the same bytes.
func TestTheHeaderIsAuthenticated(t *testing.T) {
	t.Parallel()
	k := New()
	sealed := seal(t, k, "secret")
	twin := k.keys[0]
	twin.id = strings.Repeat("f", len(twin.id))
	both := &Keyring{keys: []key{k.keys[0], twin}}
	copy(sealed[2:], twin.id)
	wantUnreadable(t, both, sealed, row)
}

func TestARotatedKeyringSealsWithTheNewKeyAndOpensOldValues(t *testing.T) {
	t.Parallel()
	older := New()
	before := seal(t, older, "before")
	newer := older.Rotate()
	after := seal(t, newer, "after")
	for sealed, want := range map[string]string{string(before): "before", string(after): "after"} {
		if got, err := newer.Open([]byte(sealed), row); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", want, got, err)
		}
	}
	wantUnreadable(t, older, after, row)
	if len(older.keys) != 1 {
		t.Error("the older keyring changed")
	}
}

func TestAnEmptyKeyringDoesNotSeal(t *testing.T) {
	t.Parallel()
	if sealed, err := new(Keyring).Seal([]byte("secret"), row); err == nil {
		t.Errorf("sealed %d bytes", len(sealed))
	}
}

func TestAKeyFileIsMadeOnceAndReadBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.key")
	if _, err := OpenFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	made, err := CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, made, "secret")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := CreateFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	read, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read.Open(sealed, row); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	wantAlone(t, path)
}

func TestPlacingAFileThatCannotBePlacedLeavesTheNameFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := placeNew(filepath.Join(dir, "missing"), filepath.Join(dir, "secret.key"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRotatingAKeyFileKeepsTheOldKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.key")
	made, err := CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := RotateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, sealed := range map[string][]byte{"before": seal(t, made, "before"), "after": seal(t, rotated, "after")} {
		if got, err := read.Open(sealed, row); err != nil || string(got) != name {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	wantUnreadable(t, made, seal(t, read, "after"), row)
	wantAlone(t, path)
}

func TestAKeyFileThatOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.key")
	if _, err := CreateFile(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := OpenFile(path)
		if err == nil || !strings.Contains(err.Error(), "chmod 600") || !strings.Contains(err.Error(), path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := OpenFile(filepath.Dir(path)); err == nil {
		t.Error("a directory was taken")
	}
}

func TestAFileThatIsNoKeyFileIsRefusedWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("A", 43) + "="
	cases := map[string]string{
		"empty":              "",
		"comments alone":     "# nothing\n\n",
		"no id":              good,
		"three words":        "a " + good + " c",
		"no base64":          "a p@ssw0rd",
		"a short key":        "a " + strings.Repeat("A", 42) + "==",
		"a long key":         "a " + strings.Repeat("A", 44) + good,
		"loose last bits":    "a " + strings.Repeat("A", 42) + "B=",
		"url base64":         "a " + strings.Repeat("-", 43) + "=",
		"an id too long":     strings.Repeat("a", 33) + " " + good,
		"an id with a slash": "a/b " + good,
		"an id twice":        "a " + good + "\na " + good,
		"too many":           manyKeys(maxKeys + 1),
	}
	for name, text := range cases {
		_, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "AAAA") || strings.Contains(err.Error(), "p@ssw0rd") {
			t.Errorf("%s: repeats the file: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"plain": "a " + good, "comment and blank lines": "# c\n\n a\t" + good + " \r\n", "many": manyKeys(maxKeys),
	} {
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, []byte("a "+good+"\n"+strings.Repeat("#\n", maxFile/2)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(big); err == nil {
		t.Error("a file too large was read")
	}
}

func TestAKeyringPrintsNoKey(t *testing.T) {
	t.Parallel()
	k := New()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keys", k)
	for _, printed := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %x %d", k, k, k, k), log.String()} {
		if !strings.Contains(printed, "[redacted]") || strings.Contains(printed, k.keys[0].id) {
			t.Errorf("printed %s", printed)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k, sealed := fixed(f)
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := k.Open(data, row)
		switch {
		case bytes.Equal(data, sealed):
			if err != nil || string(plain) != "secret" {
				t.Errorf("the sealed value itself: %q, %v", plain, err)
			}
		case !errors.Is(err, ErrUnreadable):
			t.Errorf("%x: %q, %v", data, plain, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(New().text())
	f.Add([]byte("a " + strings.Repeat("A", 43) + "=\n# c\nb " + strings.Repeat("A", 43) + "="))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(k.text())
		if err != nil || len(again.keys) != len(k.keys) {
			t.Fatalf("does not read its own text: %v", err)
		}
		for i := range k.keys {
			if k.keys[i] != again.keys[i] {
				t.Errorf("key %d changed", i)
			}
		}
	})
}

// fixed is a keyring, and "secret" as it was once sealed with it.
func fixed(t testing.TB) (*Keyring, []byte) {
	t.Helper()
	k, err := Parse([]byte("old " + strings.Repeat("A", 43) + "=\nnew " + strings.Repeat("B", 42) + "A="))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hex.DecodeString("01036e65779c8c3488f46c6d3992211348b497b3c6ea0269460" +
		"6d31d8c6484fbbf1d3645d10469f774d339e9f07c08d8b41440")
	if err != nil {
		t.Fatal(err)
	}
	return k, sealed
}

func seal(t testing.TB, k *Keyring, plain string) []byte {
	t.Helper()
	sealed, err := k.Seal([]byte(plain), row)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 + len(k.keys[0].id) + chacha20poly1305.NonceSizeX + len(plain) + chacha20poly1305.Overhead; len(sealed) != want {
		t.Errorf("%d bytes, want %d", len(sealed), want)
	}
	return sealed
}

func wantUnreadable(t *testing.T, k *Keyring, sealed []byte, row string) {
	t.Helper()
	plain, err := k.Open(sealed, row)
	if !errors.Is(err, ErrUnreadable) || plain != nil {
		t.Errorf("row %q: opened as %q, %v", row, plain, err)
	} else if !strings.Contains(err.Error(), row) || strings.Contains(err.Error(), "secret\x00") {
		t.Errorf("row %q: says %v", row, err)
	}
}

// wantAlone checks that no temporary file was left.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside it: %v, %v", entries, err)
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d %s=\n", i, strings.Repeat("A", 43))
	}
	return b.String()
}
