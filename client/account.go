package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/adit-tunnel/adit/api"
)

// Health asks whether the server serves.
func (c *Client) Health(ctx context.Context) (api.Health, error) {
	return call[api.Health](ctx, c, http.MethodGet, "/health", nil, nil)
}

// Register makes an account.
func (c *Client) Register(ctx context.Context, in api.Registration) (api.Registered, error) {
	return call[api.Registered](ctx, c, http.MethodPost, "/auth/register", nil, in)
}

// Login opens a session; WithToken makes a client of its token.
func (c *Client) Login(ctx context.Context, in api.Credentials) (api.Session, error) {
	return call[api.Session](ctx, c, http.MethodPost, "/auth/login", nil, in)
}

// Validate tells whose the token is.
func (c *Client) Validate(ctx context.Context) (api.Validation, error) {
	return call[api.Validation](ctx, c, http.MethodGet, "/auth/validate", nil, nil)
}

// Logout ends the token.
func (c *Client) Logout(ctx context.Context) error {
	_, err := call[api.Message](ctx, c, http.MethodPost, "/auth/logout", nil, nil)
	return err
}

// ChangePassword changes one's password; all other sessions and tokens end.
func (c *Client) ChangePassword(ctx context.Context, in api.PasswordChange) error {
	_, err := call[api.Message](ctx, c, http.MethodPost, "/auth/password", nil, in)
	return err
}

// Tokens lists one's API tokens, newest first.
func (c *Client) Tokens(ctx context.Context) ([]api.Token, error) {
	return call[[]api.Token](ctx, c, http.MethodGet, "/auth/tokens", nil, nil)
}

// CreateToken makes an API token; it is shown this once.
func (c *Client) CreateToken(ctx context.Context, in api.TokenInput) (api.NewToken, error) {
	return call[api.NewToken](ctx, c, http.MethodPost, "/auth/tokens", nil, in)
}

// DeleteToken revokes an API token.
func (c *Client) DeleteToken(ctx context.Context, id string) error {
	_, err := call[api.Message](ctx, c, http.MethodDelete, join("auth", "tokens", id), nil, nil)
	return err
}

// Users lists all users, newest first. It is for operators, as are UpdateUser,
// Settings and SetSettings.
func (c *Client) Users(ctx context.Context, page Page) (List[api.Account], error) {
	return callList[api.Account](ctx, c, "/users", url.Values{}, page)
}

// UpdateUser disables a user, or changes his role.
func (c *Client) UpdateUser(ctx context.Context, id string, in api.AccountInput) (api.Account, error) {
	return call[api.Account](ctx, c, http.MethodPatch, join("users", id), nil, in)
}

// Settings reads what operators have set.
func (c *Client) Settings(ctx context.Context) (api.Settings, error) {
	return call[api.Settings](ctx, c, http.MethodGet, "/settings", nil, nil)
}

// SetSettings replaces all settings.
func (c *Client) SetSettings(ctx context.Context, in api.Settings) (api.Settings, error) {
	return call[api.Settings](ctx, c, http.MethodPut, "/settings", nil, in)
}

// AuditQuery selects entries of the audit. Zero fields select all.
type AuditQuery struct {
	In       In // a team, whose owner may read its entries; empty for all, for operators
	ActorID  string
	Action   string // the id of an operation
	ObjectID string
	Result   string    // api.ResultOK, or the code of an error
	From     time.Time // at this time or later
	Before   time.Time
	Page     Page // 100 entries if none is given
}

// Audit lists what was done, newest first.
func (c *Client) Audit(ctx context.Context, q AuditQuery) (List[api.AuditEntry], error) {
	query := q.In.query()
	for name, value := range map[string]string{
		"actor": q.ActorID, "action": q.Action, "object": q.ObjectID, "result": q.Result,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"from": q.From, "before": q.Before} {
		if !at.IsZero() {
			query.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	return callList[api.AuditEntry](ctx, c, "/audit", query, q.Page)
}
