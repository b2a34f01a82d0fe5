package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/policy"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// journal is a log.
type journal struct {
	mu   sync.Mutex // guards below
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// without wants none of these texts in the log.
func (j *journal) without(t testing.TB, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(j.String(), s) {
			t.Errorf("the log has %q in it:\n%s", s, j)
		}
	}
}

func mustPolicy(t testing.TB) *policy.Policy {
	t.Helper()
	rules, err := policy.New(nil, nil)
	must(t, err)
	return rules
}

// startRelay serves a relay on this machine until the test ends. change may
// alter it before it serves.
func startRelay(t testing.TB, o relayOptions, change func(*relayServer)) *relayServer {
	t.Helper()
	o.Policy, o.SOCKSHost = mustPolicy(t), "127.0.0.1"
	if o.pool == (config.PortRange{}) {
		o.pool = config.PortRange{First: 18000, Last: 19999}
	}
	if o.Logger == nil {
		o.Logger = new(journal).logger()
	}
	ln, err := listenRelay(t.Context(), "127.0.0.1:0")
	must(t, err)
	r, err := newRelay(t.Context(), ln, o)
	must(t, err)
	if change != nil {
		change(r)
	}
	r.serve()
	t.Cleanup(func() { stopNow(r) })
	return r
}

func stopNow(r *relayServer) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	r.stop(now)
}

// connect connects to a listener. The end of the test cuts the connection.
func connect(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	must(t, err)
	tcp := c.(*net.TCPConn)
	t.Cleanup(func() {
		_ = tcp.SetLinger(0) // no port is kept busy
		_ = tcp.Close()
	})
	return tcp
}

// wantCut wants a connection to be ended by the other side, no later than limit.
func wantCut(t testing.TB, what string, c net.Conn, limit time.Duration) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(limit)))
	n, err := c.Read(make([]byte, 1))
	if timeout, ok := err.(net.Error); n != 0 || err == nil || ok && timeout.Timeout() {
		t.Errorf("%s is not cut: %d, %v", what, n, err)
	}
}

// eventually waits for something that must happen soon.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
