package server

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/peer"
	"github.com/adit-tunnel/adit/internal/proxy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// lines is what a command prints, a line at a time.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// ready runs something until the test ends, and gives its ready line.
func ready(t testing.TB, run func(ctx context.Context, stdout lines) error) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	printed, ended := make(lines, 10), make(chan error, 1)
	go func() { ended <- run(ctx, printed) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	select {
	case line := <-printed:
		return strings.TrimSuffix(line, "\n")
	case err := <-ended:
		ended <- err
		t.Fatalf("it ended: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("it does not get ready")
	}
	return ""
}

// behind dials through a SOCKS port, as the ready line of a peer has it.
func behind(t testing.TB, line, address string) error {
	t.Helper()
	_, text, ok := strings.Cut(line, "socks=")
	if !ok {
		t.Fatalf("the ready line is %q", line)
	}
	way, err := proxy.Parse(text)
	must(t, err)
	c, err := way.Dial(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	return target.EchoMore(c, 100_000)
}

func TestARelayAndItsPeersFindEachOther(t *testing.T) {
	t.Parallel()
	log := new(journal)
	echo := target.EchoServer(t)
	dir := t.TempDir()
	line := ready(t, func(ctx context.Context, stdout lines) error {
		return RunRelay(ctx, config.RelayServe{
			Listen: "127.0.0.1:0", Data: dir, Reverse: true, Token: redact.New("some-reverse-token"), ConnectorToken: redact.New("some-connector-token"),
			SOCKSHost: "127.0.0.1", SOCKSPool: config.PortRange{First: 16000, Last: 17999}, UDPIdle: time.Minute, ConnectorWait: 5 * time.Second,
		}, stdout, log)
	})
	at, found := strings.CutPrefix(line, "adit ready relay=")
	if !found {
		t.Fatalf("the ready line is %q", line)
	}
	peerOf := func(role config.Role, token string) config.Peer {
		return config.Peer{Role: role, URL: at + "/socket", Token: redact.New(token), SOCKSHost: "127.0.0.1", Threads: 2,
			NoEnvProxy: true, UDPIdle: time.Minute}
	}
	run := func(cfg config.Peer) string {
		t.Helper()
		return ready(t, func(ctx context.Context, stdout lines) error { return RunPeer(ctx, cfg, stdout, log) })
	}
	if line := run(peerOf(config.RoleProvider, "some-reverse-token")); line != "adit ready relay="+at+"/socket" {
		t.Errorf("the provider's ready line is %q", line)
	}
	connector := run(peerOf(config.RoleConnector, "some-connector-token"))
	must(t, behind(t, connector, echo))
	log.without(t, "some-reverse-token", "some-connector-token")
}

func TestAProviderLendsWhatItsRulesAllow(t *testing.T) {
	t.Parallel()
	place, err := lend(config.Peer{Deny: []string{"127.0.0.1"}})
	must(t, err)
	if _, err := place.Dial(t.Context(), "tcp", target.EchoServer(t)); err == nil {
		t.Error("it lends what is denied")
	}
	place, err = lend(config.Peer{UpstreamProxy: redact.New("socks5://127.0.0.1:1")})
	must(t, err)
	if place.UDP != nil {
		t.Error("datagrams are sent beside the proxy")
	}
	for _, wrong := range []config.Peer{{Allow: []string{"300.0.0.1"}}, {UpstreamProxy: redact.New("gopher://user:some-password@host")}} {
		if _, err := lend(wrong); err == nil || strings.Contains(err.Error(), "some-password") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func TestAuthoritiesComeFromAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	must(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	for _, path := range []string{empty, filepath.Join(dir, "missing.pem"), dir} {
		if _, err := readCA(path); err == nil || !strings.HasPrefix(err.Error(), "--ca: ") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestTheWayToTheRelayIsAsTold(t *testing.T) {
	t.Parallel()
	log := new(journal)
	at, err := url.Parse("ws://relay.example/socket")
	must(t, err)
	o := peer.Options{URL: at}
	d, err := wayToRelay(config.Peer{RelayProxy: redact.New("http://user:some-password@127.0.0.1:1")}, o, log.logger())
	if err != nil || d.NetDial == nil || d.TLS != nil {
		t.Errorf("%+v, %v", d, err)
	}
	log.without(t, "some-password")
	if d, err = wayToRelay(config.Peer{NoEnvProxy: true}, o, log.logger()); err != nil || d.NetDial != nil {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err = wayToRelay(config.Peer{CA: "/missing.pem", NoEnvProxy: true}, o, log.logger()); err == nil {
		t.Error("a missing file is no mistake")
	}
}
