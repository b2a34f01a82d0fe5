// Package handshake is the opening handshake of WebSocket (RFC 6455, section 4)
// at both ends. A library speaks it; what comes out is a connection with our
// own frames, package ws, on the bare socket. It knows no tokens and no dialects.
//
// No extension is negotiated, and so no compression.
package handshake

import "time"

const (
	// hopTimeout bounds one attempt of a Dial, from connecting to the answer, and
	// the writing of the answer in Accept.
	hopTimeout = 10 * time.Second
	// maxRedirects is how many redirects a Dial follows.
	maxRedirects = 5
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 16 << 10
)
