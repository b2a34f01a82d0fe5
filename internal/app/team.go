package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/store"
)

// CreateTeam makes a team of the caller's.
func (a *App) CreateTeam(ctx context.Context, who Caller, in api.TeamInput) (api.Team, error) {
	if _, err := scopeOf(ctx, who.Actor, "", access.Create); err != nil {
		return api.Team{}, err
	}
	name := strings.TrimSpace(in.Name) // " a" and "a" would be two teams that look alike
	if name == "" {
		return api.Team{}, api.Invalid("name should not be empty")
	}
	at := store.Now()
	t := store.Team{ID: store.NewID(), Name: name, OwnerID: who.UserID, CreatedAt: at, UpdatedAt: at}
	owner := newMembership(t.ID, who.UserID, access.Owner)
	err := a.change(ctx, func(tx *store.Tx) error {
		switch _, err := tx.TeamByName(ctx, t.Name); {
		case err == nil:
			return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("The name %q is taken by another team", t.Name)}
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		teams, err := tx.Memberships(ctx, who.UserID)
		if err != nil {
			return err
		}
		if err := roomForTeam(teams, who.User.Username); err != nil {
			return err
		}
		if t.InviteCode, err = freeInviteCode(ctx, &tx.Reader); err != nil {
			return err
		}
		audit.Of(ctx).About(access.Team(t.ID), t.ID, t.Name)
		if err := tx.CreateTeam(ctx, t); err != nil {
			return err
		}
		return tx.AddMember(ctx, owner)
	})
	if err != nil {
		return api.Team{}, err
	}
	return toTeam(t, access.Owner), nil
}

// codeAlphabet and codeLength make 36^8 invite codes, 2.8 million million.
const (
	codeAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	codeLength   = 8
)

// freeInviteCode makes a code that no team has.
func freeInviteCode(ctx context.Context, r *store.Reader) (string, error) {
	for {
		code := make([]byte, 0, codeLength)
		for len(code) < codeLength {
			var b [1]byte
			_, _ = rand.Read(b[:]) // never fails
			// The bytes above the last whole multiple would favour the first letters.
			if n := int(b[0]); n < 256/len(codeAlphabet)*len(codeAlphabet) {
				code = append(code, codeAlphabet[n%len(codeAlphabet)])
			}
		}
		_, err := r.TeamByInviteCode(ctx, string(code))
		if errors.Is(err, store.ErrNotFound) {
			return string(code), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// Teams lists the caller's teams, newest first.
func (a *App) Teams(ctx context.Context, who access.Actor) ([]api.Team, error) {
	list, err := a.Store.TeamsOf(ctx, who.UserID)
	shown := []api.Team{}
	for _, t := range list {
		if access.May(who, access.ReadTeam, access.Team(t.ID)) == access.Allowed {
			shown = append(shown, showTeam(who, t))
		}
	}
	return shown, err
}

// Team reads a team with its members.
func (a *App) Team(ctx context.Context, who access.Actor, id string) (shown api.TeamWithMembers, err error) {
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		t, err := loadTeam(ctx, r, who, id, access.ReadTeam)
		if err != nil {
			return err
		}
		shown.Team = showTeam(who, t)
		shown.Members, err = listMembers(ctx, r, t.ID)
		return err
	})
	return shown, err
}

// DissolveTeam stops all that a team runs and removes it with all its rows.
func (a *App) DissolveTeam(ctx context.Context, who access.Actor, id string) error {
	var had []store.Forward
	err := a.change(ctx, func(tx *store.Tx) error {
		t, err := loadTeam(ctx, &tx.Reader, who, id, access.Manage)
		if err != nil {
			return err
		}
		if had, err = tx.Forwards(ctx, access.Team(t.ID), store.Page{}); err != nil {
			return err
		}
		if err := stopWanted(ctx, tx, had, "team dissolved: "+t.Name); err != nil {
			return err
		}
		return tx.DissolveTeam(ctx, t.ID)
	})
	if err != nil {
		return err
	}
	// A start that is under way finds its row gone, and is undone.
	return a.forgetAll(ctx, had)
}

// forgetAll stops forwards whose rows are gone.
func (a *App) forgetAll(ctx context.Context, list []store.Forward) error {
	var errs []error
	for _, f := range list {
		errs = append(errs, a.Tunnels.Overtake(context.WithoutCancel(ctx), f.ID, func(t *forward.Tunnel) error {
			t.Forget()
			return nil
		}))
	}
	return errors.Join(errs...)
}

// stopAll stops forwards that were marked as stopped. A start that was under way
// may have marked one again since.
func (a *App) stopAll(ctx context.Context, list []store.Forward, why string) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, f := range list {
		errs = append(errs, a.Tunnels.Overtake(ctx, f.ID, func(t *forward.Tunnel) error {
			defer t.Stop()
			current, err := a.Store.Forward(ctx, f.ID)
			if errors.Is(err, store.ErrNotFound) || err == nil && !current.Wanted {
				return nil
			}
			return a.write(ctx, func(tx *store.Tx) error { return gone(stopWanted(ctx, tx, []store.Forward{current}, why), f.ID) })
		}))
	}
	return errors.Join(errs...)
}

// RotateInviteCode gives a team a new code; the old one is dead.
func (a *App) RotateInviteCode(ctx context.Context, who access.Actor, id string) (shown api.InviteCode, err error) {
	err = a.change(ctx, func(tx *store.Tx) error {
		t, err := loadTeam(ctx, &tx.Reader, who, id, access.Manage)
		if err != nil {
			return err
		}
		if shown.InviteCode, err = freeInviteCode(ctx, &tx.Reader); err != nil {
			return err
		}
		return tx.SetInviteCode(ctx, t.ID, shown.InviteCode, store.Now())
	})
	return shown, err
}

// loadTeam finds the team that a path's id means and asks whether the actor may
// do this with it.
func loadTeam(ctx context.Context, r *store.Reader, who access.Actor, id string, do access.Action) (store.Team, error) {
	verdict := access.Hidden
	var t store.Team
	if canBeRef(id) {
		verdict = access.May(who, do, access.Team(id))
	}
	if verdict != access.Hidden {
		var err error
		t, err = r.Team(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound): // dissolved since the actor's memberships were read
			verdict = access.Hidden
		case err != nil:
			return t, err
		default:
			audit.Of(ctx).About(access.Team(id), t.ID, t.Name)
		}
	}
	switch verdict {
	case access.Allowed:
		return t, nil
	case access.Forbidden:
		return store.Team{}, refused(who, do, access.Team(id), notYourRole)
	}
	return store.Team{}, notFound("Team", id)
}

// showTeam shows a team to one of its members.
func showTeam(who access.Actor, t store.Team) api.Team {
	shown := toTeam(t, who.Teams[t.ID])
	if access.May(who, access.Manage, access.Team(t.ID)) != access.Allowed {
		shown.InviteCode = nil
	}
	return shown
}

func toTeam(t store.Team, role access.Role) api.Team {
	return api.Team{
		ID: t.ID, Name: t.Name, OwnerID: t.OwnerID, InviteCode: text(t.InviteCode), Role: string(role),
		CreatedAt: api.Time{Time: t.CreatedAt}, UpdatedAt: api.Time{Time: t.UpdatedAt},
	}
}

// normalCode is how a code is kept, however it was typed.
func normalCode(code string) string { return strings.ToUpper(strings.TrimSpace(code)) }
