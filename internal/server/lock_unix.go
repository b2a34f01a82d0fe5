//go:build unix

package server

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/adit-tunnel/adit/api"
)

// lock makes this process the only one on a data directory. The lock ends with
// the process, however that ends.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &api.Error{Code: api.CodeConflict, Err: err,
			Message: "another adit serves this data directory (it holds " + path + ")",
			Hint:    "stop it first, or choose another directory with --data"}
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
