package sshserver_test

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// moment is how long a test watches that nothing comes.
const moment = 300 * time.Millisecond

func TestHandshakeFaultsAsAClientSeesThem(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault  sshserver.Handshake
		prefix string // of what the server says
		hangs  bool   // and then stays, and does not end
	}{
		"close at once":       {sshserver.CloseAtOnce, "", false},
		"hang at once":        {sshserver.HangAtOnce, "", true},
		"HTTP":                {sshserver.SpeakHTTP, "HTTP/1.1 400 ", false},
		"SMTP":                {sshserver.SpeakSMTP, "220 ", true},
		"garbage":             {sshserver.SpeakGarbage, "", false},
		"close after version": {sshserver.CloseAfterVersion, "SSH-2.0-", false},
		"hang after version":  {sshserver.HangAfterVersion, "SSH-2.0-", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, nil)
			server.faults.SetHandshake(test.fault)
			nc := dialTCP(t, server.addr)
			_ = nc.SetReadDeadline(time.Now().Add(moment))
			text, err := io.ReadAll(nc)
			if !strings.HasPrefix(string(text), test.prefix) || (test.fault == sshserver.SpeakGarbage) != (len(text) == 4096) {
				t.Errorf("says %d bytes, %.20q", len(text), text)
			}
			if hangs := errors.Is(err, os.ErrDeadlineExceeded); hangs != test.hangs {
				t.Errorf("ends with %v", err)
			}
			_ = nc.Close()
			server.wait("noticed our close", func(c sshserver.Counts) bool { return c.Current == 0 })

			if _, err := server.dial(server.config(), moment); err == nil {
				t.Error("an SSH client logs in")
			}
			server.faults.SetHandshake(sshserver.Behave)
			server.client()
		})
	}
}

func TestHangInAuthComesAfterTheHostKey(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	server.faults.SetHandshake(sshserver.HangInAuth)
	cfg := server.config()
	keyed := false
	cfg.HostKeyCallback = func(string, net.Addr, ssh.PublicKey) error { keyed = true; return nil }
	_, err := server.dial(cfg, 3*moment)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !keyed {
		t.Errorf("login ends with %v, host key seen: %v", err, keyed)
	}
	server.wait("client gone", func(c sshserver.Counts) bool { return c.Current == 0 })
	if c := server.Counts(); c.PasswordAttempts != 0 {
		t.Errorf("counts are %+v", c)
	}
}

func TestRefuseChannels(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client, address := server.client(), target.Start(t)
	server.faults.RefuseChannels(true)
	_, err := client.Dial("tcp", address)
	if got := openError(t, err); got.Reason != ssh.Prohibited {
		t.Errorf("got %v", &got)
	}
	server.faults.RefuseChannels(false)
	if err := tryTarget(client, address, target.Echo, 1000); err != nil {
		t.Error(err)
	}
}

func TestIgnoreChannelsAnswersNoOpen(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client, address := server.client(), target.Start(t)
	server.faults.IgnoreChannels(true)
	ended := make(chan error, 1)
	go func() {
		_, err := client.Dial("tcp", address)
		ended <- err
	}()
	server.wait("open arrived", func(c sshserver.Counts) bool { return c.ChannelOpens == 1 })
	server.faults.IgnoreChannels(false)
	if err := tryTarget(client, address, target.Echo, 1000); err != nil {
		t.Errorf("the next channel: %v", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the first open is answered: %v", err)
	default:
	}
	_ = client.Close()
	<-ended
}

func TestIgnoreRequestsAnswersNoKeepalive(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client := server.client()
	server.faults.IgnoreRequests(true)
	ended := make(chan error, 1)
	go func() {
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		ended <- err
	}()
	// Channels still work, and give the keepalive time for an answer.
	if err := tryTarget(client, target.Start(t), target.Echo, 1000); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the keepalive is answered: %v", err)
	case <-time.After(moment):
	}
	_ = client.Close()
	if err := <-ended; err == nil {
		t.Error("the keepalive is answered after the end")
	}
}

func TestRefuseForwards(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client := server.client()
	server.faults.RefuseForwards(true)
	if _, err := client.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("a forward is granted")
	}
	server.faults.RefuseForwards(false)
	if _, err := client.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Error(err)
	}
}

func TestDropAllResetsConnections(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	shaking := dialTCP(t, server.addr)
	if _, err := shaking.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	client := server.client()

	server.faults.DropAll()
	if _, err := io.ReadAll(shaking); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connection in its handshake ends with %v", err)
	}
	if err := client.Wait(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connection ends with %v", err)
	}
	server.wait("all gone", func(c sshserver.Counts) bool { return c.Current == 0 })
	server.client() // later ones are let in
}

// keepalive sends one and gives a channel that closes with the answer.
func keepalive(client *ssh.Client) <-chan struct{} {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil)
	}()
	return answered
}

