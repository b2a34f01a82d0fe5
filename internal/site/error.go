package site

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// Reason says why a dial failed, as far as the other side must be told.
type Reason int

// The reasons. SOCKS5 answers each with the reply of its own (RFC 1928, section 6).
const (
	Other Reason = iota
	Refused
	HostUnreachable
	NetworkUnreachable
	NameNotFound
	Denied
	TimedOut
)

// String says the reason to people.
func (r Reason) String() string {
	switch r {
	case Refused:
		return "connection refused"
	case HostUnreachable:
		return "host unreachable"
	case NetworkUnreachable:
		return "network unreachable"
	case NameNotFound:
		return "name not found"
	case Denied:
		return "not allowed"
	case TimedOut:
		return "timed out"
	}
	return "failed"
}

// DialError is a dial that failed.
type DialError struct {
	Reason  Reason
	Address string // the target as it was asked for
	Err     error
}

func (e *DialError) Error() string { return "dial " + e.Address + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *DialError) Unwrap() error { return e.Err }

// ReasonOf finds why a dial failed: the reason of a DialError in err's chain,
// else what the system's own errors say, else Other.
func ReasonOf(err error) Reason {
	var dial *DialError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dial):
		return dial.Reason
	case errors.As(err, &dns):
		if dns.IsTimeout {
			return TimedOut
		}
		return NameNotFound
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EHOSTDOWN):
		return HostUnreachable
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return NetworkUnreachable
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	}
	return Other
}
