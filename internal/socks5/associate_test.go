package socks5

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
)

var zeroAddress = []byte{1, 0, 0, 0, 0, 0, 0}

// socket opens a UDP socket at an address of this machine.
func socket(t *testing.T, ip string) *site.UDPSocket {
	t.Helper()
	s, err := site.ListenUDP(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(ip), 0))
	if err != nil {
		if ip != "127.0.0.1" {
			t.Skipf("this machine has no %s: %v", ip, err)
		}
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(10*time.Second, func() { _ = s.Close() }) // what waits for it fails
	t.Cleanup(func() { watchdog.Stop(); _ = s.Close() })
	return s
}

// echo answers every datagram with itself.
func echo(t *testing.T, ip string) netip.AddrPort {
	t.Helper()
	s := socket(t, ip)
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = s.Close(); serving.Wait() })
	serving.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := s.Receive(buf)
			if err != nil {
				return
			}
			_ = s.SendTo(buf[:n], from)
		}
	})
	return s.Addr()
}

// counter makes a proxy's events something to wait for.
type counter chan string

func (c counter) count(event string) { c <- event }

func (c counter) wants(t *testing.T, want string) {
	t.Helper()
	select {
	case event := <-c:
		if event != want {
			t.Fatalf("counted %s, want %s", event, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("counted nothing, want %s", want)
	}
}

// udpClient is a client with an association.
type udpClient struct {
	*site.UDPSocket
	control *net.TCPConn
	relay   netip.AddrPort // where it is told to send to
	done    <-chan error   // what Serve ended with
	meter   pipe.Meter
}

// served connects a client from an address of this machine to a proxy there.
func served(t *testing.T, ctx context.Context, p *Proxy, ip string, c *udpClient) {
	t.Helper()
	c.UDPSocket = socket(t, ip)
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	control, err := d.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { done <- p.Serve(ctx, server, &c.meter) })
	t.Cleanup(func() { cancel(); _ = control.Close(); serving.Wait() })
	c.control, c.done = control.(*net.TCPConn), done
}

// associated makes a client whose request names this address.
func associated(t *testing.T, p *Proxy, ip string, named []byte) *udpClient {
	t.Helper()
	c := new(udpClient)
	served(t, t.Context(), p, ip, c)
	c.ask(t, named)
	return c
}

// ask asks for an association.
func (c *udpClient) ask(t *testing.T, named []byte) {
	t.Helper()
	if _, err := c.control.Write(join(greetOpen, 5, 3, 0, named)); err != nil {
		t.Fatal(err)
	}
	hears(t, c.control, []byte{5, 0, 5, 0, 0})
	reply := make([]byte, 22)
	n, err := c.control.Read(reply)
	if err != nil {
		t.Fatal(err)
	}
	bound, size, err := readAddress(reply[:n])
	if err != nil || size != n {
		t.Fatalf("bound address % x: %v", reply[:n], err)
	}
	c.relay = netip.AddrPortFrom(bound.ip, bound.port)
}

// send sends one datagram, as it is, to the relay.
func (c *udpClient) send(t *testing.T, parts ...any) {
	t.Helper()
	if err := c.SendTo(join(parts...), c.relay); err != nil {
		t.Fatal(err)
	}
}

// wants wants this datagram next, from a target by way of the relay.
func (c *udpClient) wants(t *testing.T, from netip.AddrPort, payload []byte) {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, source, err := c.Receive(buf)
	if want := append(AppendDatagramHeader(nil, from), payload...); err != nil || source != c.relay || !bytes.Equal(buf[:n], want) {
		t.Fatalf("got %d bytes from %v, %v; want %d from %v", n, source, err, len(want), c.relay)
	}
}

// echoed sends to an echo and wants its answer next.
func (c *udpClient) echoed(t *testing.T, target netip.AddrPort, payload []byte) {
	t.Helper()
	c.send(t, AppendDatagramHeader(nil, target), payload)
	c.wants(t, target, payload)
}

// ended wants Serve to have ended, and the control connection in this way.
func (c *udpClient) ended(t *testing.T, served, control error) {
	t.Helper()
	if err := <-c.done; !errors.Is(err, served) {
		t.Errorf("Serve ended with %v, want %v", err, served)
	}
	ends(t, c.control, control)
}

func here() *Proxy { return &Proxy{UDP: new(site.Here)} }

func TestAnAssociationCarriesDatagramsToBothFamiliesAndNames(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	allowed := &site.Here{Check: func(name string, addr netip.AddrPort) error {
		if name == "localhost" && addr != target {
			return errors.New("the other address of localhost")
		}
		return nil
	}}
	c := associated(t, &Proxy{UDP: allowed}, "127.0.0.1", zeroAddress)
	c.echoed(t, target, []byte("IPv4"))
	c.echoed(t, target, nil)
	c.send(t, 0, 0, 0, 3, 9, "localhost", int(target.Port()>>8), int(target.Port()), "name")
	c.wants(t, target, []byte("name"))
	if in, out := c.meter.In.Load(), c.meter.Out.Load(); in != 8 || out != 8 {
		t.Errorf("counted %d in and %d out, want 8 and 8", in, out)
	}
	c.echoed(t, echo(t, "::1"), []byte("IPv6"))
}

func TestAnAssociationIsAtTheAddressOfItsControlConnection(t *testing.T) {
	t.Parallel()
	for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		t.Run(ip, func(t *testing.T) {
			t.Parallel()
			c := associated(t, here(), ip, zeroAddress)
			if c.relay.Addr().String() != ip {
				t.Errorf("it is at %v", c.relay)
			}
			c.echoed(t, echo(t, "127.0.0.1"), []byte("hello"))
		})
	}
}

