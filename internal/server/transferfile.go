package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/adit-tunnel/adit/api"
)

// newFile makes a file (mode 0600) that is not there yet, of what write writes:
// all of it, on the disk, or none.
func newFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if err := write(f); err != nil {
		_ = f.Close() // it is to be removed
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// place gives a file its name, unless there is one of that name.
func place(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return nil
	}
	if err := mustBeFree(to); err != nil {
		return err
	}
	// No links on this file system: between the look and this somebody can make
	// the file still.
	return os.Rename(from, to)
}

func mustBeFree(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s is there already, and is not overwritten", path),
			Hint: "name another file, or move that one away"}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}
