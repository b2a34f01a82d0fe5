//go:build unix

package server

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

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
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid()) // for people; what counts is the lock
	}
	if err == nil {
		return f, nil
	}
	defer f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 20)) // best effort: it may be writing just now
		return nil, &api.Error{Code: api.CodeConflict, Err: err,
			Message: fmt.Sprintf("another adit serves this data directory (process %s holds %s)", cmp.Or(strings.TrimSpace(string(holder)), "unknown"), path),
			Hint:    "stop it first, or choose another directory with --data"}
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
