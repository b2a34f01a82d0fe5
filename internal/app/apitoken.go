package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
)

const (
	// tokenBytes is how many random bytes an API token has.
	tokenBytes = 32
	// usedAgain is how old the record of a token's last use may get while it is
	// in use, so that not every request writes.
	usedAgain = 5 * time.Minute
)

// mayAccount asks whether the caller may change his own account.
func mayAccount(ctx context.Context, who access.Actor) error {
	own := access.Personal(who.UserID)
	audit.Of(ctx).In(own)
	if access.May(who, access.Account, own) != access.Allowed {
		return &api.Error{Code: api.CodeForbidden, Message: "An API token may not do this", Hint: "log in, and use that session's token"}
	}
	return nil
}

// APITokens lists the caller's API tokens, newest first.
func (a *App) APITokens(ctx context.Context, who Caller) ([]api.Token, error) {
	if err := mayAccount(ctx, who.Actor); err != nil {
		return nil, err
	}
	list, err := a.Store.APITokens(ctx, who.UserID, store.Now())
	shown := make([]api.Token, len(list))
	for i, t := range list {
		shown[i] = toToken(t)
	}
	return shown, err
}

// CreateAPIToken makes an API token of the caller's. This is the only time that
// it is shown.
func (a *App) CreateAPIToken(ctx context.Context, who Caller, in api.TokenInput) (api.NewToken, error) {
	if err := mayAccount(ctx, who.Actor); err != nil {
		return api.NewToken{}, err
	}
	team, _ := in.Namespace.Get()
	if team != "" && access.May(who.Actor, access.ReadTeam, access.Team(team)) != access.Allowed {
		return api.NewToken{}, refused(who.Actor, access.ReadTeam, access.Team(team), notYourNamespace)
	}
	days, ok := in.ExpiresInDays.Get()
	if !ok {
		days = api.DefaultTokenDays
	}
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // never fails
	token := api.APITokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	at := store.Now()
	t := store.APIToken{
		ID: store.NewID(), UserID: who.UserID, Name: in.Name, Level: in.Scope, Namespace: team, Hash: tokenHash(token),
		CreatedAt: at, ExpiresAt: at.AddDate(0, 0, days),
	}
	err := a.change(ctx, func(tx *store.Tx) error {
		has, err := tx.APITokens(ctx, who.UserID, at)
		if err != nil {
			return err
		}
		if team != "" {
			if _, err := tx.Team(ctx, team); errors.Is(err, store.ErrNotFound) { // dissolved meanwhile
				return notFound("Team", team)
			} else if err != nil {
				return err
			}
		}
		if len(has) >= api.MaxTokens {
			return &api.Error{Code: api.CodeLimitReached, Message: fmt.Sprintf("You have %d API tokens, which is the limit", api.MaxTokens), Hint: "delete some that are not in use"}
		}
		audit.Of(ctx).About(access.Personal(who.UserID), t.ID, t.Name)
		return tx.CreateAPIToken(ctx, t)
	})
	if err != nil {
		return api.NewToken{}, err
	}
	return api.NewToken{Token: toToken(t), Secret: api.Secret(token)}, nil
}

// DeleteAPIToken revokes an API token of the caller's, at once.
func (a *App) DeleteAPIToken(ctx context.Context, who Caller, id string) error {
	if err := mayAccount(ctx, who.Actor); err != nil {
		return err
	}
	if !canBeRef(id) {
		return notFound("API token", id)
	}
	return a.change(ctx, func(tx *store.Tx) error {
		has, err := tx.APITokens(ctx, who.UserID, store.Now())
		if err != nil {
			return err
		}
		audit.Of(ctx).About(access.Personal(who.UserID), id, nameOfToken(has, id))
		err = tx.DeleteAPIToken(ctx, who.UserID, id)
		if errors.Is(err, store.ErrNotFound) {
			return notFound("API token", id)
		}
		return err
	})
}

func nameOfToken(list []store.APIToken, id string) string {
	for _, t := range list {
		if t.ID == id {
			return t.Name
		}
	}
	return ""
}

// tokenHash is what is kept of a token. It has 256 random bits, so a plain hash
// can be neither guessed nor inverted.
func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// isAPIToken tells an API token from the token of a session.
func isAPIToken(token redact.Secret) bool {
	return strings.HasPrefix(token.Reveal(), api.APITokenPrefix)
}

// authenticateToken tells who holds an API token, and what it lets him do.
func (a *App) authenticateToken(ctx context.Context, token redact.Secret) (Caller, error) {
	refused := &api.Error{Code: api.CodeUnauthorized, Message: "Unauthorized", Hint: "the API token is not valid or not any more: make a new one"}
	t, err := a.Store.APITokenByHash(ctx, tokenHash(token.Reveal()), store.Now())
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, refused
	}
	if err != nil {
		return Caller{}, err
	}
	user, err := a.Store.UserByID(ctx, t.UserID)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && user.Disabled:
		return Caller{}, refused
	case err != nil:
		return Caller{}, err
	}
	who, err := a.caller(ctx, user)
	if err != nil {
		return Caller{}, err
	}
	who.TokenID = t.ID
	who.Grant.Level = access.Level(t.Level)
	if t.Namespace != "" {
		who.Grant.Only = access.Team(t.Namespace)
	}
	if at := store.Now(); at.Sub(t.LastUsedAt) >= usedAgain {
		a.work.Go(func() { a.markUsed(a.running, t.ID, at) }) // a look does not wait for who writes
	}
	return who, nil
}

func (a *App) markUsed(ctx context.Context, id string, at time.Time) {
	err := a.write(ctx, func(tx *store.Tx) error { return tx.MarkAPITokenUsed(ctx, id, at) })
	if err != nil && ctx.Err() == nil {
		a.Logger.WarnContext(ctx, "the use of an API token is not recorded", "token", id, "error", err)
	}
}

func toToken(t store.APIToken) api.Token {
	return api.Token{
		ID: t.ID, Name: t.Name, Scope: t.Level, Namespace: text(t.Namespace), CreatedAt: api.Time{Time: t.CreatedAt},
		ExpiresAt: api.Time{Time: t.ExpiresAt}, LastUsedAt: api.At(t.LastUsedAt),
	}
}
