package ws

import (
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// bounds is what the kernel says of how much may wait in a connection.
func bounds(t *testing.T, conn *net.TCPConn) (n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLittleWaitsInTheKernelUnlessPacketsAreLost(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tcp := conn.(*net.TCPConn)
	c := New(tls.Client(conn, nil), nil, Config{}) // which stands on it
	defer func() { _ = c.Close() }()
	b := &c.w.backlog
	if n := bounds(t, tcp); n != maxUnsent {
		t.Errorf("%d bytes may wait", n)
	}
	b.wrote(lookEvery)
	if n := bounds(t, tcp); n != maxUnsent {
		t.Errorf("%d bytes may wait after a look", n)
	}
	b.lost -= manyLost // nothing is lost on the loopback
	b.wrote(lookEvery - 1)
	if n := bounds(t, tcp); n != maxUnsent {
		t.Errorf("%d bytes may wait before the next look", n)
	}
	for range calmLooks {
		b.wrote(1)
		b.wrote(lookEvery - 1)
		if n := bounds(t, tcp); n != unbounded {
			t.Fatalf("%d bytes may wait soon after a loss", n)
		}
	}
	b.wrote(lookEvery)
	if n := bounds(t, tcp); n != maxUnsent {
		t.Errorf("%d bytes may wait long after it", n)
	}
}

func TestTheBoundIsSetAgainWhenTheWayIsCalmAndLittleWaits(t *testing.T) {
	t.Parallel()
	b := backlog{calm: calmLooks, bounded: true}
	said := func(lost, unsent uint32) bool {
		b.bounded = b.judge(look{b.lost + lost, unsent})
		return b.bounded
	}
	for range 100 {
		if !said(manyLost-1, 1<<20) {
			t.Fatal("single losses lift the bound")
		}
	}
	if said(manyLost, 0) {
		t.Error("it is bounded where much is lost")
	}
	for range calmLooks - 1 {
		if said(0, 0) {
			t.Fatal("it is bounded too soon")
		}
	}
	if said(0, maxUnsent/2+1) || said(0, 1<<20) {
		t.Error("it is bounded while much waits")
	}
	if !said(0, maxUnsent/2) || !said(0, 1<<20) {
		t.Error("it stays unbounded")
	}
}
