package relayapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

const testKey = "your_secret_api_key"

// memory is a relay without links: it keeps tokens, and refuses in the words of
// the contract.
type memory struct {
	broken error // what every wish meets, if set

	mu     sync.Mutex // guards below
	tokens []relay.TokenStatus
	last   relay.TokenSpec
}

func refusal(problem relay.TokenProblem, text string) error {
	return &relay.TokenError{Problem: problem, Text: text}
}

func (m *memory) Add(_ context.Context, spec relay.TokenSpec) (relay.Added, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = spec
	token := spec.Token
	if token.IsZero() {
		token = redact.New("0123456789abcdef")
	}
	switch {
	case m.broken != nil:
		return relay.Added{}, m.broken
	case spec.Kind == relay.Connector:
		return m.addConnectorLocked(token, spec.ReverseToken)
	case token.Reveal() == "anonymous":
		return relay.Added{}, refusal(relay.Invalid, "'anonymous' is reserved and cannot be used as a token")
	case m.findLocked(token) != nil:
		return relay.Added{}, refusal(relay.Conflict, "token already exists")
	case spec.Port < 0 || spec.Port > 65535:
		return relay.Added{}, refusal(relay.Invalid, "invalid port")
	case spec.Port == 1:
		return relay.Added{}, refusal(relay.Conflict, "cannot allocate port: 1")
	}
	port := spec.Port
	switch {
	case spec.Kind == relay.Forward:
		port = 0
	case port == 0 && spec.ManageConnectors:
		port = -1
	case port == 0:
		port = 1024
	}
	m.tokens = append(m.tokens, relay.TokenStatus{Token: token, Kind: spec.Kind, Port: port})
	return relay.Added{Token: token, Port: port}, nil
}

func (m *memory) addConnectorLocked(token, reverse redact.Secret) (relay.Added, error) {
	owner := m.findLocked(reverse)
	switch {
	case token.Reveal() == "anonymous":
		return relay.Added{}, refusal(relay.Invalid, "'anonymous' is reserved and cannot be used as a connector token")
	case owner == nil || owner.Token != reverse || owner.Kind != relay.Reverse:
		return relay.Added{}, refusal(relay.NotFound, "reverse token does not exist")
	}
	if taken := m.findLocked(token); taken == nil {
		owner.Connectors = append(owner.Connectors, token)
	} else if taken != owner || token == owner.Token {
		return relay.Added{}, refusal(relay.Conflict, "connector token already exists")
	}
	return relay.Added{Token: token}, nil
}

// findLocked gives the token, or the reverse token of a connector.
func (m *memory) findLocked(token redact.Secret) *relay.TokenStatus {
	for i, t := range m.tokens {
		if t.Token == token {
			return &m.tokens[i]
		}
		for _, connector := range t.Connectors {
			if connector == token {
				return &m.tokens[i]
			}
		}
	}
	return nil
}

func (m *memory) Remove(_ context.Context, token redact.Secret) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	for i, t := range m.tokens {
		if t.Token == token {
			m.tokens = append(m.tokens[:i:i], m.tokens[i+1:]...)
			return nil
		}
	}
	return refusal(relay.NotFound, "token does not exist")
}

func (m *memory) Status() []relay.TokenStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]relay.TokenStatus(nil), m.tokens...)
}

// seeded has the tokens that the contract's example shows.
func seeded() *memory {
	return &memory{tokens: []relay.TokenStatus{
		{Token: redact.New("forward_token_123"), Kind: relay.Forward, Clients: 2},
		{Token: redact.New("reverse_token_456"), Kind: relay.Reverse, Clients: 1, Port: 9870,
			Connectors: []redact.Secret{redact.New("connector_abc"), redact.New("connector_def")}},
	}}
}

// serve serves the API of a relay; its log goes to w.
func serve(t *testing.T, tokens Tokens, w io.Writer) *httptest.Server {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	server := httptest.NewServer(New(Options{
		Tokens: tokens, Key: redact.New(testKey), Version: "v1.2.3", Metrics: metrics,
		Logger: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}))
	t.Cleanup(server.Close)
	return server
}

// reply is an answer, with what every answer has checked already.
type reply struct {
	status int
	body   string
	header http.Header
}

func call(t *testing.T, server *httptest.Server, key, method, path, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s %s: header %v", method, path, resp.Header)
	}
	got := reply{resp.StatusCode, string(text), resp.Header}
	held(t, method, path, body, got)
	return got
}
