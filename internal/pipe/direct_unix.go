//go:build unix

package pipe

import (
	"net"
	"sync/atomic"
	"syscall"

	"github.com/adit-tunnel/adit/internal/socket"
)

// direct writes to a socket what it takes at once.
type direct struct {
	dst *end
	raw syscall.RawConn
	out socket.Output
	sum *atomic.Int64
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool // a method value made once, or every write would allocate
}

// directTo returns nil when dst is no TCP connection.
func directTo(dst *end, sum *atomic.Int64) Direct {
	c, ok := dst.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{dst: dst, raw: raw, sum: sum}
	d.try = d.tryWrite
	return d
}

// TryWrite implements Direct.
func (d *direct) TryWrite(p []byte) int {
	d.p, d.n, d.err = p, 0, nil
	d.dst.writing()
	err := d.raw.Write(d.try)
	d.dst.wrote(d.err)
	d.p = nil
	if err != nil {
		return 0
	}
	d.sum.Add(int64(d.n))
	return d.n
}

// tryWrite never asks to be called again: it does not wait.
func (d *direct) tryWrite(fd uintptr) bool {
	d.n, d.err = d.out.Write(fd, d.p) // the error is EAGAIN, mostly
	return true
}
