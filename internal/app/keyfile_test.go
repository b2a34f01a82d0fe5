package app

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
)

// newKeyFile makes a private key, under a passphrase unless that is empty.
func newKeyFile(t *testing.T, path, passphrase string) ssh.PublicKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(pem.EncodeToMemory(block)))
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// keyDir is a directory for keys, beside which there is a secret.
func keyDir(t *testing.T) (a *App, dir string) {
	t.Helper()
	home := t.TempDir()
	dir = filepath.Join(home, "keys")
	writeFile(t, filepath.Join(dir, "team", "plain"), "the key")
	writeFile(t, filepath.Join(home, "secret"), "hidden")
	return New(Options{Keyring: secret.New(), KeyDir: dir}), dir
}

func TestKeyFilesAreReadBelowTheKeyDirectory(t *testing.T) {
	t.Parallel()
	a, dir := keyDir(t)
	writeFile(t, filepath.Join(dir, "long"), strings.Repeat("x", maxKeyFile))
	link(t, "team/plain", filepath.Join(dir, "link"))
	link(t, "../team", filepath.Join(dir, "team", "again"))
	for _, path := range []string{
		"team/plain", "./team/../team/plain", "link", "team/again/plain", filepath.Join(dir, "team", "plain"), dir + "/x/../team//plain",
	} {
		if text, err := a.keyFile("f", path); err != nil || text.Reveal() != "the key" {
			t.Errorf("%s: %v", path, err)
		}
	}
	if text, err := a.keyFile("f", "long"); err != nil || len(text.Reveal()) != maxKeyFile {
		t.Errorf("the longest: %v", err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func TestNothingElseIsRead(t *testing.T) {
	t.Parallel()
	a, dir := keyDir(t)
	outside := filepath.Join(filepath.Dir(dir), "secret")
	link(t, outside, filepath.Join(dir, "absolute"))
	link(t, "../secret", filepath.Join(dir, "relative"))
	link(t, "..", filepath.Join(dir, "up"))
	link(t, "nowhere", filepath.Join(dir, "dangling"))
	link(t, "loop", filepath.Join(dir, "loop"))
	writeFile(t, filepath.Join(dir, "long"), strings.Repeat("x", maxKeyFile+1))
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		"../secret":          "not below the key directory",
		"team/../../secret":  "not below the key directory",
		outside:              "not below the key directory",
		dir + "/../secret":   "not below the key directory",
		dir + "x":            "not below the key directory",
		"/etc/passwd":        "not below the key directory",
		"/nothing/here":      "not below the key directory",
		"absolute":           "not below the key directory",
		"relative":           "not below the key directory",
		"up/secret":          "not below the key directory",
		"loop":               "not below the key directory",
		"team/plain\x00":     "not below the key directory",
		"team/plain/":        "which is not there",
		"dangling":           "which is not there",
		"missing":            "which is not there",
		"team":               "which is not a regular file",
		dir:                  "which is not a regular file",
		"pipe":               "which is not a regular file",
		"long":               "which is longer than 65536 bytes",
		"team/plain/further": "which is not there",
	} {
		text, err := a.keyFile("web", path)
		told, ok := errors.AsType[*api.Error](err)
		if !ok || told.Code != api.CodeKeyPathDenied || told.Hint == "" || !text.IsZero() {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if !strings.HasPrefix(told.Message, `Port forward "web" names the key file "`) || !strings.Contains(told.Message, why) {
			t.Errorf("%q: %s", path, told.Message)
		}
	}
	a.KeyDir = ""
	if _, err := a.keyFile("web", "team/plain"); err == nil || !strings.Contains(err.Error(), "this server reads none") {
		t.Errorf("without a key directory: %v", err)
	}
}

func TestAForwardLogsInWithItsKeyFileAsItIsNow(t *testing.T) {
	t.Parallel()
	a, dir := keyDir(t)
	f := store.Forward{Row: store.Row{ID: "f", UserID: "u"}, Name: "web", Type: "local", KeyPath: "team/key"}
	read := func() (ssh.Signer, error) {
		s := &specs{app: a, parsed: signers{}}
		config, err := s.config(t.Context(), &f, route{address: "h:22", username: "u", path: f.KeyPath})
		return config.Signer, err
	}
	for _, passphrase := range []string{"", "open sesame"} {
		public := newKeyFile(t, filepath.Join(dir, "team", "key"), passphrase)
		if passphrase != "" {
			if err := a.put(&f.Passphrase, api.Some(api.Secret(passphrase)), forwardSecret(&f, passphraseColumn)); err != nil {
				t.Fatal(err)
			}
		}
		signer, err := read()
		if err != nil || string(signer.PublicKey().Marshal()) != string(public.Marshal()) {
			t.Errorf("passphrase %q: %v, %v", passphrase, signer, err)
		}
	}
	f.Passphrase = nil
	_, err := read()
	if told, ok := errors.AsType[*api.Error](err); !ok || told.Code != api.CodeCredentialsMissing || !strings.Contains(told.Message, `key file "team/key"`) {
		t.Errorf("without the passphrase: %v", err)
	}
	f.KeyPath = "team/plain"
	_, err = read()
	told, ok := errors.AsType[*api.Error](err)
	if !ok || told.Code != api.CodeCredentialsMissing || strings.Contains(told.Message+told.Hint+told.Err.Error(), "the key\n") {
		t.Errorf("what is no key: %v", err)
	}
}
