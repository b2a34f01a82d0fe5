package demo

import (
	"context"
	"net/http"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/client"
)

const callTimeout = 30 * time.Second // well above the 8 s of a start

// caller furnishes the demo by the control API.
type caller struct {
	*client.Client
	http *http.Client

	freePort func(context.Context) (int, error)
}

// newCaller does not share the default transport, so that close can end all of
// its connections and no others.
func newCaller(url string) (*caller, error) {
	through := &http.Client{Transport: new(http.Transport), Timeout: callTimeout}
	c, err := client.New(url, through)
	return &caller{Client: c, http: through, freePort: freePort}, err
}

func (c *caller) close() { c.http.CloseIdleConnections() }

// as has the caller send a token.
func (c *caller) as(token api.Secret) { c.Client = c.WithToken(token) }
