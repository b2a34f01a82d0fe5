package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// proxy is a SOCKS5 server, and what it wants to hear.
type proxy struct{ address, user, password string }

// refused is the reply of a SOCKS5 server that does not do what it was asked for.
type refused byte

func (r refused) Error() string { return fmt.Sprintf("SOCKS reply %d", byte(r)) }

// The commands of RFC 1928, section 4, and replies of section 6.
const (
	connectCommand   = 1
	associateCommand = 3

	notAllowed          = refused(2)
	networkUnreachable  = refused(3)
	hostUnreachable     = refused(4)
	connectionRefused   = refused(5)
	commandNotSupported = refused(7)
)

var errLogin = errors.New("the SOCKS server refuses the password")

// connect has the proxy connect to host:port. The connection must be done with
// everything within the patience.
func (p proxy) connect(address string) (net.Conn, error) {
	c, _, err := p.request(connectCommand, address)
	return c, err
}

// open is connect, for a connection that ends with the test.
func (p proxy) open(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := p.connect(address)
	if err != nil {
		t.Fatalf("%s by %s: %v", address, p.address, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answers demands the reply to a CONNECT.
func (p proxy) answers(t testing.TB, address string, want error) {
	t.Helper()
	c, err := p.connect(address)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("%s: %v instead of %v", address, err, want)
	}
}

func (p proxy) request(command byte, address string) (_ net.Conn, bound string, err error) {
	c, err := net.DialTimeout("tcp", p.address, patience)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if err := errors.Join(c.SetDeadline(time.Now().Add(2*patience)), p.greet(c)); err != nil {
		return nil, "", err
	}
	if _, err := c.Write(appendTarget([]byte{5, command, 0}, address)); err != nil {
		return nil, "", err
	}
	var head [3]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, "", err
	}
	bound, err = readTarget(c)
	if err == nil && head[1] != 0 {
		err = refused(head[1])
	}
	return c, bound, err
}

// greet goes through the methods and the password (RFC 1929).
func (p proxy) greet(c net.Conn) error {
	method := byte(0)
	if p.user != "" || p.password != "" {
		method = 2
	}
	if _, err := c.Write([]byte{5, 1, method}); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return err
	}
	if answer != [2]byte{5, method} {
		return errLogin
	}
	if method == 0 {
		return nil
	}
	login := append([]byte{1, byte(len(p.user))}, p.user...)
	login = append(append(login, byte(len(p.password))), p.password...)
	if _, err := c.Write(login); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return err
	}
	if answer[1] != 0 {
		return errLogin
	}
	return nil
}

// appendTarget writes ATYP, ADDR and PORT (RFC 1928, section 5).
func appendTarget(b []byte, address string) []byte {
	host, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	switch ip, err := netip.ParseAddr(host); {
	case err != nil:
		b = append(append(b, 3, byte(len(host))), host...)
	case ip.Is4():
		b = append(append(b, 1), ip.AsSlice()...)
	default:
		b = append(append(b, 4), ip.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(port))
}

// readTarget reads what appendTarget writes.
func readTarget(r io.Reader) (string, error) {
	var kind [1]byte
	if _, err := io.ReadFull(r, kind[:]); err != nil {
		return "", err
	}
	size := map[byte]int{1: 4, 4: 16}[kind[0]]
	if kind[0] == 3 {
		if _, err := io.ReadFull(r, kind[:]); err != nil {
			return "", err
		}
		host := make([]byte, int(kind[0])+2)
		_, err := io.ReadFull(r, host)
		n := len(host) - 2
		return net.JoinHostPort(string(host[:n]), strconv.Itoa(int(binary.BigEndian.Uint16(host[n:])))), err
	}
	if size == 0 {
		return "", fmt.Errorf("address type %d", kind[0])
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	ip, _ := netip.AddrFromSlice(b[:size])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[size:])).String(), nil
}

// association is a UDP association through a proxy.
type association struct {
	t       testing.TB
	control net.Conn
	socket  *net.UDPConn // connected to the proxy's
}

func (p proxy) associate(t testing.TB) *association {
	t.Helper()
	control, bound, err := p.request(associateCommand, "0.0.0.0:0")
	if err != nil {
		t.Fatalf("associate at %s: %v", p.address, err)
	}
	t.Cleanup(func() { _ = control.Close() })
	to, err := net.ResolveUDPAddr("udp", bound)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.DialUDP("udp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return &association{t: t, control: control, socket: socket}
}

func (a *association) send(address, text string) {
	a.t.Helper()
	if _, err := a.socket.Write(append(appendTarget([]byte{0, 0, 0}, address), text...)); err != nil {
		a.t.Fatal(err)
	}
}

// echoes sends a datagram until it comes back, as those who use UDP must, and
// demands that it comes from an address of one of these hosts.
func (a *association) echoes(address, text string, hosts ...string) {
	a.t.Helper()
	_, port, _ := net.SplitHostPort(address)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		a.send(address, text)
		from, got, err := a.receive(time.Second)
		if err != nil {
			continue
		}
		for _, host := range hosts {
			if from == net.JoinHostPort(host, port) && got == text {
				return
			}
		}
		a.t.Fatalf("%d bytes from %s instead of %d from %s of %v", len(got), from, len(text), port, hosts)
	}
	a.t.Fatalf("%d bytes do not come back from %s", len(text), address)
}

func (a *association) receive(limit time.Duration) (from, text string, err error) {
	if err := a.socket.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return "", "", err
	}
	b := make([]byte, 1<<16)
	n, err := a.socket.Read(b)
	if err != nil {
		return "", "", err
	}
	if n < 3 {
		return "", "", fmt.Errorf("a datagram of %d bytes", n)
	}
	r := &sliceReader{b: b[3:n]}
	from, err = readTarget(r)
	return from, string(r.b), err
}

// isRefused tells that nobody listens any more (ICMP says so).
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

type sliceReader struct{ b []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// udpEcho echoes datagrams at 127.0.0.1 and ::1, and gives the port.
func udpEcho(t testing.TB) (port string) {
	t.Helper()
	var sockets []net.PacketConn
	for len(sockets) < 2 { // the port may be taken at the other address
		v4, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(v4.LocalAddr().String())
		v6, err := net.ListenPacket("udp6", "[::1]:"+port)
		if err != nil {
			_ = v4.Close()
			continue
		}
		sockets = append(sockets, v4, v6)
	}
	for _, s := range sockets {
		t.Cleanup(func() { _ = s.Close() })
		go func() {
			b := make([]byte, 1<<16)
			for {
				n, from, err := s.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = s.WriteTo(b[:n], from)
			}
		}()
	}
	return port
}
