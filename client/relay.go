package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/adit-tunnel/adit/api"
)

// Relay calls the HTTP API of a relay, which adds, lists and removes its tokens.
// It is safe for concurrent use.
type Relay struct {
	client *Client
	key    api.Secret
}

// NewRelay makes a client of the relay at base, such as http://localhost:8765,
// with its API key. It calls through h, as New does.
func NewRelay(base string, key api.Secret, h *http.Client) (*Relay, error) {
	c, err := New(base, h)
	if err != nil {
		return nil, err
	}
	return &Relay{client: c, key: key}, nil
}

// RelayError is what a relay refuses.
type RelayError struct {
	Status int    // of HTTP
	Text   string // the relay's words
}

func (e *RelayError) Error() string { return "the relay refused: " + e.Text }

// Status lists the tokens of the relay. redacted shows no more of each than
// tells one's own apart.
func (r *Relay) Status(ctx context.Context, redacted bool) (state api.RelayState, err error) {
	path := "/api/status"
	if redacted {
		path += "?redact=true"
	}
	err = r.call(ctx, http.MethodGet, path, nil, &state)
	return state, err
}

// Add makes a token.
func (r *Relay) Add(ctx context.Context, in api.RelayTokenInput) (added api.RelayToken, err error) {
	err = r.call(ctx, http.MethodPost, "/api/token", in, &added)
	return added, err
}

// Remove ends a token, and what it carries.
func (r *Relay) Remove(ctx context.Context, token api.Secret) error {
	// In the body, since paths are logged by what is in between.
	return r.call(ctx, http.MethodDelete, "/api/token", map[string]string{"token": string(token)}, new(api.RelayToken))
}

func (r *Relay) call(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	target, err := url.Parse(r.client.base.String() + path)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), sent)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", string(r.key))
	answer, err := r.client.http.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if answer.StatusCode >= 300 {
		var refused struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(text, &refused) != nil || refused.Error == "" {
			return &StatusError{Status: answer.StatusCode, Request: method + " " + path}
		}
		return &RelayError{Status: answer.StatusCode, Text: refused.Error}
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}
