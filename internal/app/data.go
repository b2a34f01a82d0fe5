package app

import (
	"context"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// PersonalData gives all rows of the caller's own.
func (a *App) PersonalData(ctx context.Context, who access.Actor) (shown api.PersonalData, err error) {
	scope, err := scopeOf(ctx, who, "", access.List)
	if err != nil {
		return shown, err
	}
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		shown, err = a.dataOf(ctx, r, scope)
		return err
	})
	return shown, err
}

// PersonalServers gives the servers of the caller's own.
func (a *App) PersonalServers(ctx context.Context, who access.Actor) (api.PersonalServers, error) {
	shown, _, err := a.Servers(ctx, who, "", Page{})
	return api.PersonalServers{Servers: shown}, err
}

// TeamData gives a team and all rows of it.
func (a *App) TeamData(ctx context.Context, who access.Actor, teamID string) (shown api.TeamData, err error) {
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		t, err := loadTeam(ctx, r, who, teamID, access.ReadTeam)
		if err != nil {
			return err
		}
		shown.Team = showTeam(who, t)
		shown.PersonalData, err = a.dataOf(ctx, r, access.Team(t.ID))
		return err
	})
	return shown, err
}

func (a *App) dataOf(ctx context.Context, r *store.Reader, scope access.Scope) (shown api.PersonalData, err error) {
	rows := newRows(r)
	if shown.Servers, err = listServers(ctx, rows, scope, Page{}); err != nil {
		return shown, err
	}
	if shown.Keys, err = listKeys(ctx, r, scope, Page{}); err != nil {
		return shown, err
	}
	shown.PortForwards, err = a.listForwards(ctx, rows, scope, Page{})
	return shown, err
}
