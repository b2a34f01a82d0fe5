package sshsite

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// bubble is a connection over a network in memory, inside a synctest bubble,
// and the server's side of it. That no goroutine is left when the connection
// has ended is checked by synctest.
type bubble struct {
	t      *testing.T
	net    *memnet.Network
	conn   *Conn        // what is tested
	server ssh.Conn     // its peer
	wire   *memnet.Conn // the server's end of the network

	mu       sync.Mutex // guards below
	silent   bool       // global requests are not answered
	requests []string   // the global requests that came
}

// inBubble connects and runs a test. The clock has not moved since the last
// byte of the login when the test begins.
func inBubble(t *testing.T, test func(t *testing.T, b *bubble)) {
	t.Helper()
	t.Parallel()
	host, err := sshserver.GenerateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, net: memnet.New()}
		near, far := b.net.Pair()
		b.wire = far
		var server sync.WaitGroup
		ready := make(chan struct{})
		server.Go(func() { b.serve(host, ready) })
		b.connect(near)
		<-ready
		synctest.Wait()
		test(t, b)
		b.net.Cut()
		b.conn.Close()
		server.Wait()
	})
}

// connect does what Dial does, but for the TCP connection.
func (b *bubble) connect(near *memnet.Conn) {
	b.t.Helper()
	t := newTransport(near)
	client, channels, requests, err := ssh.NewClientConn(t, "server", &ssh.ClientConfig{
		User: "mole", HostKeyCallback: ssh.InsecureIgnoreHostKey(), ClientVersion: clientVersion,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	t.step.Store(int32(stepDone))
	b.conn = newConn(b.t.Context(), t, client, channels, requests)
}

// serve is the server: it answers global requests and accepts all channels.
func (b *bubble) serve(host ssh.Signer, ready chan<- struct{}) {
	conf := &ssh.ServerConfig{NoClientAuth: true}
	conf.AddHostKey(host)
	server, channels, requests, err := ssh.NewServerConn(b.wire, conf)
	if err != nil {
		b.t.Error(err)
		close(ready)
		return
	}
	b.server = server
	close(ready)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for nc := range channels {
			if _, requests, err := nc.Accept(); err == nil {
				running.Go(func() { ssh.DiscardRequests(requests) })
			}
		}
	})
	for request := range requests {
		b.mu.Lock()
		b.requests = append(b.requests, request.Type)
		silent := b.silent
		b.mu.Unlock()
		if !silent {
			_ = request.Reply(false, nil)
		}
	}
}

// ignore makes the server leave global requests without an answer.
func (b *bubble) ignore() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.silent = true
}

// pass lets time pass, and everything happen that is due at its end.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// speak makes the server send some bytes that ask for nothing.
func (b *bubble) speak() {
	b.t.Helper()
	if _, _, err := b.server.SendRequest("news@example.org", false, nil); err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
}

// asked wants the server to have been asked so many keepalives.
func (b *bubble) asked(want int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range b.requests {
		if name != "keepalive@openssh.com" {
			b.t.Errorf("request %q", name)
		}
	}
	if len(b.requests) != want {
		b.t.Fatalf("the server was asked %d times, want %d", len(b.requests), want)
	}
}

func (b *bubble) lives() {
	b.t.Helper()
	select {
	case <-b.conn.Done():
		b.t.Fatalf("the connection has ended: %v", b.conn.Err())
	default:
	}
}

// dead wants the connection to have ended, and gives why.
func (b *bubble) dead() error {
	b.t.Helper()
	select {
	case <-b.conn.Done():
	default:
		b.t.Fatal("the connection lives on")
	}
	return b.conn.Err()
}