func TestAnAssociationCarriesLargeDatagrams(t *testing.T) {
	t.Parallel()
	c := associated(t, here(), "127.0.0.1", zeroAddress)
	target := echo(t, "127.0.0.1")
	for _, size := range []int{60 << 10, 65507 - 10} { // the header has to fit, too
		c.echoed(t, target, bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size])
	}
}

func TestAnAnswerThatIsTooLargeForTheClientIsLostAlone(t *testing.T) {
	t.Parallel()
	events := make(counter, 10)
	p := &Proxy{UDP: new(site.Here), Count: events.count}
	c := associated(t, p, "127.0.0.1", zeroAddress)
	target := socket(t, "127.0.0.1")
	c.send(t, AppendDatagramHeader(nil, target.Addr()), "ask")
	buf := make([]byte, 10)
	_, from, err := target.Receive(buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.SendTo(make([]byte, 65507), from); err != nil {
		t.Fatal(err)
	}
	events.wants(t, "udp_unsent")
	c.echoed(t, echo(t, "127.0.0.1"), []byte("goes on"))
}

func TestDatagramsOfOthersAreDropped(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	header := AppendDatagramHeader(nil, target)
	events := make(counter, 10)
	p := &Proxy{UDP: new(site.Here), Count: events.count}
	foreign := func(t *testing.T, c *udpClient, from string) {
		t.Helper()
		if err := socket(t, from).SendTo(join(header, "foreign"), c.relay); err != nil {
			t.Fatal(err)
		}
		events.wants(t, "udp_foreign")
	}
	t.Run("port unknown", func(t *testing.T) {
		c := associated(t, p, "127.0.0.1", zeroAddress)
		foreign(t, c, "127.0.0.2")
		c.echoed(t, target, []byte("mine"))
		foreign(t, c, "127.0.0.2")
		foreign(t, c, "127.0.0.1") // from another port than the first
		c.echoed(t, target, []byte("still mine"))
	})
	for name, ip := range map[string][]byte{"port named": {0, 0, 0, 0}, "address named": {127, 0, 0, 1}} {
		t.Run(name, func(t *testing.T) {
			c := new(udpClient)
			served(t, t.Context(), p, "127.0.0.1", c)
			port := c.Addr().Port()
			c.ask(t, join(1, ip, int(port>>8), int(port)))
			foreign(t, c, "127.0.0.1") // before the client's first
			c.echoed(t, target, []byte("mine"))
		})
	}
	t.Run("another address named", func(t *testing.T) {
		// What a client behind NAT takes for its address says nothing here.
		c := associated(t, p, "127.0.0.1", []byte{1, 10, 0, 0, 1, 0, 9})
		c.echoed(t, target, []byte("mine"))
		foreign(t, c, "127.0.0.1")
	})
}

func TestDatagramsThatAreNoneDoNothing(t *testing.T) {
	t.Parallel()
	events := make(counter, 10)
	denied := netip.MustParseAddr("127.0.0.2")
	p := &Proxy{Count: events.count, UDP: &site.Here{Check: func(_ string, addr netip.AddrPort) error {
		if addr.Addr() == denied {
			return &site.DialError{Reason: site.Denied, Err: errors.New("denied by rule")}
		}
		return nil
	}}}
	c := associated(t, p, "127.0.0.1", zeroAddress)
	target := echo(t, "127.0.0.1")
	header := AppendDatagramHeader(nil, target)
	for _, bad := range []struct {
		datagram []byte
		want     string
	}{
		{nil, "udp_malformed"},
		{header[:5], "udp_malformed"},
		{header[:9], "udp_malformed"},
		{[]byte{0, 0, 0, 3, 9}, "udp_malformed"},
		{[]byte{0, 0, 0, 2, 9}, "udp_malformed"},
		{join(0, 0, 1, header[3:], "part"), "udp_fragment"},
		{join(0, 0, 0x82, header[3:], "part"), "udp_fragment"},
		{join(0, 0, 0, 1, 127, 0, 0, 2, 0, 9, "x"), "udp_denied"},
		{join(0, 0, 0, 1, 127, 0, 0, 1, 0, 0, "x"), "udp_unsent"},
	} {
		c.send(t, bad.datagram)
		events.wants(t, bad.want)
	}
	c.echoed(t, target, []byte("goes on"))
}

func TestAnAssociationEndsWithItsControlConnectionAndNotBefore(t *testing.T) {
	t.Parallel()
	target := echo(t, "127.0.0.1")
	c := associated(t, here(), "127.0.0.1", zeroAddress)
	if _, err := c.control.Write(bytes.Repeat([]byte("stray"), 1000)); err != nil {
		t.Fatal(err)
	}
	c.echoed(t, target, []byte("goes on"))
	if err := c.control.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.ended(t, nil, nil)
	again, err := site.ListenUDP(t.Context(), c.relay)
	if err != nil {
		t.Fatalf("the relay's port is not free: %v", err)
	}
	_ = again.Close()

	c = associated(t, here(), "127.0.0.1", zeroAddress)
	pipe.Reset(c.control)
	if err := <-c.done; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Serve ended with %v", err)
	}
}

func TestAnAssociationEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := new(udpClient)
	served(t, ctx, here(), "127.0.0.1", c)
	c.ask(t, zeroAddress)
	c.echoed(t, echo(t, "127.0.0.1"), []byte("hello"))
	cancel()
	if err := <-c.done; !pipe.IsEnd(err) || err == nil {
		t.Errorf("Serve ended with %v", err)
	}
	ends(t, c.control, syscall.ECONNRESET)
}

func TestAnIdleAssociationEnds(t *testing.T) {
	t.Parallel()
	events := make(counter, 10)
	p := &Proxy{UDP: new(site.Here), UDPIdle: 50 * time.Millisecond, Count: events.count}
	begun := time.Now()
	associated(t, p, "127.0.0.1", zeroAddress).ended(t, nil, nil)
	if took := time.Since(begun); took < p.UDPIdle {
		t.Errorf("it ended after %v", took)
	}
	events.wants(t, "udp_idle")
}

func TestAnAssociationIsIdleFromItsLastDatagramOn(t *testing.T) {
	t.Parallel()
	for idle, want := range map[time.Duration]time.Duration{0: 2 * time.Minute, 5 * time.Second: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a := &association{begunAt: time.Now()}
			busy := want * 7 / 3
			go func() {
				for time.Since(a.begunAt) < busy {
					time.Sleep(want / 3)
					a.touch()
				}
			}()
			if err := (&Proxy{UDPIdle: idle}).await(t.Context(), a, nil); err != nil {
				t.Error(err)
			}
			if took := time.Since(a.begunAt); took < busy+want || took > busy+want+want/3 {
				t.Errorf("it took %v, of which it was busy for %v", took, busy)
			}
		})
	}
}

func TestDatagramsOfEitherDirectionAreUse(t *testing.T) {
	t.Parallel()
	client, near, far := socket(t, "127.0.0.1"), socket(t, "127.0.0.1"), newInbox()
	a := &association{near: near, far: far, clientIP: client.Addr().Addr(), meter: new(pipe.Meter), begunAt: time.Now()}
	if err := client.SendTo(join(0, 0, 0, 1, 192, 0, 2, 7, 0, 53, "ask"), near.Addr()); err != nil {
		t.Fatal(err)
	}
	if err := a.carryOneOut(); err != nil || a.used.Swap(0) == 0 {
		t.Errorf("out: %v, or it is no use", err)
	}
	go func() { far.datagrams <- "answer" }()
	if err := a.carryOneIn(); err != nil || a.used.Load() == 0 {
		t.Errorf("in: %v, or it is no use", err)
	}
}

