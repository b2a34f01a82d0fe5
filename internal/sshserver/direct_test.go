package sshserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestDirectChannelsCarryEveryByte(t *testing.T) {
	t.Parallel()
	client, address := start(t, nil).client(), target.Start(t)
	for name, run := range map[string]func(net.Conn, int64) error{
		"echo":       target.Echo,
		"download":   target.Download,
		"upload":     target.Upload,
		"half-close": target.HalfClose,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, n := range []int64{0, 1, 3 << 20} { // more than a channel's window
				if err := tryTarget(client, address, run, n); err != nil {
					t.Errorf("%d bytes: %v", n, err)
				}
			}
		})
	}
}

// script is a target that runs a function on its one connection.
func script(t *testing.T, run func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if nc, err := ln.Accept(); err == nil {
			run(nc.(*net.TCPConn))
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

func TestATargetThatEndsItsSideFirstStillReads(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	address := script(t, func(nc *net.TCPConn) {
		_ = nc.CloseWrite()
		text, _ := io.ReadAll(nc)
		got <- string(text)
	})
	conn, err := start(t, nil).client().Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(conn); err != nil || len(text) != 0 {
		t.Fatalf("before the request: %q, %v", text, err)
	}
	if _, err := conn.Write([]byte("late request")); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if text := <-got; text != "late request" {
		t.Errorf("target got %q", text)
	}
}

func TestClosingAChannelEndsATargetThatNeverWould(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	opened := make(chan struct{})
	address := script(t, func(nc *net.TCPConn) {
		close(opened)
		var text strings.Builder
		_, err := io.Copy(&text, nc)
		if err == nil && text.String() != "all of it" {
			err = errors.New("got " + text.String())
		}
		got <- err
		<-t.Context().Done() // keeps its own side
	})
	server := start(t, nil)
	conn, err := server.client().Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	<-opened
	if _, err := conn.Write([]byte("all of it")); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	server.wait("channel gone", func(c sshserver.Counts) bool { return c.CurrentChannels == 0 })
}

func TestATargetSeesAnErrorWhenTheConnectionBreaks(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	begun := make(chan struct{})
	address := script(t, func(nc *net.TCPConn) {
		_, _ = nc.Read(make([]byte, 1))
		close(begun)
		_, err := io.Copy(io.Discard, nc)
		got <- err
	})
	server := start(t, nil)
	conn, err := server.client().Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("half of")); err != nil {
		t.Fatal(err)
	}
	<-begun
	server.faults.DropAll()
	if err := <-got; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("target ends with %v", err)
	}
}

// openError gives the reason and text of a refused channel.
func openError(t *testing.T, err error) ssh.OpenChannelError {
	t.Helper()
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		t.Fatalf("open is not refused: %v", err)
	}
	return *refused
}

func TestOpenFailuresSayWhy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want ssh.OpenChannelError
	}{
		"refused":     {syscall.ECONNREFUSED, ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Connection refused"}},
		"no route":    {syscall.EHOSTUNREACH, ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "No route to host"}},
		"no network":  {syscall.ENETUNREACH, ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Network is unreachable"}},
		"timed out":   {syscall.ETIMEDOUT, ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Connection timed out"}},
		"gave up":     {context.DeadlineExceeded, ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Connection timed out"}},
		"no name":     {&net.DNSError{IsNotFound: true}, ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Name or service not known"}},
		"not allowed": {&site.DialError{Reason: site.Denied, Err: syscall.EPERM}, ssh.OpenChannelError{Reason: ssh.Prohibited, Message: "open failed"}},
		"other":       {io.ErrNoProgress, ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "open failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, func(c *sshserver.Config) {
				c.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
					if network != "tcp" || address != "[2001:db8::1]:80" {
						t.Errorf("dials %s %s", network, address)
					}
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: test.err}
				}
			})
			_, err := server.client().Dial("tcp", "[2001:db8::1]:80")
			if got := openError(t, err); got != test.want {
				t.Errorf("got %v, want %v", &got, &test.want)
			}
		})
	}
}

func TestARefusedTargetIsToldAsOpenSSHTellsIt(t *testing.T) {
	t.Parallel()
	ours, theirs := start(t, nil).client(), sshd.Start(t).Dial(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := free.Addr().String()
	_ = free.Close()
	_, here := ours.Dial("tcp", closed)
	_, there := theirs.Dial("tcp", closed)
	if got, want := openError(t, here), openError(t, there); got != want {
		t.Errorf("got %v, OpenSSH says %v", &got, &want)
	}
}

func TestChannelsThatDoNotForwardAreRefused(t *testing.T) {
	t.Parallel()
	client := start(t, nil).client()
	for name, test := range map[string]struct {
		kind    string
		payload []byte
		want    ssh.RejectionReason
	}{
		"session":    {"session", nil, ssh.Prohibited},
		"unknown":    {"x11", nil, ssh.UnknownChannelType},
		"malformed":  {"direct-tcpip", []byte{1, 2, 3}, ssh.ConnectionFailed},
		"port 0":     {"direct-tcpip", open("127.0.0.1", 0), ssh.ConnectionFailed},
		"port 65536": {"direct-tcpip", open("127.0.0.1", 65536), ssh.ConnectionFailed},
		"no host":    {"direct-tcpip", open("", 80), ssh.ConnectionFailed},
		"long host":  {"direct-tcpip", open(strings.Repeat("a", 256), 80), ssh.ConnectionFailed},
	} {
		_, _, err := client.OpenChannel(test.kind, test.payload)
		if got := openError(t, err); got.Reason != test.want {
			t.Errorf("%s: got %v, want %v", name, &got, test.want)
		}
	}
}

// open is the payload of a direct-tcpip channel (RFC 4254, section 7.2).
func open(host string, port uint32) []byte {
	return ssh.Marshal(struct {
		Host       string
		Port       uint32
		Originator string
		OriginPort uint32
	}{host, port, "127.0.0.1", 1234})
}

func TestChannelsOverTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	server := start(t, func(c *sshserver.Config) { c.MaxChannels = 1 })
	client, address := server.client(), target.EchoServer(t)
	first, err := client.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Dial("tcp", address)
	if got := openError(t, err); got.Reason != ssh.ResourceShortage {
		t.Errorf("second channel: %v", &got)
	}
	if err := target.EchoMore(first, 1000); err != nil {
		t.Errorf("first channel after that: %v", err)
	}
}

func TestDialsEndWithTheConnection(t *testing.T) {
	t.Parallel()
	dialling := make(chan struct{})
	server := start(t, func(c *sshserver.Config) {
		c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(dialling)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	client := server.client()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = client.Dial("tcp", "192.0.2.1:80")
	}()
	<-dialling
	_ = client.Close()
	<-ended
	server.wait("dial gone", func(c sshserver.Counts) bool { return c.CurrentChannels == 0 })
}

func TestATargetWithoutHalfCloseIsRefused(t *testing.T) {
	t.Parallel()
	server := start(t, func(c *sshserver.Config) {
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			here, _ := net.Pipe()
			return here, nil
		}
	})
	_, err := server.client().Dial("tcp", "192.0.2.1:80")
	if got := openError(t, err); got.Reason != ssh.ConnectionFailed {
		t.Errorf("got %v", &got)
	}
}
