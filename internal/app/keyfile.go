package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
)

// maxKeyFile bounds a key file, in bytes: the largest keys have a tenth of it.
const maxKeyFile = 64 << 10

// keyFile reads the private key that a forward's keyPath names: a regular file
// below KeyDir, to which the path is relative, or a part of it. Neither .. nor
// symbolic links lead out of there. Its error is CodeKeyPathDenied, and says
// nothing of what is elsewhere.
func (a *App) keyFile(forward, path string) (redact.Secret, error) {
	refuse := func(what, hint string, cause error) (redact.Secret, error) {
		return redact.Secret{}, &api.Error{
			Code: api.CodeKeyPathDenied, Message: fmt.Sprintf("Port forward %q names the key file %q, %s", forward, path, what), Hint: hint, Err: cause,
		}
	}
	if a.KeyDir == "" {
		return refuse("and this server reads none",
			"give the key itself as keyContent, or make it a key row and use serverId; an operator may set --key-dir", nil)
	}
	text, err := readBelow(a.KeyDir, path)
	switch {
	case err == nil:
		return redact.New(string(text)), nil
	case errors.Is(err, errNotPlain), errors.Is(err, errTooLong):
		return refuse(fmt.Sprintf("which %v", err), "name a file that holds one private key and nothing else", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return refuse("which is not there", "put it below the directory of --key-dir, or give the key itself as keyContent", err)
	case errors.Is(err, fs.ErrPermission):
		return refuse("which adit may not read", "let the user that adit runs as read it", err)
	}
	return refuse("which is not below the key directory",
		"keyPath is relative to the directory of --key-dir, or an absolute path below it; symbolic links must stay there too", err)
}

var (
	errNotPlain = errors.New("is not a regular file")
	errTooLong  = fmt.Errorf("is longer than %d bytes", maxKeyFile)
	errOutside  = errors.New("outside of the directory")
)

// readBelow reads a regular file of at most maxKeyFile bytes below dir.
func readBelow(dir, path string) ([]byte, error) {
	if filepath.IsAbs(path) {
		below, err := filepath.Rel(dir, path)
		if err != nil {
			return nil, err
		}
		path = below
	}
	if !filepath.IsLocal(path) {
		return nil, errOutside
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	// Opening some devices does something, and a named pipe would be waited for.
	// It is looked at again after it was opened, since it may be another by then.
	if info, err := root.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNotPlain
	}
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNotPlain
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = errTooLong
	}
	return text, err
}
