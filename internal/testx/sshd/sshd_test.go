package sshd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo sends bytes to a target through a client's direct-tcpip channel and back.
func echo(t *testing.T, client *ssh.Client, address string) {
	t.Helper()
	conn, err := client.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := target.Echo(conn, 1<<20); err != nil {
		t.Fatal(err)
	}
}

// wantLost waits for the end of a client whose server is gone.
func wantLost(t *testing.T, client *ssh.Client) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		_ = client.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the connection outlives its process")
		_ = client.Close()
		<-ended
	}
}

func TestSSHDForwardsToATarget(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t)
	echo(t, server.Dial(t), target.Start(t))
	if !strings.Contains(server.Log(), "Accepted publickey") {
		t.Errorf("the log does not tell of the login:\n%s", server.Log())
	}
}

func TestSSHDListensForARemoteForward(t *testing.T) {
	t.Parallel()
	client := sshd.Start(t).Dial(t)
	ln, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if nc, err := ln.Accept(); err == nil {
			_, _ = nc.Write([]byte("hello"))
			_ = nc.Close()
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var got [5]byte
	if _, err := conn.Read(got[:]); err != nil || string(got[:]) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestStopEndsConnectionsAndRefusesNewOnes(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t)
	client := server.Dial(t)
	if n := server.Sessions(); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	server.Stop()
	wantLost(t, client)
	if _, err := net.Dial("tcp", server.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial of a stopped server: %v", err)
	}
	server.Stop() // once more does nothing
	if n := server.Sessions(); n != 0 {
		t.Errorf("%d sessions of a stopped server", n)
	}
}

func TestRestartKeepsPortAndHostKey(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t)
	address, key := server.Addr, server.HostPublicKey
	client := server.Dial(t)
	server.Restart()
	wantLost(t, client)
	if server.Addr != address || !same(server.HostPublicKey, key) {
		t.Errorf("now at %s with %v, was at %s with %v", server.Addr, server.HostPublicKey, address, key)
	}
	echo(t, server.Dial(t), target.Start(t)) // Dial checks the host key
}

func TestRestartWithNewHostKeyChangesItAlone(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t)
	address, old := server.Addr, server.HostPublicKey
	server.RestartWithNewHostKey()
	if server.Addr != address {
		t.Errorf("now at %s, was at %s", server.Addr, address)
	}
	server.Dial(t)
	_, err := ssh.Dial("tcp", server.Addr, &ssh.ClientConfig{HostKeyCallback: ssh.FixedHostKey(old)})
	if err == nil {
		t.Error("the old host key is still there")
	}
}

func TestKillSessionsSparesTheListener(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t)
	client := server.Dial(t)
	server.KillSessions()
	wantLost(t, client)
	if n := server.Sessions(); n != 0 {
		t.Errorf("%d sessions left", n)
	}
	echo(t, server.Dial(t), target.Start(t))
}

func TestOptionsReachSSHD(t *testing.T) {
	t.Parallel()
	port := sshd.FreePort(t)
	server := sshd.Start(t,
		sshd.WithPort(port),
		sshd.WithConfig("AllowTcpForwarding no"),
		sshd.WithHostKeys(sshd.ECDSA, sshd.RSA, sshd.Ed25519),
		sshd.WithClientKey(sshd.NewKey(t, sshd.ECDSA)),
	)
	if want := fmt.Sprintf("127.0.0.1:%d", port); server.Addr != want || server.Port != port {
		t.Errorf("listens at %s, want %s", server.Addr, want)
	}
	for _, key := range server.HostPublicKeys {
		_, err := ssh.Dial("tcp", server.Addr, &ssh.ClientConfig{
			User:              server.User,
			Auth:              []ssh.AuthMethod{ssh.PublicKeys(server.ClientSigner)},
			HostKeyCallback:   ssh.FixedHostKey(key),
			HostKeyAlgorithms: algorithms(key),
		})
		if err != nil {
			t.Errorf("host key of type %s: %v", key.Type(), err)
		}
	}
	var refused *ssh.OpenChannelError
	_, err := server.Dial(t).Dial("tcp", target.Start(t))
	if !errors.As(err, &refused) || refused.Reason != ssh.Prohibited {
		t.Errorf("dial without AllowTcpForwarding: %v", err)
	}
}

// algorithms are those that a host key of this type signs with.
func algorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

func same(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

func TestClientKeysParse(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t)
	plain, err := ssh.ParsePrivateKey(server.ClientKeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := server.ClientKeyEncryptedPEM("open sesame")
	var missing *ssh.PassphraseMissingError
	if _, err := ssh.ParsePrivateKey(encrypted); !errors.As(err, &missing) {
		t.Errorf("encrypted key without passphrase: %v", err)
	}
	opened, err := ssh.ParsePrivateKeyWithPassphrase(encrypted, []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []ssh.Signer{plain, opened} {
		if !same(key.PublicKey(), server.ClientSigner.PublicKey()) {
			t.Error("not the key that may log in")
		}
	}
}

func TestFreePortsAreFreeAndDiffer(t *testing.T) {
	t.Parallel()
	seen := make(map[int]bool)
	for range 20 {
		port := sshd.FreePort(t)
		if seen[port] {
			t.Errorf("port %d twice", port)
		}
		seen[port] = true
		ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
	}
}
