package pipe

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// IsEnd reports whether err is what every connection may meet at its end, and
// so no news for a log: EOF, closed by us or by the peer, cancelled, timed out.
func IsEnd(err error) bool {
	return isEnd(err) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded)
}

// isEnd reports the errors of a stream that is already closed.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN)
}
