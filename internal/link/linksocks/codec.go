package linksocks

import "errors"

const (
	// MaxMessage is the length of the longest message that peers read. Append
	// and Envelope make no longer one.
	MaxMessage = 32 << 20

	// MaxAuth is the length of the longest first message that is looked at. A
	// true one has at most 275 bytes. The rest of the 16 KiB that somebody
	// unauthenticated may cost is for the buffers of HTTP and frames.
	MaxAuth = 4 << 10

	// maxJSON is the length of the longest JSON that is parsed or sent. Peers
	// send some hundred bytes.
	maxJSON = 64 << 10

	// maxText is what a length of one byte can say.
	maxText = 255
)

// A fault is one thing that can be wrong with a message.
type fault struct{ word, text string }

func (f *fault) Error() string { return f.text }

// What is wrong with a message that came. After any of these the link is to be
// closed, as stock peers do.
var (
	ErrShort      error = &fault{"short", "message ends too early"}
	ErrVersion    error = &fault{"version", "other major version"}
	ErrOp         error = &fault{"op", "unknown operation"}
	ErrGzip       error = &fault{"gzip", "bad gzip payload"}
	ErrJSON       error = &fault{"json", "bad JSON"}
	ErrTooLarge   error = &fault{"too_large", "too large"}
	ErrUnexpected error = &fault{"unexpected", "not the message that must come first"}
)

// What is wrong with a message that was to be sent; ErrOp and ErrTooLarge too.
var (
	ErrType    error = &fault{"type", "not a type for this message"}
	ErrProto   error = &fault{"proto", "unknown protocol"}
	ErrTooLong error = &fault{"too_long", "longer than 255 bytes"}
)

// MessageError is the error of all that reads and writes messages.
type MessageError struct {
	Type Type  // 0 when the message ended before it
	Err  error // wraps one of the Err… of this package
}

func (e *MessageError) Error() string { return "linksocks " + e.Type.String() + ": " + e.Err.Error() }

// Unwrap gives what is wrong.
func (e *MessageError) Unwrap() error { return e.Err }

// Reason is what is wrong as one of a few fixed words ("short", "version", …),
// fit for a metric's label, as Type.String is.
func (e *MessageError) Reason() string {
	var f *fault
	if errors.As(e.Err, &f) {
		return f.word
	}
	return "other"
}
