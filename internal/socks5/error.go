package socks5

import (
	"errors"
	"fmt"
)

// The reasons for which Handshake refuses a client. The error it returns wraps
// one of them and says what was seen.
var (
	ErrVersion     = errors.New("not SOCKS5")
	ErrNoMethod    = errors.New("no common authentication method")
	ErrAuth        = errors.New("wrong username or password")
	ErrCommand     = errors.New("unknown command")
	ErrAddressType = errors.New("unknown address type")
	ErrName        = errors.New("not a host name")
	ErrTimeout     = errors.New("client too slow")
)

// greetingVersionError tells what a client speaks whose first bytes, two at
// least, are no SOCKS5 greeting.
func greetingVersionError(b []byte) error {
	switch {
	case b[0] == 4:
		return fmt.Errorf("%w: the client speaks SOCKS4", ErrVersion)
	case isUpper(b[0]) && isUpper(b[1]): // GET, POST, CONNECT, …
		return fmt.Errorf("%w: the client speaks HTTP", ErrVersion)
	case b[0] == 0x16 && b[1] == 3: // a TLS handshake record (RFC 8446, section 5.1)
		return fmt.Errorf("%w: the client speaks TLS", ErrVersion)
	}
	return fmt.Errorf("%w: version byte %#02x", ErrVersion, b[0])
}

func isUpper(b byte) bool { return 'A' <= b && b <= 'Z' }
