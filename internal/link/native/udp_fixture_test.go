package native

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/site"
)

// deaf is a target that says and takes nothing until it is closed.
type deaf struct{ closed chan struct{} }

func (d deaf) Read([]byte) (int, error) {
	<-d.closed
	return 0, net.ErrClosed
}

func (d deaf) Write([]byte) (int, error) { return d.Read(nil) }

func (d deaf) Close() error {
	select {
	case <-d.closed:
		return net.ErrClosed
	default:
		close(d.closed)
		return nil
	}
}

func (d deaf) CloseWrite() error                { return nil }
func (d deaf) LocalAddr() net.Addr              { return addr("deaf") }
func (d deaf) RemoteAddr() net.Addr             { return addr("deaf") }
func (d deaf) SetDeadline(time.Time) error      { return nil }
func (d deaf) SetReadDeadline(time.Time) error  { return nil }
func (d deaf) SetWriteDeadline(time.Time) error { return nil }

// packet is a datagram and where it goes to or comes from.
type packet struct {
	payload string
	host    string
	port    uint16
}

// udpSite makes associations in memory.
type udpSite struct {
	hang bool // until the context ends
	err  error

	mu   sync.Mutex // guards below
	made []*udpTarget
}

func (s *udpSite) Associate(ctx context.Context) (site.Association, error) {
	if s.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &udpTarget{sent: make(chan packet, 4096), came: make(chan packet, 4096), next: make(chan packet, 1), closed: make(chan struct{})}
	s.made = append(s.made, a)
	return a, nil
}

// only gives the one association that was made.
func (s *udpSite) only(t testing.TB) *udpTarget {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.made) != 1 {
		t.Fatalf("%d associations", len(s.made))
	}
	return s.made[0]
}

type udpTarget struct {
	sent   chan packet // by the session
	came   chan packet // for it
	next   chan packet // what Await took of it
	closed chan struct{}
	once   sync.Once
}

func (a *udpTarget) Send(p []byte, host string, port uint16) error {
	if host == "refused.test" {
		return &site.DialError{Reason: site.Denied, Address: host, Err: errors.New("not there")}
	}
	a.sent <- packet{string(p), host, port}
	return nil
}

func (a *udpTarget) Await() error {
	select {
	case d := <-a.came:
		a.next <- d
		return nil
	case <-a.closed:
		return net.ErrClosed
	}
}

// Receive is called after Await.
func (a *udpTarget) Receive(p []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-a.next:
		return copy(p, d.payload), netip.AddrPortFrom(netip.MustParseAddr(d.host), d.port), nil
	default:
		return 0, netip.AddrPort{}, io.ErrNoProgress
	}
}

func (a *udpTarget) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}
