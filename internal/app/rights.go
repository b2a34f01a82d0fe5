package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
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
		return r.UserBySession(ctx, who.SessionID, store.Now())
	}
	t, err := r.APIToken(ctx, who.TokenID, store.Now())
	if err != nil {
		return store.User{}, err
	}
	return r.UserByID(ctx, t.UserID)
}

// checked does what the act of a context is, if its caller may still do it. That
// is looked at before, since fn may be what changes it, and told after, when it
// is known what the act is about.
func checked(ctx context.Context, tx *store.Tx, fn func(*store.Tx) error) error {
	who := CallerOf(ctx)
	if who.UserID == "" {
		return fn(tx)
	}
	is, err := again(ctx, &tx.Reader, who)
	if err != nil {
		return err
	}
	err = fn(tx)
	scope, named := audit.Of(ctx).Scope()
	if refused := less(who.Actor, is, scope, named); refused != nil {
		return refused
	}
	return err
}

// less refuses what was done in a scope by somebody who is not to it any more
// what he was when he was let in. Of a team that he is not in any more, or that is
// no more, nothing is there for him, unless the request named the team itself.
func less(was, is access.Actor, scope access.Scope, named bool) error {
	if scope == access.Installation() && was.Admin && !is.Admin {
		return refused(is, access.Administer, scope, notAnOperator)
	}
	team := scope.TeamID()
	before, member := was.Teams[team]
	after, stays := is.Teams[team]
	switch {
	case !member || before == after:
		return nil
	case !stays && !named:
		return &api.Error{Code: api.CodeNotFound, Message: "Not found", Hint: "you are not in that team any more"}
	}
	return &api.Error{Code: api.CodeForbidden, Message: "Your role in the team has changed meanwhile"}
}

// What people are refused, unless it is their API token that is in the way.
var (
	notAnOperator    = api.Error{Message: "Only operators of this server may do this"}
	notYourRole      = api.Error{Message: "Your role in the team does not allow this", Hint: "its owner says who is what: see GET /teams/my"}
	notYourNamespace = api.Error{
		Message: "You may not do this in that namespace", Hint: "namespace is the id of a team in which your role allows it: see GET /teams/my",
	}
)

// refused is why the actor may not do this in the scope: what his API token is
// not good for, if he himself might, else what is given.
func refused(who access.Actor, do access.Action, scope access.Scope, why api.Error) *api.Error {
	why.Code = api.CodeForbidden
	grant := who.Grant
	if who.Grant = (access.Grant{}); access.May(who, do, scope) != access.Allowed {
		return &why
	}
	if who.Grant.Level = grant.Level; access.May(who, do, scope) == access.Allowed {
		why.Message = fmt.Sprintf("This API token is for the team %s alone", grant.Only.TeamID())
		why.Hint = "add ?namespace= with that team's id where rows are listed and made, or use another token"
		return &why
	}
	why.Message = fmt.Sprintf("This API token's scope %q does not allow this", grant.Level)
	why.Hint = "use a session's token, or an API token with a wider scope"
	return &why
}
