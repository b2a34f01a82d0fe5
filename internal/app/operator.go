package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/store"
)

// mayOperate asks whether the actor may do this as an operator.
func mayOperate(ctx context.Context, who access.Actor, do access.Action) error {
	audit.Of(ctx).In(access.Installation())
	if access.May(who, do, access.Installation()) != access.Allowed {
		return refused(who, do, access.Installation(), notAnOperator)
	}
	return nil
}

// Users lists all users, newest first, and tells how many there are.
func (a *App) Users(ctx context.Context, who access.Actor, page Page) (shown []api.Account, n int, err error) {
	if err := mayOperate(ctx, who, access.Oversee); err != nil {
		return nil, 0, err
	}
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		list, err := r.Users(ctx, store.Page(page))
		if err != nil {
			return err
		}
		shown = make([]api.Account, len(list))
		for i, u := range list {
			shown[i] = toAccount(u)
		}
		n, err = total(page, len(shown), func() (int, error) { return r.CountUsers(ctx) })
		return err
	})
	return shown, n, err
}

// UpdateUser disables a user or lets him in again, and makes him an operator or
// not. Disabling ends his sessions, his API tokens, and what he runs for himself.
func (a *App) UpdateUser(ctx context.Context, who access.Actor, at Path, in api.AccountInput) (shown api.Account, err error) {
	if err := mayOperate(ctx, who, access.Administer); err != nil {
		return shown, err
	}
	var stopped []store.Forward
	var why string
	err = a.change(ctx, func(tx *store.Tx) error {
		user, err := loadUser(ctx, tx, at.ID)
		if err != nil {
			return err
		}
		if err := at.check(user.ID); err != nil {
			return err
		}
		before := user
		user.Disabled = in.Disabled.Or(user.Disabled)
		user.Role = store.UserRole(in.Role.Or(string(user.Role)))
		if problems := accountProblems(in); problems != nil {
			return api.Invalid(problems...)
		}
		audit.Of(ctx).Says(standing(in))
		if err := a.saveStanding(ctx, tx, &user, before); err != nil {
			return err
		}
		shown = toAccount(user)
		if !user.Disabled || before.Disabled {
			return nil
		}
		why = "user disabled: " + user.Email
		stopped, err = endUser(ctx, tx, user.ID, why)
		return err
	})
	if err != nil {
		return api.Account{}, err
	}
	return shown, a.stopAll(ctx, stopped, why)
}

// standing is what an account was asked to be.
func standing(in api.AccountInput) string {
	var said []string
	if disabled, ok := in.Disabled.Get(); ok {
		said = append(said, fmt.Sprintf("disabled: %t", disabled))
	}
	if role, ok := in.Role.Get(); ok {
		said = append(said, "role: "+role)
	}
	return strings.Join(said, ", ")
}

// accountProblems refuses null, which would let a user in again by the way.
func accountProblems(in api.AccountInput) (problems []string) {
	if _, ok := in.Disabled.Get(); in.Disabled.Given() && !ok {
		problems = append(problems, "disabled must be a boolean value")
	}
	if _, ok := in.Role.Get(); in.Role.Given() && !ok {
		problems = append(problems, "role must be one of the following values: admin, user")
	}
	return problems
}

func loadUser(ctx context.Context, tx *store.Tx, id string) (store.User, error) {
	if !canBeRef(id) {
		return store.User{}, notFound("User", id)
	}
	user, err := tx.UserByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return user, notFound("User", id)
	}
	audit.Of(ctx).About(access.Installation(), user.ID, user.Email)
	return user, err
}

// saveStanding writes what a user is now, if an operator is left then.
func (a *App) saveStanding(ctx context.Context, tx *store.Tx, user *store.User, before store.User) error {
	if user.Disabled == before.Disabled && user.Role == before.Role {
		return nil
	}
	user.UpdatedAt = store.Now()
	if err := tx.SetStanding(ctx, user.ID, user.Role, user.Disabled, user.UpdatedAt); err != nil {
		return err
	}
	left, err := tx.CountOperators(ctx)
	if err == nil && left == 0 {
		return &api.Error{
			Code: api.CodeConflict, Message: fmt.Sprintf("%s is the last operator", user.Username), Hint: "make somebody else an operator first",
		}
	}
	return err
}

// endUser ends the sessions and tokens of a user, and gives his own forwards
// that are to be stopped. why is told of each.
func endUser(ctx context.Context, tx *store.Tx, userID, why string) (stopped []store.Forward, err error) {
	if err := tx.DeleteOtherSessions(ctx, userID, ""); err != nil {
		return nil, err
	}
	if err := tx.DeleteAPITokens(ctx, userID); err != nil {
		return nil, err
	}
	own, err := tx.Forwards(ctx, access.Personal(userID), store.Page{})
	if err != nil {
		return nil, err
	}
	return own, stopWanted(ctx, tx, own, why)
}

func toAccount(u store.User) api.Account {
	return api.Account{
		User: toUser(u), Disabled: u.Disabled, CreatedAt: api.Time{Time: u.CreatedAt}, UpdatedAt: api.Time{Time: u.UpdatedAt},
	}
}
