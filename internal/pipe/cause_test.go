package pipe

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestACauseIsToldWithoutWhatItBroughtAbout(t *testing.T) {
	t.Parallel()
	refused, broken := errors.New("connection refused behind the relay"), errors.New("broken")
	closed := &net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}
	for _, c := range []struct {
		in, out error
		want    string
		end     bool
	}{
		{refused, closed, refused.Error(), false},
		{closed, refused, refused.Error(), false},
		{refused, nil, refused.Error(), false},
		{nil, closed, closed.Error(), true},
		{closed, syscall.EPIPE, closed.Error() + "\n" + syscall.EPIPE.Error(), true},
		{refused, broken, refused.Error() + "\n" + broken.Error(), false},
	} {
		if err := cause(c.in, c.out); err.Error() != c.want || IsEnd(err) != c.end {
			t.Errorf("%v and %v: %v, an end: %t", c.in, c.out, err, IsEnd(err))
		}
	}
}
