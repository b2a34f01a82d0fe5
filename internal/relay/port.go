package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/socks5"
)

const (
	// maxSOCKS is how many SOCKS connections one port may have at a time; more
	// wait in the system's backlog.
	maxSOCKS = 8192
	// bindRetry is how often a port is tried that could not be bound at start.
	bindRetry = time.Second
)

// port is the SOCKS port of a reverse token.
type port struct {
	hub   *Hub
	token *token
	n     int
	proxy socks5.Proxy
	slots chan struct{}
	done  sync.WaitGroup // of the accept loop

	mu     sync.Mutex // guards below
	ln     pipe.Listener
	closed bool
	gone   chan struct{} // closed with it
}

func (h *Hub) newPort(t *token, n int) *port {
	p := &port{hub: h, token: t, n: n, slots: make(chan struct{}, maxSOCKS), gone: make(chan struct{})}
	p.proxy = socks5.Proxy{
		Server:      socks5.Server{Username: t.Username, Password: t.Password},
		Dial:        p.dial,
		UDP:         associator(p.associate),
		UDPIdle:     h.opts.UDPIdle,
		DialTimeout: providerWait + reachTimeout + time.Second, // each part has its own
		Count:       h.Count,
	}
	if h.opts.FastOpen {
		p.proxy.DialEarly = p.dialEarly
	}
	return p
}

// associator is a function that is a site.Associator.
type associator func(ctx context.Context) (site.Association, error)

func (f associator) Associate(ctx context.Context) (site.Association, error) { return f(ctx) }

// wait is how long a connection of the port waits for a provider.
func (p *port) wait() time.Duration {
	if p.hub.opts.NoWait {
		return 0
	}
	return providerWait
}

func (p *port) dial(ctx context.Context, _, address string) (pipe.Conn, error) {
	return p.hub.dialThrough(ctx, p.token, address, p.wait(), false)
}

func (p *port) dialEarly(ctx context.Context, _, address string) (pipe.Conn, error) {
	return p.hub.dialThrough(ctx, p.token, address, p.wait(), true)
}

func (p *port) associate(ctx context.Context) (site.Association, error) {
	return p.hub.associateThrough(ctx, p.token, p.wait())
}

func (p *port) address() string { return net.JoinHostPort(p.hub.opts.SOCKSHost, strconv.Itoa(p.n)) }

// bind listens. The error is package net's.
func (p *port) bind(ctx context.Context) error {
	ln, err := new(site.Here).Listen(ctx, "tcp", p.address())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		ln.Close()
		return net.ErrClosed
	}
	p.ln = ln
	return nil
}

// serve accepts connections until the port is closed.
func (p *port) serve() { p.done.Go(func() { p.accept(p.ln) }) }

// bindLater binds the port of a token that was kept, and serves it. When
// something else has it, it is tried until that is gone: the token is worth
// more than an order of starts.
func (p *port) bindLater() {
	err := p.bind(p.hub.ctx)
	if err == nil {
		p.serve()
		return
	}
	p.hub.log.Error("a SOCKS port cannot be bound; it is tried again until it can", "address", p.address(), "error", err)
	p.hub.Count("port_bind_failed")
	p.done.Go(func() {
		for p.bind(p.hub.ctx) != nil {
			select {
			case <-time.After(bindRetry):
			case <-p.gone:
				return
			}
		}
		p.hub.log.Info("a SOCKS port is bound at last", "address", p.address())
		p.accept(p.ln)
	})
}

func (p *port) accept(ln pipe.Listener) {
	var pause time.Duration
	for {
		select {
		case p.slots <- struct{}{}:
		case <-p.gone:
			return
		}
		c, err := ln.Accept()
		if err == nil {
			pause = 0
			p.hub.group.Go(func() {
				defer func() { <-p.slots }()
				p.carry(c)
			})
			continue
		}
		<-p.slots
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of file descriptors, mostly: what is open goes on, and ends.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-p.gone:
			return
		}
	}
}

func (p *port) carry(c pipe.Conn) {
	err := p.proxy.Serve(p.token.ctx, c, &p.hub.metrics.meter)
	if err != nil && !pipe.IsEnd(err) {
		p.hub.log.Log(p.hub.ctx, slog.LevelDebug, "SOCKS connection ended with an error", "port", p.n, "error", err)
	}
}

// close stops listening; when it returns, the port is free. What was accepted
// goes on until its token's context ends.
func (p *port) close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.gone)
		if p.ln != nil {
			p.ln.Close()
		}
	}
	p.mu.Unlock()
	p.done.Wait()
}
