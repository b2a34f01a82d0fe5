package site

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// maxResolving is how many names of one association are resolved at a
	// time; datagrams to others are lost meanwhile.
	maxResolving = 16
	// maxWaiting is how many datagrams wait for one name.
	maxWaiting = 8
	// maxWaitingBytes is what all datagrams of an association that wait for
	// names hold together.
	maxWaitingBytes = 256 << 10
	// maxNames is how many names an association remembers.
	maxNames = 64
	// maxName is the longest name there can be (RFC 1035, section 2.3.4), in bytes.
	maxName = 255

	resolveTimeout = 10 * time.Second
	// nameLifetime is how long a name keeps the addresses that it was resolved
	// to, and so its datagrams their target.
	nameLifetime = time.Minute
	// failureLifetime is how long a name that was not found is not asked for again.
	failureLifetime = 5 * time.Second
)

var (
	errPortZero = errors.New("there is no port 0")
	errNoFamily = errors.New("there is no address of a family that this machine has")
	errLongName = errors.New("the name is too long")
)

// Associate opens a UDP association from this machine: one socket, for IPv6
// and IPv4 where the machine has both. A name is resolved once a minute at the
// most; its datagrams go to the first of its addresses that Check allows.
func (h *Here) Associate(ctx context.Context) (Association, error) {
	socket, err := ListenUDP(ctx, netip.AddrPort{})
	if err != nil {
		return nil, &DialError{Reason: ReasonOf(err), Address: "udp", Err: err}
	}
	return newAssociation(socket, h.Check, net.DefaultResolver.LookupNetIP), nil
}

// association is a UDP association of this machine.
type association struct {
	*UDPSocket
	ask    func(name string, addr netip.AddrPort) error // may be nil
	lookup func(ctx context.Context, network, name string) ([]netip.Addr, error)
	six    bool // the socket has IPv6 too

	ctx     context.Context // ends with the association
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu           sync.Mutex // guards below
	closed       bool
	names        map[string]*name
	resolving    int
	waitingBytes int
}

// name is what is known of one.
type name struct {
	resolved bool // and then the two below are final
	addrs    []netip.Addr
	err      error
	expires  time.Time
	waiting  []waiting // until it is resolved
}

// waiting is a datagram to a name that is being resolved.
type waiting struct {
	p    []byte
	port uint16
}

func newAssociation(s *UDPSocket, check func(string, netip.AddrPort) error,
	lookup func(context.Context, string, string) ([]netip.Addr, error)) *association {
	a := &association{UDPSocket: s, ask: check, lookup: lookup, six: !s.Addr().Addr().Is4(), names: map[string]*name{}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Send sends to an address at once. A datagram to a name that was not resolved
// lately waits for that, and is lost when too much waits; what is wrong with
// its target then shows only in the error of a later Send.
func (a *association) Send(p []byte, host string, port uint16) error {
	if port == 0 {
		return sendError(host, port, errPortZero)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return sendError(host, port, a.deliver(p, "", []netip.Addr{ip}, port))
	}
	if len(host) > maxName {
		return &DialError{Reason: NameNotFound, Address: "a name", Err: errLongName}
	}
	addrs, known, err := a.find(host, p, port)
	if known && err == nil {
		err = a.deliver(p, host, addrs, port)
	}
	return sendError(host, port, err)
}

// Close ends the association and waits for the names that are being resolved.
func (a *association) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	err := a.UDPSocket.Close()
	a.running.Wait()
	return err
}

// deliver sends to the first address that is allowed and can be sent to, asked
// for by name unless that is empty.
func (a *association) deliver(p []byte, name string, addrs []netip.Addr, port uint16) error {
	var refusal error
	for _, ip := range addrs {
		to := netip.AddrPortFrom(ip.Unmap(), port)
		if !a.six && !to.Addr().Is4() {
			continue
		}
		err := a.check(name, to)
		if err == nil {
			err = a.SendTo(p, to)
		}
		if err == nil {
			return nil
		}
		if refusal == nil {
			refusal = err
		}
	}
	if refusal == nil {
		refusal = &DialError{Reason: NetworkUnreachable, Err: errNoFamily}
	}
	return refusal
}

func (a *association) check(name string, to netip.AddrPort) error {
	if a.ask == nil {
		return nil
	}
	err := a.ask(name, to)
	var dial *DialError
	if err == nil || errors.As(err, &dial) {
		return err
	}
	return &DialError{Reason: Denied, Err: err}
}

// find gives the addresses of a name, if they are known. Else p is kept until
// they are, if there is room.
func (a *association) find(host string, p []byte, port uint16) (addrs []netip.Addr, known bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, false, net.ErrClosed
	}
	n := a.names[host]
	switch {
	case n != nil && n.resolved && time.Now().Before(n.expires):
		return n.addrs, true, n.err
	case n == nil || n.resolved:
		if a.resolving == maxResolving {
			return nil, false, nil
		}
		n = new(name)
		a.rememberLocked(host, n)
		a.resolving++
		a.running.Go(func() { a.resolve(host, n) })
	}
	if len(n.waiting) < maxWaiting && a.waitingBytes+len(p) <= maxWaitingBytes {
		n.waiting = append(n.waiting, waiting{append([]byte(nil), p...), port})
		a.waitingBytes += len(p)
	}
	return nil, false, nil
}

// rememberLocked makes room for a name. There is always one to forget: fewer
// than there is room for are being resolved.
func (a *association) rememberLocked(host string, n *name) {
	delete(a.names, host)
	if len(a.names) == maxNames {
		var oldest string
		for host, n := range a.names {
			if n.resolved && (oldest == "" || n.expires.Before(a.names[oldest].expires)) {
				oldest = host
			}
		}
		delete(a.names, oldest)
	}
	a.names[host] = n
}

// resolve resolves a name and sends what waited for it. Of that, what cannot be
// sent is lost, and nobody is left to be told.
func (a *association) resolve(host string, n *name) {
	ctx, cancel := context.WithTimeout(a.ctx, resolveTimeout)
	defer cancel()
	addrs, err := a.lookup(ctx, "ip", host)
	// A connection would find out which family works. A datagram does not, and
	// of hosts with both, localhost among them, more listen on IPv4 alone than
	// on IPv6 alone.
	slices.SortStableFunc(addrs, func(x, y netip.Addr) int { return cmp.Compare(x.Unmap().BitLen(), y.Unmap().BitLen()) })

	a.mu.Lock()
	n.resolved, n.addrs, n.err = true, addrs, err
	n.expires = time.Now().Add(nameLifetime)
	if err != nil {
		n.expires = time.Now().Add(failureLifetime)
	}
	a.resolving--
	queue := n.waiting
	n.waiting = nil
	for _, w := range queue {
		a.waitingBytes -= len(w.p)
	}
	a.mu.Unlock()
	if err != nil {
		return
	}
	for _, w := range queue {
		_ = a.deliver(w.p, host, addrs, w.port)
	}
}

// sendError makes an error one of those that Send is to return.
func sendError(host string, port uint16, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	reason := ReasonOf(err)
	var dial *DialError
	if errors.As(err, &dial) {
		err = dial.Err
	}
	return &DialError{Reason: reason, Address: net.JoinHostPort(host, strconv.Itoa(int(port))), Err: err}
}
