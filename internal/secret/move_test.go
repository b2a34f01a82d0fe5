package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddToFileMakesTheFileWhereThereIsNone(t *testing.T) {
	t.Parallel()
	path, older := filepath.Join(t.TempDir(), "secret.key"), New().Rotate()
	for range 2 { // the second time there is nothing to add
		k, err := AddToFile(path, older)
		if err != nil || !bytes.Equal(k.text(), older.text()) {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	read, err := OpenFile(path)
	if err != nil || !bytes.Equal(read.text(), older.text()) {
		t.Errorf("read back: %v", err)
	}
	wantAlone(t, path)
}

func TestAddToFileLeavesTheNewestWhereItIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.key")
	own, err := CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := New().Rotate()
	shared := &Keyring{keys: append(other.keys[:len(other.keys):len(other.keys)], own.keys...)}
	before := seal(t, other, "before")
	if _, err := AddToFile(path, shared); err != nil {
		t.Fatal(err)
	}
	k, err := OpenFile(path)
	if err != nil || len(k.keys) != 3 {
		t.Fatalf("%d keys, %v", len(k.keys), err)
	}
	if got, err := k.Open(before, row); err != nil || string(got) != "before" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := own.Open(seal(t, k, "after"), row); err != nil || string(got) != "after" {
		t.Errorf("another key seals now: %v", err)
	}
	wantAlone(t, path)
}

func TestAddToFileLeavesTheFileAloneWhenItCannot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.key")
	own, err := CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	twin := New()
	twin.keys[0].id = own.keys[0].id
	many, err := Parse([]byte(manyKeys(maxKeys)))
	if err != nil {
		t.Fatal(err)
	}
	for want, older := range map[string]*Keyring{fmt.Sprintf("another key of the id %q", own.keys[0].id): twin, "more than 1000 keys": many} {
		if _, err := AddToFile(path, older); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, own.text()) {
		t.Errorf("it changed: %v", err)
	}
	wantAlone(t, path)
	if _, err := AddToFile(filepath.Join(path, "below"), own); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a file: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := AddToFile(path, New()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
}

func TestTheTextOfAKeyringIsParsedAndPrintsNoKey(t *testing.T) {
	t.Parallel()
	k := New().Rotate()
	again, err := Parse([]byte(k.Text().Reveal()))
	if err != nil || !bytes.Equal(again.text(), k.text()) {
		t.Errorf("%v", err)
	}
	if printed := fmt.Sprintf("%v %+v %q", k.Text(), k.Text(), k.Text()); strings.Contains(printed, k.keys[0].id) {
		t.Errorf("printed %s", printed)
	}
}
