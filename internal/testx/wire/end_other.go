//go:build !linux

package wire

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
)

// End is one end of a wire. There is none outside Linux.
type End struct {
	Addr netip.Addr
	tun  *os.File
}

func openEnd(netip.Addr) (*End, error) {
	return nil, fmt.Errorf("%w: network namespaces are Linux's, not %s's", ErrUnavailable, runtime.GOOS)
}

// Do runs f.
func (e *End) Do(f func() error) error { return f() }

// Path is empty.
func (e *End) Path() string { return "" }

func (e *End) close() {}
