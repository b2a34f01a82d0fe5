//go:build !unix

package server

import (
	"fmt"
	"os"
)

// lock refuses: without a lock two processes could serve one data directory.
func lock(path string) (*os.File, error) {
	return nil, fmt.Errorf("lock %s: not supported on this system", path)
}
