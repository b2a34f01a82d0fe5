package socks5

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

// datagramBuffer has room for every datagram that there can be, with a header.
type datagramBuffer [maxDatagramHeader + 1<<16]byte

var datagramBuffers = sync.Pool{New: func() any { return new(datagramBuffer) }}

// association is a client's UDP association (RFC 1928, section 7).
type association struct {
	near  *site.UDPSocket // toward the client
	far   site.Association
	count func(event string)
	meter *pipe.Meter

	clientIP netip.Addr
	client   atomic.Pointer[netip.AddrPort] // nil until its port is known

	begunAt time.Time
	used    atomic.Int64 // when a datagram passed last, in nanoseconds since begunAt
}

// associate answers a UDP ASSOCIATE and carries datagrams until the control
// connection or ctx ends, the association fails, or it is idle for too long.
// The first and the last are no errors.
func (p *Proxy) associate(ctx context.Context, client pipe.Conn, req Request, m *pipe.Meter) error {
	a, err := p.openAssociation(ctx, client, req)
	if err != nil {
		return refuse(client, ReplyTo(err), err)
	}
	a.meter = m
	if err := WriteReply(client, Succeeded, a.near.Addr()); err != nil {
		a.close()
		pipe.Reset(client)
		return err
	}
	ended := make(chan error, 3)
	var running sync.WaitGroup
	running.Go(func() { ended <- readControl(client) })
	running.Go(func() { ended <- a.carryOut() })
	running.Go(func() { ended <- a.carryIn() })
	err = p.await(ctx, a, ended)
	a.close()
	if err != nil {
		pipe.Reset(client)
	}
	_ = client.Close()
	running.Wait()
	return err
}

// openAssociation opens the two sockets.
func (p *Proxy) openAssociation(ctx context.Context, client pipe.Conn, req Request) (*association, error) {
	ctx, cancel := context.WithTimeout(ctx, p.dialTimeout())
	defer cancel()
	far, err := p.UDP.Associate(ctx)
	if err != nil {
		return nil, err
	}
	local, remote := endpoints(client)
	near, err := site.ListenUDP(ctx, netip.AddrPortFrom(local, 0))
	if err != nil {
		_ = far.Close()
		return nil, err
	}
	a := &association{near: near, far: far, count: p.count, clientIP: remote, begunAt: time.Now()}
	if from, err := netip.ParseAddr(req.Host); err == nil && req.Port != 0 &&
		(from.IsUnspecified() || from.Unmap() == remote.WithZone("")) {
		a.pin(netip.AddrPortFrom(remote, req.Port))
	}
	return a, nil
}

// endpoints gives the IP addresses of a control connection. Where it has none,
// its client is taken to be on this machine.
func endpoints(c net.Conn) (local, remote netip.Addr) {
	local, remote = ipOf(c.LocalAddr()), ipOf(c.RemoteAddr())
	for _, ip := range []netip.Addr{local, remote} {
		if !ip.IsValid() || ip.IsUnspecified() {
			loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			return loopback, loopback
		}
	}
	return local, remote
}

func ipOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// await returns when one of the parts of an association has ended, and why.
func (p *Proxy) await(ctx context.Context, a *association, ended <-chan error) error {
	idle := p.UDPIdle
	if idle <= 0 {
		idle = defaultUDPIdle
	}
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		left := idle - (time.Since(a.begunAt) - time.Duration(a.used.Load()))
		if left <= 0 {
			p.count("udp_idle")
			return nil
		}
		timer.Reset(left)
	}
}

// readControl waits for the end of a control connection. What a client says on
// it means nothing.
func readControl(c net.Conn) error {
	var buf [64]byte
	for {
		if _, err := c.Read(buf[:]); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

// carryOut carries datagrams from the client to their targets.
func (a *association) carryOut() error {
	for {
		if err := a.near.Await(); err != nil {
			return err
		}
		if err := a.carryOneOut(); err != nil {
			return err
		}
	}
}

// carryOneOut takes one datagram. Only what ends the association is an error.
func (a *association) carryOneOut() error {
	buf := datagramBuffers.Get().(*datagramBuffer)
	defer datagramBuffers.Put(buf)
	n, from, err := a.near.Receive(buf[:])
	if err != nil {
		return err
	}
	if !a.isClient(from) {
		a.count("udp_foreign")
		return nil
	}
	d, err := ParseDatagram(buf[:n])
	switch {
	case err == nil:
	case errors.Is(err, ErrFragment):
		a.count("udp_fragment")
		return nil
	default:
		a.count("udp_malformed")
		return nil
	}
	a.pin(from)
	a.touch()
	err = a.far.Send(d.Payload, d.Host, d.Port)
	switch {
	case err == nil:
		a.meter.In.Add(int64(len(d.Payload)))
	case errors.Is(err, net.ErrClosed):
		return err
	case site.ReasonOf(err) == site.Denied:
		a.count("udp_denied")
	default:
		a.count("udp_unsent")
	}
	return nil
}

// isClient reports whether a datagram is the client's own. Anyone may send to
// the port, and what is let through leaves with the client's rights.
func (a *association) isClient(from netip.AddrPort) bool {
	pinned := a.client.Load()
	return from.Addr() == a.clientIP && (pinned == nil || from.Port() == pinned.Port())
}

// pin takes from for the client's address for the rest of the association's
// life, if none is known.
func (a *association) pin(from netip.AddrPort) {
	if a.client.Load() == nil {
		a.client.Store(&from)
	}
}

// carryIn carries datagrams from anywhere to the client.
func (a *association) carryIn() error {
	for {
		if err := a.far.Await(); err != nil {
			return err
		}
		if err := a.carryOneIn(); err != nil {
			return err
		}
	}
}

func (a *association) carryOneIn() error {
	buf := datagramBuffers.Get().(*datagramBuffer)
	defer datagramBuffers.Put(buf)
	n, from, err := a.far.Receive(buf[maxDatagramHeader:])
	if err != nil {
		return err
	}
	client := a.client.Load()
	if client == nil {
		a.count("udp_early")
		return nil
	}
	var space [maxDatagramHeader]byte
	header := AppendDatagramHeader(space[:0], from)
	start := maxDatagramHeader - len(header)
	copy(buf[start:], header)
	err = a.near.SendTo(buf[start:maxDatagramHeader+n], *client)
	switch {
	case err == nil:
		a.meter.Out.Add(int64(n))
		a.touch()
	case errors.Is(err, net.ErrClosed):
		return err
	default:
		a.count("udp_unsent")
	}
	return nil
}

func (a *association) touch() { a.used.Store(int64(time.Since(a.begunAt))) }

// close ends carryOut and carryIn.
func (a *association) close() {
	_ = a.near.Close()
	_ = a.far.Close()
}
