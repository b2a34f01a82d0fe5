package peer

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
)

// connectorTimeout is how long the relay may take to add a connector token.
const connectorTimeout = 10 * time.Second

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
		answer, err := p.addConnector(ctx, l, added)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, linksocks.ErrLinkLost):
			continue
		case errors.Is(err, errNoConnectorAnswer):
			l.end(err)
		case err != nil: // it cannot be sent at all
			p.fail(ctx, err)
			return
		case !answer.OK:
			p.fail(ctx, p.connectorError(answer.Cause))
			return
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
func (p *peer) addConnector(ctx context.Context, l *link, ours bool) (linksocks.ConnectorResponse, error) {
	answer, err := p.ask(ctx, l, linksocks.OpAdd)
	if err != nil || answer.OK || !ours {
		return answer, err
	}
	if removed, err := p.ask(ctx, l, linksocks.OpRemove); err != nil || !removed.OK {
		return answer, err
	}
	return p.ask(ctx, l, linksocks.OpAdd)
}

// ask sends the relay a wish about the connector token and waits for its answer.
func (p *peer) ask(ctx context.Context, l *link, op linksocks.Op) (linksocks.ConnectorResponse, error) {
	wish := linksocks.Connector{Request: uuid.New(), Token: p.o.ConnectorToken, Op: op}
	if err := l.Send(wish); err != nil {
		return linksocks.ConnectorResponse{}, err
	}
	limit := time.NewTimer(connectorTimeout)
	defer limit.Stop()
	for {
		select {
		case answer := <-l.answers:
			if answer.Request == wish.Request {
				return answer, nil
			}
		case <-l.Done():
			return linksocks.ConnectorResponse{}, linksocks.ErrLinkLost
		case <-limit.C:
			return linksocks.ConnectorResponse{}, errNoConnectorAnswer
		case <-ctx.Done():
			return linksocks.ConnectorResponse{}, ctx.Err()
		}
	}
}

func (p *peer) connectorError(cause string) error {
	e := &api.Error{Code: api.CodeForbidden, Message: "the relay refuses the connector token",
		Hint: "the relay must let this provider's token manage connectors, and nobody else may have the connector token"}
	if cause != "" {
		e.Message += ": " + p.clean(cause)
	}
	return e
}
