package tunnel

import (
	"errors"
	"io/fs"
	"net"
	"syscall"
	"testing"

	"github.com/adit-tunnel/adit/internal/site"
)

func TestEveryReasonIsWhatTheSystemSaysForIt(t *testing.T) {
	t.Parallel()
	dialled := func(reason site.Reason) error {
		return asNet(&site.DialError{Reason: reason, Address: "name.internal:80", Err: errors.New("words of the other side")}, false)
	}
	errnos := []syscall.Errno{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EACCES, syscall.ETIMEDOUT, syscall.ECONNRESET}
	for reason, want := range map[site.Reason]syscall.Errno{
		site.Other: 0, site.Refused: syscall.ECONNREFUSED, site.HostUnreachable: syscall.EHOSTUNREACH, site.NetworkUnreachable: syscall.ENETUNREACH,
		site.NameNotFound: 0, site.Denied: syscall.EACCES, site.TimedOut: syscall.ETIMEDOUT,
	} {
		err := dialled(reason)
		for _, errno := range errnos {
			if errors.Is(err, errno) != (errno == want) {
				t.Errorf("%s: is it %v? %t", reason, errno, errno != want)
			}
		}
		if timeout := err.(net.Error).Timeout(); timeout != (reason == site.TimedOut) {
			t.Errorf("%s: a time-out: %t", reason, timeout)
		}
		if errors.Is(err, fs.ErrPermission) != (reason == site.Denied) {
			t.Errorf("%s: is it a question of permission? %t", reason, reason != site.Denied)
		}
		dns, ok := errors.AsType[*net.DNSError](err)
		if ok != (reason == site.NameNotFound) || ok && (!dns.IsNotFound || dns.Name != "name.internal") {
			t.Errorf("%s: %#v", reason, dns)
		}
	}
}
