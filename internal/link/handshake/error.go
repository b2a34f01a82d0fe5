package handshake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrTooManyRedirects is for a relay that redirects more than 5 times.
	ErrTooManyRedirects = errors.New("relay redirects more than 5 times")
	// ErrDowngrade is for a relay that redirects from wss to ws: tokens would
	// leave in clear text.
	ErrDowngrade = errors.New("relay redirects from wss to unencrypted ws")
)

// StatusError is a relay that answered, but with no upgrade.
type StatusError struct {
	Code       int           // the HTTP status
	RetryAfter time.Duration // after which the relay wants to be asked again; 0 if it named none
}

func (e *StatusError) Error() string {
	return strings.TrimSpace("relay answered " + strconv.Itoa(e.Code) + " " + http.StatusText(e.Code))
}

// TLSError is a relay with which TLS does not come about.
type TLSError struct {
	Host string // the host and port of the relay
	Err  error
}

// Untrusted reports whether it is the relay's certificate that is refused.
func (e *TLSError) Untrusted() bool {
	var cert *tls.CertificateVerificationError
	return errors.As(e.Err, &cert)
}

func (e *TLSError) Error() string {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(e.Err, &cert):
		return fmt.Sprintf("the certificate of relay %s is not trusted: %v", e.Host, cert.Err)
	case errors.As(e.Err, &record):
		return fmt.Sprintf("relay %s does not speak TLS: if it has none, write ws://%s", e.Host, e.Host)
	}
	return fmt.Sprintf("TLS with relay %s: %v", e.Host, e.Err)
}

// Unwrap gives the cause.
func (e *TLSError) Unwrap() error { return e.Err }

// maxRetryAfter is the longest wait that is believed.
const maxRetryAfter = 24 * time.Hour

// statusError reads an answer that is no upgrade.
func statusError(answer *http.Response) *StatusError {
	e := &StatusError{Code: answer.StatusCode}
	text := answer.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		e.RetryAfter = max(0, time.Until(at))
	}
	e.RetryAfter = min(e.RetryAfter, maxRetryAfter)
	return e
}
