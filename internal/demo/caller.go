package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/adit-tunnel/adit/api"
)

const (
	callTimeout = 30 * time.Second // well above the 8 s of a start
	maxAnswer   = 1 << 20
)

// caller calls the control API.
type caller struct {
	url   string
	token api.Secret // none before registration
	http  *http.Client

	freePort func(context.Context) (int, error)
}

// newCaller does not share the default transport, so that close can end all of
// its connections and no others.
func newCaller(url string) *caller {
	return &caller{url: url, http: &http.Client{Transport: new(http.Transport), Timeout: callTimeout}, freePort: freePort}
}

func (c *caller) close() { c.http.CloseIdleConnections() }

// call sends body (nothing when nil) and reads a success into answer (unless
// that is nil). A refusal is an *api.Error.
func (c *caller) call(ctx context.Context, method, path string, body, answer any) error {
	err := c.exchange(ctx, method, path, body, answer)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (c *caller) exchange(ctx context.Context, method, path string, body, answer any) error {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, &sent)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+string(c.token))
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusBadRequest:
		return refusal(resp, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}

// refusal is the error that an answer holds.
func refusal(resp *http.Response, text []byte) error {
	var body api.ErrorBody
	if json.Unmarshal(text, &body) != nil || body.Code == "" {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return &api.Error{Code: body.Code, Message: fmt.Sprint(body.Message), Hint: body.Hint}
}
