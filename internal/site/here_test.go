package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/adit-tunnel/adit/internal/pipe"
)

var _ Site = (*Here)(nil)

// asked is a policy that remembers what it is asked, and refuses what it is told to.
type asked struct {
	mu     sync.Mutex // guards below: IPv6 and IPv4 are tried side by side
	names  []string
	addrs  []netip.AddrPort
	refuse func(netip.AddrPort) error
}

func (a *asked) check(name string, addr netip.AddrPort) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names, a.addrs = append(a.names, name), append(a.addrs, addr)
	if a.refuse == nil {
		return nil
	}
	return a.refuse(addr)
}

// denyAll refuses as the policy does.
func denyAll(addr netip.AddrPort) error {
	return &DialError{Reason: Denied, Address: addr.String(), Err: errors.New("denied by rule")}
}

// listen greets whoever comes to an address of this machine.
func listen(t *testing.T, h *Here, address string) (port string) {
	t.Helper()
	ln, err := h.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("accept: %v", err)
				}
				return
			}
			io.WriteString(c, "welcome")
			c.CloseWrite()
			io.Copy(io.Discard, c)
			c.Close()
		}
	})
	_, port, err = net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// greeted wants the stream to be one with a listener of ours, both ways.
func greeted(t *testing.T, c pipe.Conn) {
	t.Helper()
	defer c.Close()
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(c); err != nil || string(text) != "welcome" {
		t.Errorf("read %q, %v", text, err)
	}
}

// unused is an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestThePolicyIsAskedAboutTheAddressThatIsDialled(t *testing.T) {
	t.Parallel()
	port := listen(t, new(Here), "127.0.0.1:0")
	for host, name := range map[string]string{"127.0.0.1": "", "localhost": "localhost"} {
		var a asked
		h := &Here{Check: a.check}
		c, err := h.Dial(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		remote := c.RemoteAddr().String()
		greeted(t, c)
		found := false
		for i, addr := range a.addrs {
			if a.names[i] != name || !addr.Addr().IsLoopback() {
				t.Errorf("%s: asked about %q at %v", host, a.names[i], addr)
			}
			found = found || addr.String() == remote
		}
		if !found {
			t.Errorf("%s: dialled %s, asked about %v", host, remote, a.addrs)
		}
	}
}

func TestARefusedTargetIsNotDialledAndIsNamedOnce(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		accepted <- err
	}()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		target := net.JoinHostPort(host, port)
		h := &Here{Check: (&asked{refuse: denyAll}).check}
		c, err := h.Dial(t.Context(), "tcp", target)
		var dial *DialError
		switch {
		case err == nil:
			c.Close()
			t.Errorf("%s: connected", target)
		case !errors.As(err, &dial), dial.Reason != Denied, dial.Address != target, ReasonOf(err) != Denied:
			t.Errorf("%s: %#v", target, err)
		case strings.Count(err.Error(), target) != 1, strings.Count(err.Error(), port) != 1, !strings.Contains(err.Error(), "denied by rule"):
			t.Errorf("%s: %q", target, err)
		}
	}
	ln.Close()
	if err := <-accepted; err == nil {
		t.Error("what was refused was dialled")
	}
}

func TestOnlyTheAllowedAddressesOfANameAreDialled(t *testing.T) {
	t.Parallel()
	port := listen(t, new(Here), "127.0.0.1:0")
	a := asked{refuse: func(addr netip.AddrPort) error {
		if addr.Addr().Is4() {
			return nil
		}
		return denyAll(addr)
	}}
	c, err := (&Here{Check: a.check}).Dial(t.Context(), "tcp", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	greeted(t, c)
}

func TestAFailedDialTellsItsReason(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		address string
		want    Reason
	}{
		"nobody listens": {t.Context(), unused(t), Refused},
		"no time":        {over, "127.0.0.1:80", TimedOut},
		"no port":        {t.Context(), "127.0.0.1", Other},
	} {
		conn, err := new(Here).Dial(c.ctx, "tcp", c.address)
		if err == nil {
			conn.Close()
		}
		var dial *DialError
		if !errors.As(err, &dial) || dial.Reason != c.want || dial.Address != c.address {
			t.Errorf("%s: %#v, want the reason %v", name, err, c.want)
		}
	}
}

func TestReasonOfReadsTheSystemsErrors(t *testing.T) {
	t.Parallel()
	for want, errs := range map[Reason][]error{
		Refused:            {syscall.ECONNREFUSED},
		HostUnreachable:    {syscall.EHOSTUNREACH, syscall.EHOSTDOWN},
		NetworkUnreachable: {syscall.ENETUNREACH, syscall.EADDRNOTAVAIL},
		TimedOut:           {syscall.ETIMEDOUT, os.ErrDeadlineExceeded, context.DeadlineExceeded, &net.DNSError{IsTimeout: true}},
		NameNotFound:       {&net.DNSError{IsNotFound: true}},
		Denied:             {&DialError{Reason: Denied, Err: syscall.ECONNREFUSED}},
		Other:              {nil, io.EOF, context.Canceled},
	} {
		for _, err := range errs {
			if got := ReasonOf(err); got != want {
				t.Errorf("%v: %v, want %v", err, got, want)
			}
			if wrapped := fmt.Errorf("dial: %w", err); ReasonOf(wrapped) != want {
				t.Errorf("%v, wrapped: %v, want %v", err, ReasonOf(wrapped), want)
			}
		}
	}
}

// hasIPv6 reports whether this machine has ::1, without which there is less to see.
func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
}

func TestAListenAddressMeansItsOwnFamilyAndTheStarBoth(t *testing.T) {
	t.Parallel()
	six := hasIPv6()
	for _, c := range []struct {
		listen   string
		on4, on6 bool
	}{
		{"127.0.0.1:0", true, false},
		{"0.0.0.0:0", true, false},
		{"[::ffff:0.0.0.0]:0", true, false},
		{"[::1]:0", false, true},
		{"[::]:0", false, true},
		{"*:0", true, true},
		{":0", true, true},
	} {
		if !c.on4 && !six {
			continue
		}
		port := listen(t, new(Here), c.listen)
		for host, want := range map[string]bool{"127.0.0.1": c.on4, "::1": c.on6 && six} {
			in, err := new(Here).Dial(t.Context(), "tcp", net.JoinHostPort(host, port))
			if (err == nil) != want {
				t.Errorf("listening on %s: reached at %s: %v (%v)", c.listen, host, err == nil, err)
			}
			if err == nil {
				greeted(t, in)
			}
		}
	}
}

func TestListenKeepsTheSystemsErrors(t *testing.T) {
	t.Parallel()
	port := listen(t, new(Here), "127.0.0.1:0")
	for address, want := range map[string]error{
		"127.0.0.1:" + port: syscall.EADDRINUSE,
		"203.0.113.7:0":     syscall.EADDRNOTAVAIL,
	} {
		if ln, err := new(Here).Listen(t.Context(), "tcp", address); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", address, err, want)
			if err == nil {
				ln.Close()
			}
		}
	}
	if _, err := new(Here).Listen(t.Context(), "tcp", "127.0.0.1"); err == nil {
		t.Error("an address without a port is taken")
	}
}
