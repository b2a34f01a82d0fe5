package ws

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// bounds is what the kernel says of how much may wait in a connection.
func bounds(t *testing.T, conn *net.TCPConn) int {
	t.Helper()
	return option(t, conn, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
}

func option(t *testing.T, conn *net.TCPConn, level, name int) (n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if n, err = unix.GetsockoptInt(int(fd), level, name); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A long way's send buffer is as large as may be, and never smaller than the
// kernel would have made it.
func TestTheSendBufferOfALongWayIsAsLargeAsMayBe(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	before := option(t, near, unix.SOL_SOCKET, unix.SO_SNDBUF)
	c := New(near, nil, Config{})
	defer func() { _, _ = c.Close(), far.Close() }()
	c.w.backlog.wrote(lookEvery)
	if n := option(t, near, unix.SOL_SOCKET, unix.SO_SNDBUF); n != before {
		t.Errorf("%d bytes on the loopback, which the kernel began with %d", n, before)
	}
	c.w.backlog.saw(look{way: longWay})
	after := option(t, near, unix.SOL_SOCKET, unix.SO_SNDBUF)
	// What a program is granted that asks for much, by another connection.
	raw, err := far.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<20) })
	if err != nil {
		t.Fatal(err)
	}
	granted := option(t, far, unix.SOL_SOCKET, unix.SO_SNDBUF)
	wmem, err := os.ReadFile("/proc/sys/net/ipv4/tcp_wmem")
	if err != nil {
		t.Fatal(err)
	}
	var least, first, own int
	if _, err := fmt.Sscan(string(wmem), &least, &first, &own); err != nil {
		t.Fatal(err)
	}
	want := before
	if most := min(granted, maxSendBuffer); most > own {
		want = most
	}
	if after != want {
		t.Errorf("%d bytes, want %d: it began with %d, the kernel grants %d and comes to %d by itself", after, want, before, granted, own)
	}
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
		if n := bounds(t, tcp); n != maxUnsentLossy {
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
	b := backlog{calm: calmLooks, tight: true}
	said := func(lost, unsent uint32) bool {
		b.tight = b.judge(look{lost: b.lost + lost, unsent: unsent})
		return b.tight
	}
	for range 100 {
		if !said(manyLost-1, 1<<20) {
			t.Fatal("single losses lift the bound")
		}
	}
	if said(manyLost, 0) {
		t.Error("the bound is tight where much is lost")
	}
	for range calmLooks - 1 {
		if said(0, 0) {
			t.Fatal("it is tight too soon")
		}
	}
	if said(0, maxUnsent/2+1) || said(0, 1<<20) {
		t.Error("it is tight while much waits")
	}
	if !said(0, maxUnsent/2) || !said(0, 1<<20) {
		t.Error("it stays loose")
	}
}
