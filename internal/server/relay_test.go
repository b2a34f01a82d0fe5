package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/config"
	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/handshake"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestAClientsAddressIsLoggedWithItsPortUnlessAProxyTellsIt(t *testing.T) {
	t.Parallel()
	trust := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, r := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:99", "198.51.100.1", "192.0.2.1:99"},
		{"127.0.0.1:99", "198.51.100.1", "198.51.100.1"},
		{"127.0.0.1:99", "nonsense", "127.0.0.1:99"},
		{"@", "198.51.100.1", "@"},
	} {
		req := &http.Request{RemoteAddr: r.remote, Header: http.Header{"X-Forwarded-For": {r.forwarded}}}
		if got := clientAddress(req, trust); got != r.want {
			t.Errorf("%s with %q: %q, want %q", r.remote, r.forwarded, got, r.want)
		}
	}
}

// call asks the relay's API, and gives status and body.
func call(t testing.TB, r *relayServer, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.ln.Addr().String()+path, strings.NewReader(body))
	must(t, err)
	req.Header.Set("X-API-Key", "some-api-key")
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	var answer map[string]any
	if len(bytes.TrimSpace(text)) > 0 {
		must(t, json.Unmarshal(text, &answer))
	}
	return resp.StatusCode, answer
}

// joinAs is a peer of a relay, by a token that may be refused.
func joinAs(t testing.TB, r *relayServer, token string, kind relay.Kind) (*linksocks.Session, string) {
	t.Helper()
	reverse := "false"
	if kind == relay.Reverse {
		reverse = "true"
	}
	u, err := url.Parse(r.url() + "/socket?" + url.Values{
		"token": {linksocks.HashToken(redact.New(token)).Reveal()}, "reverse": {reverse}, "instance": {uuid.NewString()},
	}.Encode())
	must(t, err)
	conn, _, err := new(handshake.Dialer).Dial(t.Context(), u, ws.Config{WriteTimeout: wire.WriteTimeout})
	must(t, err)
	answer, err := linksocks.ReadAuthResponse(conn)
	must(t, err)
	if !answer.OK {
		_ = conn.Close()
		return nil, answer.Cause
	}
	here := relay.Here(mustPolicy(t))
	s := linksocks.New(conn, wire.Config{Dial: here.Dial, UDP: here.UDP})
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.Run(context.Background())
	}()
	t.Cleanup(func() {
		s.Close()
		<-over
	})
	return s, ""
}

func TestTokensOfTheAPIServeAndSurviveARestart(t *testing.T) {
	t.Parallel()
	log := new(journal)
	d := openTestData(t, t.TempDir())
	echo := target.EchoServer(t)
	o := relayOptions{Options: relay.Options{Keeper: keeper{d}, Logger: log.logger()}, apiKey: redact.New("some-api-key")}
	first := startRelay(t, o, nil)
	for _, body := range []string{
		`{"type":"forward","token":"some-forward-token"}`,
		`{"type":"reverse","token":"some-reverse-token","username":"some-username","password":"some-password"}`,
		`{"type":"connector","token":"some-connector-token","reverse_token":"some-reverse-token"}`,
	} {
		if status, answer := call(t, first, http.MethodPost, "/api/token", body); status != http.StatusOK {
			t.Fatalf("%s: %d %v", body, status, answer)
		}
	}
	use := func(r *relayServer) {
		t.Helper()
		if s, cause := joinAs(t, r, "some-reverse-token", relay.Reverse); s == nil {
			t.Fatalf("the provider is told %q", cause)
		}
		for token, kind := range map[string]relay.Kind{"some-forward-token": relay.Forward, "some-connector-token": relay.Connector} {
			s, cause := joinAs(t, r, token, kind)
			if s == nil {
				t.Fatalf("%s is told %q", token, cause)
			}
			c, err := s.Dial(t.Context(), "tcp", echo)
			must(t, err)
			must(t, target.EchoMore(c, 10_000), c.Close())
		}
	}
	use(first)
	_, before := call(t, first, http.MethodGet, "/api/status", "")
	stopNow(first)
	var err error
	o.kept, err = keeper{d}.kept(t.Context(), log.logger())
	must(t, err)
	second := startRelay(t, o, nil)
	_, after := call(t, second, http.MethodGet, "/api/status", "")
	if a, b := ports(before), ports(after); a != b || a == "" {
		t.Errorf("ports %q became %q", a, b)
	}
	use(second)
	if status, answer := call(t, second, http.MethodDelete, "/api/token/some-reverse-token", ""); status != http.StatusOK {
		t.Errorf("delete: %d %v", status, answer)
	}
	if s, cause := joinAs(t, second, "some-connector-token", relay.Connector); s != nil || cause != "invalid token" {
		t.Errorf("the connector's token is told %q", cause)
	}
	stopNow(second)
	hash := func(token string) string { return linksocks.HashToken(redact.New(token)).Reveal() }
	log.without(t, "some-forward-token", "some-reverse-token", "some-connector-token", "some-username", "some-password", "some-api-key",
		hash("some-forward-token"), hash("some-reverse-token"), hash("some-connector-token"))
}

