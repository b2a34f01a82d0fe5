package peer

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/socks5"
)

const (
	// maxConnections bounds how many SOCKS clients there are at a time; more
	// wait in the system's backlog.
	maxConnections = 8192
	// dialTimeout bounds all of a dial: the wait for a link, and for the answer
	// of one that comes up last.
	dialTimeout = linkWait + answerTimeout
)

// serveSOCKS opens the SOCKS port and serves it until ctx ends.
func (p *peer) serveSOCKS(ctx context.Context) {
	if !p.o.NoWait {
		if _, err := p.links.await(ctx, nil); err != nil {
			return
		}
	}
	ln, err := p.o.Listen(ctx)
	if err != nil {
		p.fail(ctx, listenError(err))
		return
	}
	defer func() { _ = ln.Close() }() // mostly it is closed by now
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	if p.ready(ctx, ln.Addr()) {
		p.accept(ctx, ln)
	}
}

// accept serves SOCKS clients until the port is closed.
func (p *peer) accept(ctx context.Context, ln pipe.Listener) {
	proxy := &socks5.Proxy{Server: p.o.SOCKS, Dial: p.links.Dial, UDP: &p.links, UDPIdle: p.o.UDPIdle, DialTimeout: dialTimeout}
	if p.o.FastOpen {
		proxy.DialEarly = p.links.DialEarly
	}
	slots := make(chan struct{}, maxConnections)
	var pause time.Duration
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		client, err := ln.Accept()
		if err == nil {
			pause = 0
			p.group.Go(func() {
				p.carry(ctx, proxy, client)
				<-slots
			})
			continue
		}
		<-slots
		if errors.Is(err, net.ErrClosed) {
			p.fail(ctx, &api.Error{Code: api.CodeListenDenied, Message: "the SOCKS port was closed", Err: err})
			return
		}
		// Out of file descriptors, mostly: what is open goes on, and ends.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// carry serves one SOCKS client.
func (p *peer) carry(ctx context.Context, proxy *socks5.Proxy, client pipe.Conn) {
	err := proxy.Serve(ctx, client, nil)
	if err != nil && ctx.Err() == nil && !pipe.IsEnd(err) {
		p.log.Debug("a SOCKS connection ended with an error", "error", p.clean(err.Error()))
	}
}