func TestWhatIsNotPassedOnKeepsNoAssociationAlive(t *testing.T) {
	t.Parallel()
	events := make(chan string, 1)
	p := &Proxy{UDP: new(site.Here), UDPIdle: 100 * time.Millisecond, Count: func(event string) {
		if event == "udp_idle" {
			events <- event
		}
	}}
	c := associated(t, p, "127.0.0.1", zeroAddress)
	for {
		select {
		case <-events:
			c.ended(t, nil, nil)
			return
		default:
			_ = c.SendTo([]byte("stray"), c.relay)
			runtime.Gosched()
		}
	}
}

// place is a site whose associations the test makes.
type place func(context.Context) (site.Association, error)

func (p place) Associate(ctx context.Context) (site.Association, error) { return p(ctx) }

// inbox is an association that receives what the test gives it.
type inbox struct {
	datagrams chan string
	sent      chan string
	closed    chan struct{}
	once      sync.Once
}

func newInbox() *inbox {
	return &inbox{datagrams: make(chan string), sent: make(chan string, 10), closed: make(chan struct{})}
}

func (i *inbox) Send(p []byte, host string, port uint16) error {
	i.sent <- net.JoinHostPort(host, "…") + string(p)
	return nil
}

func (i *inbox) Await() error { return nil }

func (i *inbox) Receive(p []byte) (int, netip.AddrPort, error) {
	select {
	case text := <-i.datagrams:
		return copy(p, text), netip.MustParseAddrPort("192.0.2.7:53"), nil
	case <-i.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (i *inbox) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

func TestAnAnswerAheadOfTheFirstDatagramIsDroppedUnlessThePortIsKnown(t *testing.T) {
	t.Parallel()
	events := make(counter, 10)
	far := newInbox()
	p := &Proxy{Count: events.count, UDP: place(func(context.Context) (site.Association, error) { return far, nil })}
	c := associated(t, p, "127.0.0.1", zeroAddress)
	far.datagrams <- "early"
	events.wants(t, "udp_early")
	c.send(t, 0, 0, 0, 3, 7, "db.test", 0, 53, "ask")
	if sent := <-far.sent; sent != "db.test:…ask" {
		t.Errorf("sent %q", sent)
	}
	far.datagrams <- "answer"
	c.wants(t, netip.MustParseAddrPort("192.0.2.7:53"), []byte("answer"))

	named := new(udpClient)
	far = newInbox()
	served(t, t.Context(), p, "127.0.0.1", named)
	port := named.Addr().Port()
	named.ask(t, join(1, 0, 0, 0, 0, int(port>>8), int(port)))
	far.datagrams <- "first"
	named.wants(t, netip.MustParseAddrPort("192.0.2.7:53"), []byte("first"))
	_ = far.Close()
	named.ended(t, net.ErrClosed, syscall.ECONNRESET)
}

func TestAnAssociationThatCannotBeOpenedIsAnsweredWithItsReason(t *testing.T) {
	t.Parallel()
	failed := &site.DialError{Reason: site.NetworkUnreachable, Address: "udp", Err: io.ErrNoProgress}
	p := &Proxy{UDP: place(func(context.Context) (site.Association, error) { return nil, failed })}
	c := new(udpClient)
	served(t, t.Context(), p, "127.0.0.1", c)
	if _, err := c.control.Write(join(greetOpen, 5, 3, 0, zeroAddress)); err != nil {
		t.Fatal(err)
	}
	hears(t, c.control, replied(NetworkUnreachable))
	ends(t, c.control, nil)
	_ = c.control.Close()
	if err := <-c.done; !errors.Is(err, failed) {
		t.Errorf("Serve ended with %v", err)
	}
}

// It stands alone, for others would be measured along.
func TestAnIdleAssociationHoldsNoBuffer(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a socket there cannot say that a datagram waits")
	}
	const n = 50
	target := echo(t, "127.0.0.1")
	before := inUse()
	clients := make([]*udpClient, n)
	for i := range clients {
		clients[i] = associated(t, here(), "127.0.0.1", zeroAddress)
		clients[i].echoed(t, target, []byte("hello"))
	}
	// The client of the test is measured along: two sockets, two goroutines.
	if each := (inUse() - before) / n; each > 48<<10 {
		t.Errorf("an idle association holds %d bytes", each)
	} else {
		t.Logf("an idle association and its client hold %d bytes", each)
	}
}

// inUse is what heap and stacks hold.
func inUse() int {
	var m runtime.MemStats
	for range 3 { // pools let go of what they hold after two
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