// ports are the ports of a status, in its order.
func ports(status map[string]any) (text string) {
	tokens, _ := status["tokens"].([]any)
	for _, token := range tokens {
		port, _ := json.Marshal(token.(map[string]any)["port"])
		text += string(port) + " "
	}
	return text
}

func TestAStopLetsStreamsEndThatDoSoInTime(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{}, nil)
	_, err := r.hub.Give(t.Context(), relay.TokenSpec{Kind: relay.Forward, Token: redact.New("some-forward-token")})
	must(t, err)
	s, cause := joinAs(t, r, "some-forward-token", relay.Forward)
	if s == nil {
		t.Fatal(cause)
	}
	c, err := s.Dial(t.Context(), "tcp", target.EchoServer(t))
	must(t, err)
	must(t, target.EchoMore(c, 1000))
	drain, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop(drain)
	}()
	eventually(t, "nobody else is taken in", func() bool {
		resp := upgrade(t, r)
		return resp == http.StatusServiceUnavailable
	})
	if _, err := s.Dial(t.Context(), "tcp", "127.0.0.1:9"); err == nil {
		t.Error("a stream is opened while the relay stops")
	}
	must(t, target.EchoMore(c, 1000), c.Close())
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("the relay waits for nobody")
	}
	select {
	case <-s.Done():
	case <-time.After(time.Second):
		t.Error("the link lives on")
	}
}

// upgrade is the status of a request for a link whose token nobody knows.
func upgrade(t testing.TB, r *relayServer) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.ln.Addr().String()+"/socket?token=x", nil)
	must(t, err)
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	must(t, err)
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestWhatARelayOfItsOwnIsTold(t *testing.T) {
	t.Parallel()
	o, err := alone(relay.Options{}, config.RelayServe{SOCKSHost: "::1", ConnectorWait: 7 * time.Second, SOCKSNoWait: true, Deny: []string{"10.0.0.0/8"}}, nil, 8765)
	must(t, err)
	if o.SOCKSHost != "::1" || o.ConnectorWait != 7*time.Second || !o.NoWait || o.Deliver != nil {
		t.Errorf("%+v", o)
	}
	for _, address := range []string{"10.1.2.3:80", "127.0.0.1:8765"} {
		at := netip.MustParseAddrPort(address)
		if o.Policy.CheckHere("", at) == nil {
			t.Errorf("%s may be dialled", address)
		}
	}
	if o, err = alone(relay.Options{}, config.RelayServe{}, nil, 8765); err != nil || o.ConnectorWait >= 0 {
		t.Errorf("no time to wait is %v, %v", o.ConnectorWait, err)
	}
	for _, wrong := range []config.RelayServe{{Allow: []string{"300.0.0.1"}}, {UpstreamProxy: redact.New("gopher://user:some-password@host")}} {
		if _, err := alone(relay.Options{}, wrong, nil, 8765); err == nil || strings.Contains(err.Error(), "some-password") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	o, err = alone(relay.Options{}, config.RelayServe{UpstreamProxy: redact.New("socks5://127.0.0.1:1"), Deny: []string{"127.0.0.2"}}, nil, 8765)
	must(t, err)
	if place := o.Deliver(o.Policy); place.UDP != nil || place.Dial == nil {
		t.Error("datagrams are sent beside the proxy")
	}
}
