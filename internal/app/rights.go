package app

import (
	"context"
	"errors"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// Rights are read when a request is let in, and it may be long until something
// is changed: a body that comes slowly, an SSH server that does. So what changes
// something looks again, in its transaction, where nothing can come in between.

// again reads what a caller is now. Its error is CodeUnauthorized if what he came
// with is not valid any more.
func again(ctx context.Context, r *store.Reader, who Caller) (access.Actor, error) {
	user, err := holder(ctx, r, who)
	if errors.Is(err, store.ErrNotFound) || err == nil && (user.Disabled || user.ID != who.UserID) {
		return access.Actor{}, &api.Error{Code: api.CodeUnauthorized, Message: "Unauthorized", Hint: "the token was revoked meanwhile"}
	}
	if err != nil {
		return access.Actor{}, err
	}
	teams, err := r.Memberships(ctx, user.ID)
	return access.Actor{UserID: user.ID, Admin: user.Role == store.Admin, Teams: teams, Grant: who.Grant}, err
}

// holder is the user whose session or API token it is that a caller came with.
func holder(ctx context.Context, r *store.Reader, who Caller) (store.User, error) {
	if who.TokenID == "" {
		return r.UserBySession(ctx, who.SessionID, now())
	}
	t, err := r.APIToken(ctx, who.TokenID, now())
	if err != nil {
		return store.User{}, err
	}
	return r.UserByID(ctx, t.UserID)
}

// less refuses what was done in a scope by somebody who is not to it any more
// what he was when he was let in.
func less(was, is access.Actor, scope access.Scope) error {
	if scope == access.Installation() && was.Admin && !is.Admin {
		return &api.Error{Code: api.CodeForbidden, Message: "Only operators of this server may do this"}
	}
	team := scope.TeamID()
	if role, in := was.Teams[team]; in && is.Teams[team] != role {
		return &api.Error{Code: api.CodeForbidden, Message: "Your role in the team has changed meanwhile"}
	}
	return nil
}
