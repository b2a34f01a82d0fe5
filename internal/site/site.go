// Package site says what a place in a network is: one that connections leave
// from and arrive at. It holds the interface and the place "here", this
// machine. SSH servers (sshsite) and the far ends of links are sites too.
package site

import (
	"context"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// A Site is a place in some network that connections leave from and arrive at.
type Site interface {
	// Dial connects to address ("host:port", IPv6 in brackets) as this place
	// sees it; names are resolved there. The error of a failed dial is a
	// *DialError.
	Dial(ctx context.Context, network, address string) (pipe.Conn, error)
	// Listen accepts connections at address, as this place sees it.
	Listen(ctx context.Context, network, address string) (pipe.Listener, error)
}

// Pending is a stream that may be written to before it is known whether its
// target can be reached. If it cannot, the stream fails.
type Pending interface {
	pipe.Conn
	// Opened waits for that. The error is a *DialError.
	Opened(ctx context.Context) error
}
