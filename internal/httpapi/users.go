package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
)

type none struct{}

type answer[T any] struct{ Body T }

type said = answer[api.Message]

func say(message string) *said { return &said{api.Message{Message: message}} }

// encode passes on what a use case answered.
func encode[T any](body T, err error) (*answer[T], error) {
	if err != nil {
		return nil, err
	}
	return &answer[T]{body}, nil
}

func (h *routes) registerHealth() {
	handle(h, operation(http.MethodGet, "/health", "health", "Whether the server serves", public, tagged("health")),
		func(context.Context, *none) (*answer[api.Health], error) {
			return &answer[api.Health]{api.Health{Status: "ok", Timestamp: api.Time{Time: time.Now()}}}, nil
		})
}

func (h *routes) registerUsers() {
	users := tagged("users")
	handleBody(h, operation(http.MethodPost, "/auth/register", "register", "Make an account", public, creates, users,
		refuses(http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests)),
		h.register, func(in *api.Registration) []string { return h.passwordProblems("password", in.Password) })
	handleBody(h, operation(http.MethodPost, "/auth/login", "login", "Log in", public, users,
		refuses(http.StatusUnauthorized, http.StatusTooManyRequests)), h.login)
	handle(h, operation(http.MethodGet, "/auth/validate", "validate", "Whether a token is valid, and whose", users), h.validate)
	handle(h, operation(http.MethodPost, "/auth/logout", "logout", "End the token's session", users), h.logout)
	handleBody(h, operation(http.MethodPost, "/auth/password", "change-password", "Change one's password; all other tokens end", users,
		refuses(http.StatusTooManyRequests)),
		h.changePassword, func(in *api.PasswordChange) []string { return h.passwordProblems("newPassword", in.NewPassword) })
}

func (h *routes) passwordProblems(field string, password api.Secret) []string {
	if problem := h.app.PasswordProblem(field, password); problem != "" {
		return []string{problem}
	}
	return nil
}

func (h *routes) register(ctx context.Context, _ *none, in *api.Registration) (*answer[api.Registered], error) {
	r := requestFrom(ctx)
	return encode(h.app.Register(ctx, app.Visit{From: r.address, Host: r.host}, *in))
}

func (h *routes) login(ctx context.Context, _ *none, in *api.Credentials) (*answer[api.Session], error) {
	return encode(h.app.Login(ctx, requestFrom(ctx).address, *in))
}

func (h *routes) validate(ctx context.Context, _ *none) (*answer[api.Validation], error) {
	return encode(api.Validation{Valid: true, User: callerFrom(ctx).User}, nil)
}

func (h *routes) logout(ctx context.Context, _ *none) (*said, error) {
	return say("Logged out successfully"), h.app.Logout(ctx, callerFrom(ctx))
}

func (h *routes) changePassword(ctx context.Context, _ *none, in *api.PasswordChange) (*said, error) {
	return say("Password changed successfully"), h.app.ChangePassword(ctx, callerFrom(ctx), requestFrom(ctx).address, *in)
}