func wantSilence(t *testing.T, answered <-chan struct{}) {
	t.Helper()
	select {
	case <-answered:
		t.Error("there is an answer")
	case <-time.After(moment):
	}
}

func TestStopReadingStillWrites(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client := server.client()
	say := make(chan struct{})
	conn, err := client.Dial("tcp", script(t, func(nc *net.TCPConn) {
		<-say
		_, _ = nc.Write([]byte("hello"))
		_, _ = io.Copy(io.Discard, nc)
	}))
	if err != nil {
		close(say)
		t.Fatal(err)
	}
	server.faults.StopReading(true)
	answered := keepalive(client)
	wantSilence(t, answered)
	close(say)
	var got [5]byte
	if _, err := io.ReadFull(conn, got[:]); err != nil || string(got[:]) != "hello" {
		t.Errorf("meanwhile the target says %q, %v", got, err)
	}
	server.faults.StopReading(false)
	<-answered
	_ = conn.Close()
}

func TestStopReadingStallsWrites(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	conn, err := server.client().Dial("tcp", target.EchoServer(t))
	if err != nil {
		t.Fatal(err)
	}
	server.faults.StopReading(true)
	const size = 64 << 20 // more than buffers and window hold
	echoed := make(chan error, 1)
	go func() { echoed <- target.EchoMore(conn, size) }()
	select {
	case err := <-echoed:
		t.Fatalf("the write does not stall: %v", err)
	case <-time.After(moment):
	}
	server.faults.DropAll()
	if err := <-echoed; err == nil {
		t.Error("a cut stream ends well")
	}
}

func TestBlackHoleLosesNothing(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client := server.client()
	say := make(chan struct{})
	conn, err := client.Dial("tcp", script(t, func(nc *net.TCPConn) {
		<-say
		_, _ = nc.Write([]byte("hello"))
		_, _ = io.Copy(io.Discard, nc)
	}))
	if err != nil {
		close(say)
		t.Fatal(err)
	}
	server.faults.BlackHole(true)
	server.faults.BlackHole(true) // twice is once
	answered := keepalive(client)
	close(say)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_, _ = io.ReadFull(conn, make([]byte, 5))
	}()
	wantSilence(t, answered)
	wantSilence(t, heard)
	server.faults.BlackHole(false)
	<-answered
	<-heard
	_ = conn.Close()
}

func TestAServerInABlackHoleStops(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	client := server.client()
	server.faults.BlackHole(true)
	wantSilence(t, keepalive(client))
	server.stop()
}

func TestSetHostKeysChangesLaterConnections(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	other, err := sshserver.GenerateECDSAHostKey()
	if err != nil {
		t.Fatal(err)
	}
	before := server.client()
	server.faults.SetHostKeys(other)
	if _, err := server.dial(server.config(), patience); err == nil {
		t.Error("the old host key is still there")
	}
	cfg := server.config()
	cfg.HostKeyCallback = ssh.FixedHostKey(other.PublicKey())
	if _, err := server.dial(cfg, patience); err != nil {
		t.Errorf("with the new one: %v", err)
	}
	if err := tryTarget(before, target.Start(t), target.Echo, 1000); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	server.faults.SetHostKeys()
	server.client()
}

func TestSetAlgorithmsLeavesNothingInCommon(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	server.faults.SetAlgorithms(ssh.Algorithms{Ciphers: []string{ssh.InsecureCipherRC4256}})
	var none *ssh.AlgorithmNegotiationError
	if _, err := server.dial(server.config(), patience); !errors.As(err, &none) {
		t.Errorf("handshake ends with %v", err)
	}
	server.faults.SetAlgorithms(ssh.Algorithms{})
	server.client()
}

func TestSetPasswordChangesTheAcceptedOne(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	server.faults.SetPassword(redact.New("torch"))
	if _, err := server.dial(server.config(), patience); err == nil {
		t.Error("the old password still logs in")
	}
	cfg := server.config()
	cfg.Auth = []ssh.AuthMethod{ssh.Password("torch")}
	if _, err := server.dial(cfg, patience); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

func TestAskedHostKeysAreTheClients(t *testing.T) {
	t.Parallel()
	server := start(t, nil)
	if asked := server.faults.AskedHostKeys(); asked != nil {
		t.Errorf("before the first client: %v", asked)
	}
	cfg := server.config()
	cfg.HostKeyAlgorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoED25519}
	if _, err := server.dial(cfg, patience); err != nil {
		t.Fatal(err)
	}
	if asked := server.faults.AskedHostKeys(); !slices.Equal(asked, cfg.HostKeyAlgorithms) {
		t.Errorf("asked for %v, want %v", asked, cfg.HostKeyAlgorithms)
	}
}
