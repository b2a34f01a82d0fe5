package client

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
)

// Servers lists SSH servers, newest first.
func (c *Client) Servers(ctx context.Context, in In, page Page) (List[api.Server], error) {
	return callList[api.Server](ctx, c, "/servers", in.query(), page)
}

// CreateServer adds an SSH server.
func (c *Client) CreateServer(ctx context.Context, in In, s api.ServerInput) (api.Server, error) {
	return call[api.Server](ctx, c, http.MethodPost, "/servers", in.query(), s)
}

// Server reads an SSH server. id is its id or localId, as everywhere.
func (c *Client) Server(ctx context.Context, id string) (api.Server, error) {
	return call[api.Server](ctx, c, http.MethodGet, join("servers", id), nil, nil)
}

// UpdateServer changes an SSH server: what is given of s.
func (c *Client) UpdateServer(ctx context.Context, id string, s api.ServerInput) (api.Server, error) {
	return call[api.Server](ctx, c, http.MethodPatch, join("servers", id), nil, s)
}

// DeleteServer deletes an SSH server.
func (c *Client) DeleteServer(ctx context.Context, id string) error {
	_, err := call[api.Message](ctx, c, http.MethodDelete, join("servers", id), nil, nil)
	return err
}

// SyncServers creates and updates many SSH servers, 1000 at most. What is wrong
// with one is in the answer's Errors.
func (c *Client) SyncServers(ctx context.Context, in In, list []api.ServerInput) (api.Synced[api.Server], error) {
	return call[api.Synced[api.Server]](ctx, c, http.MethodPost, "/servers/sync", in.query(), list)
}

// AcceptServerHostKey accepts the offered host key with this fingerprint, or
// announces one before any connection.
func (c *Client) AcceptServerHostKey(ctx context.Context, id, fingerprint string) (api.Server, error) {
	return call[api.Server](ctx, c, http.MethodPut, join("servers", id, "host-key"), nil, api.HostKeyInput{Fingerprint: fingerprint})
}

// ForgetServerHostKey drops what is known of a server's host key.
func (c *Client) ForgetServerHostKey(ctx context.Context, id string) (api.Server, error) {
	return call[api.Server](ctx, c, http.MethodDelete, join("servers", id, "host-key"), nil, nil)
}

// Keys lists keys, newest first.
func (c *Client) Keys(ctx context.Context, in In, page Page) (List[api.Key], error) {
	return callList[api.Key](ctx, c, "/keys", in.query(), page)
}

// CreateKey adds a key.
func (c *Client) CreateKey(ctx context.Context, in In, k api.KeyInput) (api.Key, error) {
	return call[api.Key](ctx, c, http.MethodPost, "/keys", in.query(), k)
}

// Key reads a key, without its secrets.
func (c *Client) Key(ctx context.Context, id string) (api.Key, error) {
	return call[api.Key](ctx, c, http.MethodGet, join("keys", id), nil, nil)
}

// UpdateKey changes a key: what is given of k.
func (c *Client) UpdateKey(ctx context.Context, id string, k api.KeyInput) (api.Key, error) {
	return call[api.Key](ctx, c, http.MethodPatch, join("keys", id), nil, k)
}

// DeleteKey deletes a key.
func (c *Client) DeleteKey(ctx context.Context, id string) error {
	_, err := call[api.Message](ctx, c, http.MethodDelete, join("keys", id), nil, nil)
	return err
}

// SyncKeys creates and updates many keys, 1000 at most.
func (c *Client) SyncKeys(ctx context.Context, in In, list []api.KeyInput) (api.Synced[api.Key], error) {
	return call[api.Synced[api.Key]](ctx, c, http.MethodPost, "/keys/sync", in.query(), list)
}

// Forwards lists port forwards, newest first. status is api.StatusActive,
// api.StatusInactive, or empty for both.
func (c *Client) Forwards(ctx context.Context, in In, status string, page Page) (List[api.Forward], error) {
	q := in.query()
	if status != "" {
		q.Set("status", status)
	}
	return callList[api.Forward](ctx, c, "/port-forwards", q, page)
}

// CreateForward adds a port forward.
func (c *Client) CreateForward(ctx context.Context, in In, f api.ForwardInput) (api.Forward, error) {
	return call[api.Forward](ctx, c, http.MethodPost, "/port-forwards", in.query(), f)
}

// Forward reads a port forward.
func (c *Client) Forward(ctx context.Context, id string) (api.Forward, error) {
	return call[api.Forward](ctx, c, http.MethodGet, join("port-forwards", id), nil, nil)
}

// UpdateForward changes a port forward: what is given of f. One that runs moves
// to the new values.
func (c *Client) UpdateForward(ctx context.Context, id string, f api.ForwardInput) (api.Forward, error) {
	return call[api.Forward](ctx, c, http.MethodPatch, join("port-forwards", id), nil, f)
}

// DeleteForward deletes a port forward; with open connections only if force is set.
func (c *Client) DeleteForward(ctx context.Context, id string, force bool) error {
	q := In("").query()
	if force {
		q.Set("force", "true")
	}
	_, err := call[api.Message](ctx, c, http.MethodDelete, join("port-forwards", id), q, nil)
	return err
}

// SyncForwards creates and updates many port forwards, 1000 at most.
func (c *Client) SyncForwards(ctx context.Context, in In, list []api.ForwardInput) (api.Synced[api.Forward], error) {
	return call[api.Synced[api.Forward]](ctx, c, http.MethodPost, "/port-forwards/sync", in.query(), list)
}

// StartForward starts a port forward, and returns when it runs.
func (c *Client) StartForward(ctx context.Context, id string) (api.Forward, error) {
	return call[api.Forward](ctx, c, http.MethodPost, join("port-forwards", id, "start"), nil, nil)
}

// StopForward stops a port forward.
func (c *Client) StopForward(ctx context.Context, id string) (api.Forward, error) {
	return call[api.Forward](ctx, c, http.MethodPost, join("port-forwards", id, "stop"), nil, nil)
}

// ForwardStatus tells what a port forward is doing now.
func (c *Client) ForwardStatus(ctx context.Context, id string) (api.ForwardStatus, error) {
	return call[api.ForwardStatus](ctx, c, http.MethodGet, join("port-forwards", id, "status"), nil, nil)
}

// AcceptForwardHostKey is AcceptServerHostKey for a port
// forward with an SSH server of its own.
func (c *Client) AcceptForwardHostKey(ctx context.Context, id, fingerprint string) (api.Forward, error) {
	return call[api.Forward](ctx, c, http.MethodPut, join("port-forwards", id, "host-key"), nil, api.HostKeyInput{Fingerprint: fingerprint})
}

// ForgetForwardHostKey drops what is known of the host key of a port forward's
// own SSH server.
func (c *Client) ForgetForwardHostKey(ctx context.Context, id string) (api.Forward, error) {
	return call[api.Forward](ctx, c, http.MethodDelete, join("port-forwards", id, "host-key"), nil, nil)
}
