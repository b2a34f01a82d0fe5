package peer

import (
	"context"
	"errors"

	"github.com/adit-tunnel/adit/api"
	wire "github.com/adit-tunnel/adit/internal/link"
)

var errNoConnectorAnswer = errors.New("the relay did not say within 10 seconds whether it takes the connector token")

// keepConnector has the relay add the connector token over one link, and again
// over another when that one is lost: a stock relay has connectors reach no
// link but the one that it was added over.
func (p *peer) keepConnector(ctx context.Context) {
	for added := false; ; {
		l, err := p.links.await(ctx, nil)
		if err != nil {
			return
		}
		err = p.addConnector(ctx, l, added)
		no, refused := errors.AsType[*wire.RefusedError](err)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, wire.ErrLost):
			continue
		case refused:
			p.fail(ctx, p.connectorError(no.Text))
			return
		case err != nil:
			l.end(errNoConnectorAnswer)
		case !added:
			added = true
			p.log.Info("the relay took the connector token")
			if !p.ready(ctx, nil) {
				return
			}
		}
		select {
		case <-l.Done():
		case <-ctx.Done():
			return
		}
	}
}

// addConnector asks the relay to add the token. A stock relay forgets whose a
// token is as soon as its link is lost, and refuses to add it again: one that
// was ours is removed then first.
func (p *peer) addConnector(ctx context.Context, l *link, ours bool) error {
	wish := wire.Wish{Token: p.o.ConnectorToken}
	_, err := l.Manage(ctx, wish)
	if _, refused := errors.AsType[*wire.RefusedError](err); !refused || !ours {
		return err
	}
	if _, gone := l.Manage(ctx, wire.Wish{Remove: true, Token: p.o.ConnectorToken}); gone != nil {
		return err
	}
	_, err = l.Manage(ctx, wish)
	return err
}

func (p *peer) connectorError(cause string) error {
	e := &api.Error{Code: api.CodeForbidden, Message: "the relay refuses the connector token",
		Hint: "the relay must let this provider's token manage connectors, and nobody else may have the connector token"}
	if cause != "" {
		e.Message += ": " + p.clean(cause)
	}
	return e
}
