package proxy

import (
	"context"
	"errors"
	"strconv"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// ErrListen is for listening at the place behind a proxy.
var ErrListen = errors.New("a proxy connects only: it does not listen")

// Site is the place that a proxy's connections leave from. It takes no
// datagrams: it is no site.Associator.
type Site struct {
	Proxy *Proxy
	// Check refuses a target. It is asked with the host as it will be sent, an
	// IP address or a name that the proxy resolves. nil allows all.
	Check func(host string, port uint16) error
}

var _ site.Site = (*Site)(nil)

// Dial connects to address through the proxy, if Check allows it, as Proxy.Dial does.
func (s *Site) Dial(ctx context.Context, network, address string) (pipe.Conn, error) {
	if s.Check == nil {
		return s.Proxy.Dial(ctx, network, address)
	}
	t, err := parseTarget(network, address)
	if err != nil {
		return nil, &site.DialError{Reason: site.Other, Address: strconv.QuoteToASCII(address), Err: err}
	}
	if err := s.Check(t.host, t.port); err != nil {
		var refused *site.DialError
		if errors.As(err, &refused) {
			err = refused.Err // so that the target is named once
		}
		return nil, &site.DialError{Reason: site.Denied, Address: address, Err: err}
	}
	return s.Proxy.Dial(ctx, network, address)
}

// Listen fails with ErrListen.
func (s *Site) Listen(context.Context, string, string) (pipe.Listener, error) { return nil, ErrListen }
