package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo answers every datagram to an address of this machine with itself.
func echo(t *testing.T, ip string) netip.AddrPort {
	t.Helper()
	s, err := ListenUDP(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(ip), 0))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = s.Close(); serving.Wait() })
	serving.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := s.Receive(buf)
			if err != nil {
				return
			}
			if err := s.SendTo(buf[:n], from); err != nil {
				t.Errorf("echo: %v", err)
			}
		}
	})
	return s.Addr()
}

func associate(t *testing.T, h *Here) Association {
	t.Helper()
	a, err := h.Associate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// comesBack sends to an echo and wants its answer next.
func comesBack(t *testing.T, a Association, host string, port uint16, text []byte, from netip.AddrPort) {
	t.Helper()
	if err := a.Send(text, host, port); err != nil {
		t.Fatalf("send to %s: %v", host, err)
	}
	if err := a.(*association).Await(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, source, err := a.Receive(buf)
	if err != nil || source != from || !bytes.Equal(buf[:n], text) {
		t.Fatalf("%s: got %d bytes from %v, %v; want %d from %v", host, n, source, err, len(text), from)
	}
}

func TestOneAssociationReachesBothFamilies(t *testing.T) {
	t.Parallel()
	four := echo(t, "127.0.0.1")
	a := associate(t, new(Here))
	comesBack(t, a, "127.0.0.1", four.Port(), []byte("four"), four)
	comesBack(t, a, "::ffff:127.0.0.1", four.Port(), []byte("mapped"), four)
	comesBack(t, a, "127.0.0.1", four.Port(), nil, four)
	comesBack(t, a, "127.0.0.1", four.Port(), bytes.Repeat([]byte("x"), 65507), four)
	if !hasIPv6() {
		t.Skip("this machine has no ::1: of IPv6 nothing was seen")
	}
	six := echo(t, "::1")
	comesBack(t, a, "::1", six.Port(), []byte("six"), six)
}

// resolver answers with addresses for names, and only when it may.
type resolver struct {
	addrs map[string][]netip.Addr
	gate  chan struct{} // closed: may answer

	mu    sync.Mutex // guards below
	asked []string
}

func (r *resolver) lookup(ctx context.Context, _, name string) ([]netip.Addr, error) {
	r.mu.Lock()
	r.asked = append(r.asked, name)
	r.mu.Unlock()
	select {
	case <-r.gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if addrs := r.addrs[name]; addrs != nil {
		return addrs, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (r *resolver) times(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, asked := range r.asked {
		if asked == name {
			n++
		}
	}
	return n
}

// resolving makes an association whose names the resolver answers.
func resolving(t *testing.T, r *resolver, check func(string, netip.AddrPort) error) *association {
	t.Helper()
	s, err := ListenUDP(t.Context(), netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	a := newAssociation(s, check, r.lookup)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

var loopback4 = netip.MustParseAddr("127.0.0.1")

func TestANameIsSentToWhereTheSystemResolvesIt(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	policy := asked{refuse: func(addr netip.AddrPort) error {
		if addr == target {
			return nil
		}
		return denyAll(addr)
	}}
	a := associate(t, &Here{Check: policy.check})
	comesBack(t, a, "localhost", target.Port(), []byte("hello"), target)
	policy.mu.Lock()
	defer policy.mu.Unlock()
	if last := len(policy.addrs) - 1; policy.names[last] != "localhost" || policy.addrs[last] != target {
		t.Errorf("asked about %q at %v last, sent to %v", policy.names, policy.addrs, target)
	}
}

func TestANameIsResolvedOnceAndSentToTheAddressThatWasAllowed(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	var policy asked
	policy.refuse = func(addr netip.AddrPort) error {
		if addr.Addr() != loopback4 {
			return denyAll(addr)
		}
		return nil
	}
	r := &resolver{gate: make(chan struct{}), addrs: map[string][]netip.Addr{
		"db.test": {netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("127.0.0.8")},
	}}
	close(r.gate)
	a := resolving(t, r, policy.check)
	for range 3 {
		comesBack(t, a, "db.test", target.Port(), []byte("hello"), target)
	}
	if n := r.times("db.test"); n != 1 {
		t.Errorf("resolved %d times", n)
	}
	policy.mu.Lock()
	defer policy.mu.Unlock()
	if want := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), target.Port()), target}; !slices.Equal(policy.addrs[:2], want) || len(policy.addrs) != 6 {
		t.Errorf("asked about %v", policy.addrs)
	}
}

func TestSendDoesNotWaitForANameAndKeepsALimitedNumberOfDatagrams(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	r := &resolver{gate: make(chan struct{}), addrs: map[string][]netip.Addr{"slow.test": {loopback4}, "late.test": {loopback4}}}
	a := resolving(t, r, nil)
	text := make([]byte, 1)
	for i := range maxWaiting + 3 {
		text[0] = byte(i)
		if err := a.Send(text, "slow.test", target.Port()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxResolving + 5 { // slow.test is one of those that fit
		if err := a.Send(text, fmt.Sprintf("n%d.test", i), target.Port()); err != nil {
			t.Fatal(err)
		}
	}
	a.mu.Lock()
	if len(a.names) != maxResolving || a.resolving != maxResolving || a.waitingBytes != maxWaiting+maxResolving-1 {
		t.Errorf("%d names, %d being resolved, %d bytes wait", len(a.names), a.resolving, a.waitingBytes)
	}
	a.mu.Unlock()
	close(r.gate)
	buf := make([]byte, 10)
	for i := range maxWaiting {
		if n, from, err := a.Receive(buf); err != nil || n != 1 || from != target || buf[0] != byte(i) {
			t.Fatalf("answer %d: % x from %v, %v", i, buf[:n], from, err)
		}
	}
	// The next is this one: what had no room was lost.
	comesBack(t, a, "slow.test", target.Port(), []byte("next"), target)
	a.running.Wait()
	if a.waitingBytes != 0 || a.resolving != 0 {
		t.Errorf("in the end %d bytes wait, and %d names are being resolved", a.waitingBytes, a.resolving)
	}
}

func TestWhatWaitsForNamesIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	r := &resolver{gate: make(chan struct{})}
	a := resolving(t, r, nil)
	for i := range 10 {
		if err := a.Send(make([]byte, 60000), fmt.Sprintf("n%d.test", i), 9); err != nil {
			t.Fatal(err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waitingBytes != 4*60000 {
		t.Errorf("%d bytes wait", a.waitingBytes)
	}
}

func TestTheNamesOfAnAssociationAreForgottenOldestFirst(t *testing.T) {
	t.Parallel()
	r := &resolver{gate: make(chan struct{}), addrs: map[string][]netip.Addr{}}
	close(r.gate)
	target := echo(t, "127.0.0.1")
	a := resolving(t, r, nil)
	for i := range maxNames + 1 {
		host := fmt.Sprintf("n%d.test", i)
		r.addrs[host] = []netip.Addr{loopback4}
		comesBack(t, a, host, target.Port(), []byte(host), target)
	}
	a.mu.Lock()
	size, first := len(a.names), a.names["n0.test"]
	a.names["n1.test"].expires = time.Now()
	a.mu.Unlock()
	if size != maxNames || first != nil {
		t.Errorf("%d names are kept, the first is %v", size, first)
	}
	comesBack(t, a, "n1.test", target.Port(), []byte("expired"), target)
	comesBack(t, a, "n2.test", target.Port(), []byte("still known"), target)
	if n1, n2 := r.times("n1.test"), r.times("n2.test"); n1 != 2 || n2 != 1 {
		t.Errorf("resolved %d and %d times, want 2 and 1", n1, n2)
	}
}

func TestATargetThatCannotBeSentToDoesNotEndAnAssociation(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	denied := netip.MustParseAddr("127.0.0.2")
	check := func(name string, addr netip.AddrPort) error {
		if addr.Addr() == denied {
			return errors.New("not this one")
		}
		return nil
	}
	r := &resolver{gate: make(chan struct{}), addrs: map[string][]netip.Addr{"denied.test": {denied}}}
	close(r.gate)
	a := resolving(t, r, check)
	for _, host := range []string{"denied.test", "none.test"} {
		if err := a.Send([]byte("x"), host, 9); err != nil {
			t.Errorf("%s, not yet resolved: %v", host, err)
		}
	}
	a.running.Wait() // both are resolved now
	for _, c := range []struct {
		host string
		port uint16
		size int
		want Reason
	}{
		{"127.0.0.1", 0, 1, Other},
		{"localhost", 0, 1, Other},
		{"127.0.0.2", 9, 1, Denied},
		{"denied.test", 9, 1, Denied},
		{"none.test", 9, 1, NameNotFound},
		{"127.0.0.1", target.Port(), 65508, Other}, // more than a datagram can be
		{strings.Repeat("a", 256), 9, 1, NameNotFound},
	} {
		var dial *DialError
		if err := a.Send(make([]byte, c.size), c.host, c.port); !errors.As(err, &dial) || dial.Reason != c.want {
			t.Errorf("%s:%d, %d bytes: %#v, want the reason %v", c.host, c.port, c.size, err, c.want)
		}
	}
	// An address where nobody listens may answer with ICMP.
	_, port, err := net.SplitHostPort(unused(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Send([]byte("x"), "127.0.0.1", netip.MustParseAddrPort("127.0.0.1:"+port).Port()); err != nil {
		t.Error(err)
	}
	comesBack(t, a, "127.0.0.1", target.Port(), []byte("still here"), target)
}

func TestAnAssociationWithoutIPv6UsesTheOtherAddressesOfAName(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	s, err := ListenUDP(t.Context(), netip.MustParseAddrPort("0.0.0.0:0"))
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{gate: make(chan struct{}), addrs: map[string][]netip.Addr{"both.test": {netip.IPv6Loopback(), loopback4}}}
	close(r.gate)
	a := newAssociation(s, nil, r.lookup)
	t.Cleanup(func() { _ = a.Close() })
	comesBack(t, a, "both.test", target.Port(), []byte("hello"), target)
	if err := a.Send([]byte("x"), "::1", 9); ReasonOf(err) != NetworkUnreachable {
		t.Errorf("to ::1: %v", err)
	}
}

func TestCloseEndsAnAssociationAndAllThatItStarted(t *testing.T) {
	t.Parallel()
	r := &resolver{gate: make(chan struct{})} // never answers
	a := resolving(t, r, nil)
	if err := a.Send([]byte("x"), "slow.test", 9); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 2)
	go func() { waiting <- a.Await() }()
	b := resolving(t, r, nil)
	go func() {
		_, _, err := b.Receive(make([]byte, 10))
		waiting <- err
	}()
	for _, association := range []Association{a, b} {
		if err := association.Close(); err != nil {
			t.Error(err)
		}
		if err := <-waiting; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Receive or Await ended with %v", err)
		}
		for _, host := range []string{"127.0.0.1", "slow.test"} {
			if err := association.Send([]byte("x"), host, 9); err != net.ErrClosed {
				t.Errorf("Send to %s after Close: %v", host, err)
			}
		}
	}
}

func TestCloseWaitsForTheNamesThatAreBeingResolved(t *testing.T) {
	t.Parallel()
	var ended atomic.Bool
	s, err := ListenUDP(t.Context(), netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	a := newAssociation(s, nil, func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond) // a resolver that is slow to give up
		ended.Store(true)
		return nil, ctx.Err()
	})
	if err := a.Send([]byte("x"), "slow.test", 9); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if !ended.Load() {
		t.Error("Close did not wait")
	}
}

func TestICMPErrorsAreOfOnePeer(t *testing.T) {
	t.Parallel()
	for _, err := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH} {
		if !ofOnePeer(fmt.Errorf("read: %w", err)) {
			t.Errorf("%v ends a socket", err)
		}
	}
	for _, err := range []error{net.ErrClosed, syscall.EBADF, context.DeadlineExceeded} {
		if ofOnePeer(err) {
			t.Errorf("%v does not end a socket", err)
		}
	}
}
