package sshserver_test

import (
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// echoAt echoes on what one connection to a client's remote listener sends.
func echoAt(t *testing.T, ln net.Listener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if nc, err := ln.Accept(); err == nil {
			_, _ = io.Copy(nc, nc)
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
}

// boundAt gives where the server listens for ln: on loopback, at ln's port.
func boundAt(ln net.Listener) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}

func dialTCP(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc.(*net.TCPConn)
}

func TestRemoteForwardsCarryEveryByteAndHalfClose(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0", ""} {
		client := start(t, nil).client()
		ln, err := client.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatalf("listen at %q: %v", host, err)
		}
		echoAt(t, ln)
		nc := dialTCP(t, boundAt(ln))
		if err := target.EchoMore(nc, 3<<20); err != nil {
			t.Errorf("at %q: %v", host, err)
		}
		_ = nc.CloseWrite()
		if rest, err := io.ReadAll(nc); err != nil || len(rest) != 0 {
			t.Errorf("at %q, after our end: %q, %v", host, rest, err)
		}
	}
}

func TestGatewayPortsChooseTheAddress(t *testing.T) {
	t.Parallel()
	for _, gateway := range []bool{false, true} {
		client := start(t, func(c *sshserver.Config) { c.GatewayPorts = gateway }).client()
		ln, err := client.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
		nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.2", port))
		if got := err == nil; got != gateway {
			t.Errorf("with GatewayPorts %v the address that was asked for answers: %v", gateway, got)
		}
		if err == nil {
			_ = nc.Close()
		}
	}
}

func TestAForwardWithAFixedPortListensThere(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client := server.client()
	ln, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Listen("tcp", boundAt(ln)); err == nil {
		t.Error("the same port twice")
	}
	address := boundAt(ln)
	if err := ln.Close(); err != nil { // cancel-tcpip-forward
		t.Errorf("cancel: %v", err)
	}
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after cancel: %v", err)
	}
	again, err := client.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if c := server.Counts(); c.CurrentForwards != 1 {
		t.Errorf("counts are %+v", c)
	}
	echoAt(t, again)
	if err := target.EchoMore(dialTCP(t, address), 1000); err != nil {
		t.Error(err)
	}
}

func TestCancelSparesTheConnectionsThatCame(t *testing.T) {
	t.Parallel()
	ln, err := start(t, nil).client().Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echoAt(t, ln)
	nc := dialTCP(t, boundAt(ln))
	if err := target.EchoMore(nc, 1000); err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := target.EchoMore(nc, 1000); err != nil {
		t.Errorf("after cancel: %v", err)
	}
}

func TestForwardsEndWithTheConnection(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client := server.client()
	ln, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echoAt(t, ln)
	nc := dialTCP(t, boundAt(ln))
	if err := target.EchoMore(nc, 1000); err != nil {
		t.Fatal(err)
	}
	server.faults.DropAll()
	if _, err := io.ReadAll(nc); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection that came ends with %v", err)
	}
	server.wait("all gone", func(c sshserver.Counts) bool {
		return c.Current == 0 && c.CurrentForwards == 0 && c.CurrentChannels == 0
	})
	if _, err := net.Dial("tcp", boundAt(ln)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after the connection: %v", err)
	}
}

func TestAConnectionThatTheClientRefusesIsReset(t *testing.T) {
	t.Parallel()
	client := start(t, nil).client()
	// A forward that the client's library knows nothing of, so it refuses what comes.
	ok, answer, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		Host string
		Port uint32
	}{"127.0.0.1", 0}))
	if err != nil || !ok {
		t.Fatalf("tcpip-forward: %v, %v", ok, err)
	}
	var bound struct{ Port uint32 }
	if err := ssh.Unmarshal(answer, &bound); err != nil {
		t.Fatal(err)
	}
	// The reset may come while we still connect.
	nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(bound.Port))))
	if err == nil {
		_, err = nc.Read(make([]byte, 1))
		_ = nc.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connection ends with %v", err)
	}
}

func TestRequestsThatCannotBeMetAreRefused(t *testing.T) {
	t.Parallel()
	client := start(t, nil).client()
	forward := func(host string, port uint32) []byte {
		return ssh.Marshal(struct {
			Host string
			Port uint32
		}{host, port})
	}
	for name, test := range map[string]struct {
		kind    string
		payload []byte
	}{
		"keepalive":      {"keepalive@openssh.com", nil},
		"unknown":        {"streamlocal-forward@openssh.com", nil},
		"malformed":      {"tcpip-forward", []byte{1}},
		"port 65536":     {"tcpip-forward", forward("127.0.0.1", 65536)},
		"unknown cancel": {"cancel-tcpip-forward", forward("127.0.0.1", 1)},
		"broken cancel":  {"cancel-tcpip-forward", []byte{1}},
	} {
		if ok, _, err := client.SendRequest(test.kind, true, test.payload); ok || err != nil {
			t.Errorf("%s: answered %v, %v", name, ok, err)
		}
	}
	for n := range 65 {
		_, err := client.Listen("tcp", "127.0.0.1:0")
		if got, want := err == nil, n < 64; got != want {
			t.Fatalf("forward %d: %v", n+1, err)
		}
	}
}
