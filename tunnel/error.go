package tunnel

import (
	"errors"
	"net"
	"syscall"

	"github.com/adit-tunnel/adit/internal/site"
)

// ErrClosed is for a client that was closed, or that ended by itself: then
// [Client.Err] says why.
var ErrClosed = errors.New("tunnel: the client is closed")

// asNet has a program recognize what went wrong elsewhere by what package net
// would have said of it here: that a target was not reached, and why, or that a
// stream was cut, whatever cut it.
func asNet(err error, cut bool) error {
	if dial, ok := errors.AsType[*site.DialError](err); ok {
		return &targetError{dial}
	}
	if cut {
		return &resetError{err}
	}
	return err
}

// targetError is why a target was not reached.
type targetError struct{ dial *site.DialError }

// errnos is what the system says for the same reason.
var errnos = map[site.Reason]syscall.Errno{
	site.Refused:            syscall.ECONNREFUSED,
	site.HostUnreachable:    syscall.EHOSTUNREACH,
	site.NetworkUnreachable: syscall.ENETUNREACH,
	site.Denied:             syscall.EACCES,
	site.TimedOut:           syscall.ETIMEDOUT,
}

func (e *targetError) Error() string   { return e.dial.Err.Error() }
func (e *targetError) Unwrap() error   { return e.dial.Err }
func (e *targetError) Timeout() bool   { return e.dial.Reason == site.TimedOut }
func (e *targetError) Temporary() bool { return e.Timeout() }

func (e *targetError) Is(target error) bool {
	errno, ok := errnos[e.dial.Reason]
	return ok && (errno == target || errno.Is(target))
}

func (e *targetError) As(target any) bool {
	dns, ok := target.(**net.DNSError)
	if !ok || e.dial.Reason != site.NameNotFound {
		return false
	}
	host, _, _ := net.SplitHostPort(e.dial.Address)
	*dns = &net.DNSError{Err: e.Error(), Name: host, IsNotFound: true}
	return true
}

// resetError is a stream that was cut.
type resetError struct{ error }

func (e *resetError) Unwrap() error        { return e.error }
func (e *resetError) Is(target error) bool { return target == syscall.ECONNRESET }
func (e *resetError) Timeout() bool        { return false }
func (e *resetError) Temporary() bool      { return false }

// target is what was asked for, as an address.
type target string

func (target) Network() string  { return "tcp" }
func (t target) String() string { return string(t) }
