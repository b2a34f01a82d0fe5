package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxFile bounds what is read as a key file: maxKeys lines and comments.
const maxFile = 1 << 20

// OpenFile reads a key file, see Parse. A missing file is fs.ErrNotExist. One
// that others than its owner may read or change is refused, with what to do.
func OpenFile(path string) (*Keyring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := private(f); err != nil {
		return nil, fmt.Errorf("open key file %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read key file %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("read key file %s: larger than %d bytes", path, maxFile)
	}
	k, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read key file %s: %w", path, err)
	}
	return k, nil
}

// private refuses what is not a file of its owner's alone.
func private(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	// Windows has no such modes: Go reports some that say nothing.
	if open := info.Mode().Perm() & 0o077; open != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("mode %04o lets others at the keys: chmod 600 it", info.Mode().Perm())
	}
	return nil
}

// CreateFile makes a key file (mode 0600) with one fresh key; it is on the disk
// before CreateFile returns. An existing file is fs.ErrExist and is left alone.
func CreateFile(path string) (*Keyring, error) {
	k := New()
	// The whole file appears at once: one that a crash left half-written would
	// be taken for the keys at the next start, and refused for ever.
	err := writeWhole(path, k.text(), placeNew)
	if err != nil {
		return nil, fmt.Errorf("create key file: %w", err)
	}
	return k, nil
}

// RotateFile adds a fresh newest key to a key file and gives the new keyring.
// The file is replaced at once or not at all.
func RotateFile(path string) (*Keyring, error) {
	k, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	k = k.Rotate()
	if err := writeWhole(path, k.text(), os.Rename); err != nil {
		return nil, fmt.Errorf("rotate key file: %w", err)
	}
	return k, nil
}

// writeWhole writes a new file beside path and puts it in place, all of it on
// the disk before it returns. place is placeNew to refuse a file that is there,
// os.Rename to replace it.
func writeWhole(path string, text []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after a rename there is none
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// placeNew renames a file unless there is one of the new name (fs.ErrExist).
func placeNew(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// No links on this file system: an empty file claims the name first.
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), os.Rename(from, to)); err != nil {
		_ = os.Remove(to)
		return err
	}
	return nil
}

// syncDir puts the directory's entries on the disk, where the system can.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
