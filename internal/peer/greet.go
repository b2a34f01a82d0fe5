package peer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/ws"
)

const (
	// hashPath is the URL path with which the token's hash goes into the query.
	hashPath = "/socket"
	// authTimeout is how long the relay may take to say whether it knows us.
	authTimeout = 10 * time.Second
)

var errNoAnswer = errors.New("the relay did not say within 10 seconds whether it takes the token")

// refusal is a relay that does not take our token.
type refusal struct{ cause string }

func (e *refusal) Error() string {
	if e.cause == "" {
		return "authentication failed"
	}
	return "authentication failed: " + e.cause
}

// connect makes a connection on which the relay knows us.
func (p *peer) connect(ctx context.Context) (*ws.Conn, error) {
	target, hashed := p.target()
	conn, _, err := p.o.Dialer.Dial(ctx, target, ws.Config{Client: true, WriteTimeout: linksocks.WriteTimeout})
	if err != nil {
		return nil, err
	}
	if err := p.authenticate(ctx, conn, hashed); err != nil {
		_ = conn.Close() // it may be closed already, for being late
		return nil, err
	}
	return conn, nil
}

// target is the URL that is dialled; hashed says that the token's hash is in it.
func (p *peer) target() (u *url.URL, hashed bool) {
	if p.o.URL.Path != hashPath {
		return p.o.URL, false
	}
	target := *p.o.URL
	query := target.Query()
	query.Set("instance", p.instance.String())
	query.Set("reverse", strconv.FormatBool(p.o.Role == Provider))
	query.Set("token", linksocks.HashToken(p.token()).Reveal())
	target.RawQuery = query.Encode()
	return &target, true
}

// authenticate has the relay say that it knows us, within 10 seconds.
func (p *peer) authenticate(ctx context.Context, conn *ws.Conn, hashed bool) error {
	bounded, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	closed := make(chan struct{})
	stop := context.AfterFunc(bounded, func() {
		defer close(closed)
		_ = conn.Close()
	})
	err := p.exchange(conn, hashed)
	if stop() {
		return err
	}
	<-closed
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil, bounded.Err() != nil:
		return errNoAnswer
	}
	return err
}

func (p *peer) exchange(conn *ws.Conn, hashed bool) error {
	if !hashed {
		auth := linksocks.Auth{Token: p.token(), Reverse: p.o.Role == Provider, Instance: p.instance}
		if err := linksocks.SendAuth(conn, auth); err != nil {
			return fmt.Errorf("send the token: %w", err)
		}
	}
	answer, err := linksocks.ReadAuthResponse(conn)
	if err != nil {
		return fmt.Errorf("read the answer to the token: %w", err)
	}
	if !answer.OK {
		return &refusal{p.clean(answer.Cause)}
	}
	return nil
}
