package peer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/native"
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
// dialect is the one that it chose.
func (p *peer) connect(ctx context.Context) (conn *ws.Conn, dialect string, err error) {
	target, hashed := p.target()
	conn, dialect, err = p.o.Dialer.Dial(ctx, target, ws.Config{Client: true, WriteTimeout: wire.WriteTimeout})
	if err != nil {
		return nil, "", err
	}
	greet := p.greetLinksocks
	if dialect == native.Subprotocol {
		greet = p.greetNative
	}
	if err := p.authenticate(ctx, conn, func() error { return greet(conn, hashed) }); err != nil {
		_ = conn.Close() // it may be closed already, for being late
		return nil, "", err
	}
	return conn, dialect, nil
}

// target is the URL that is dialled; hashed says that the token's hash is in it.
func (p *peer) target() (u *url.URL, hashed bool) {
	if p.o.URL.Path != hashPath {
		return p.o.URL, false
	}
	target := *p.o.URL
	query := target.Query()
	query.Set("instance", p.instance.String())
	if p.o.Role != Either {
		query.Set("reverse", strconv.FormatBool(p.o.Role == Provider))
	}
	query.Set("token", linksocks.HashToken(p.token()).Reveal())
	target.RawQuery = query.Encode()
	return &target, true
}

// authenticate has the relay say that it knows us, within 10 seconds.
func (p *peer) authenticate(ctx context.Context, conn *ws.Conn, greet func() error) error {
	bounded, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	closed := make(chan struct{})
	stop := context.AfterFunc(bounded, func() {
		defer close(closed)
		_ = conn.Close()
	})
	err := greet()
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

// greetNative says who we are in our own dialect.
func (p *peer) greetNative(conn *ws.Conn, hashed bool) error {
	hello := native.Hello{Role: native.User, Instance: p.instance}
	switch p.o.Role {
	case Provider:
		hello.Role = native.Provider
	case Either:
		hello.Role = native.AnyRole
	}
	if !hashed {
		hello.Token = p.token()
	}
	if err := native.SendHello(conn, hello); err != nil {
		return fmt.Errorf("send the greeting: %w", err)
	}
	err := native.ReadWelcome(conn)
	if no, ok := errors.AsType[*native.RefusedError](err); ok {
		return &refusal{p.clean(no.Error())}
	}
	if err != nil {
		return fmt.Errorf("read the answer to the greeting: %w", err)
	}
	return nil
}

func (p *peer) greetLinksocks(conn *ws.Conn, hashed bool) error {
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
