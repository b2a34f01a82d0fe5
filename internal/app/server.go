package app

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/store"
)

// Servers lists the servers of the namespace, newest first, and tells how many
// there are.
func (a *App) Servers(ctx context.Context, who access.Actor, namespace string, page Page) (shown []api.Server, n int, err error) {
	scope, err := scopeOf(ctx, who, namespace, access.List)
	if err != nil {
		return nil, 0, err
	}
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		if shown, err = listServers(ctx, newRows(r), scope, page); err != nil {
			return err
		}
		n, err = total(page, len(shown), func() (int, error) { return r.CountServers(ctx, scope) })
		return err
	})
	return shown, n, err
}

func listServers(ctx context.Context, rows *rows, scope access.Scope, page Page) ([]api.Server, error) {
	list, err := rows.from.Servers(ctx, scope, store.Page(page))
	if err != nil {
		return nil, err
	}
	shown := make([]api.Server, len(list))
	for i := range list {
		if shown[i], err = toServer(ctx, rows, &list[i]); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// Server reads one server.
func (a *App) Server(ctx context.Context, who access.Actor, id string) (shown api.Server, err error) {
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		s, err := servers.load(ctx, r, who, id, access.Read)
		if err != nil {
			return err
		}
		shown, err = toServer(ctx, newRows(r), &s)
		return err
	})
	return shown, err
}

// CreateServer adds a server to the namespace.
func (a *App) CreateServer(ctx context.Context, who access.Actor, namespace string, in api.ServerInput) (shown api.Server, err error) {
	scope, err := scopeOf(ctx, who, namespace, access.Create)
	if err != nil {
		return shown, err
	}
	s := store.Server{Row: newRow(who, scope)}
	err = a.change(ctx, func(tx *store.Tx) error {
		if err := a.applyServer(ctx, &tx.Reader, who, &s, in); err != nil {
			return err
		}
		audit.Of(ctx).About(scope, s.ID, s.Name)
		if err := tx.CreateServer(ctx, s); err != nil {
			return err
		}
		shown, err = toServer(ctx, newRows(&tx.Reader), &s)
		return err
	})
	return shown, err
}

// UpdateServer changes a server. What runs through it and has to change
// restarts in the background.
func (a *App) UpdateServer(ctx context.Context, who access.Actor, at Path, in api.ServerInput) (shown api.Server, err error) {
	var users []store.Forward
	err = a.change(ctx, func(tx *store.Tx) error {
		s, err := servers.load(ctx, &tx.Reader, who, at.ID, access.Edit)
		if err != nil {
			return err
		}
		if err := at.check(s.ID); err != nil {
			return err
		}
		before := s
		if err := a.applyServer(ctx, &tx.Reader, who, &s, in); err != nil {
			return err
		}
		if !reflect.DeepEqual(before, s) {
			audit.Of(ctx).Says(audit.Changes(before, s))
			s.UpdatedAt = store.Now()
			if err := tx.UpdateServer(ctx, s); err != nil {
				return err
			}
		}
		if users, err = tx.ForwardsUsingServer(ctx, s.ID); err != nil {
			return err
		}
		shown, err = toServer(ctx, newRows(&tx.Reader), &s)
		return err
	})
	if err != nil {
		return api.Server{}, err
	}
	a.refresh(users)
	return shown, nil
}

// applyServer writes what a request gives into the row.
func (a *App) applyServer(ctx context.Context, r *store.Reader, who access.Actor, s *store.Server, in api.ServerInput) error {
	s.LocalID = in.LocalID.Or(s.LocalID)
	s.Name = in.Name.Or(s.Name)
	s.Host = in.Host.Or(s.Host)
	s.Port = in.Port.Or(s.Port)
	s.Username = in.Username.Or(s.Username)
	s.AuthType = in.AuthType.Or(s.AuthType)
	s.HostKeyPolicy = in.HostKeyPolicy.Or(s.HostKeyPolicy)
	s.Description = in.Description.Or(s.Description)
	if problems := hostProblems(map[string]api.Opt[string]{"host": in.Host}); problems != nil {
		return api.Invalid(problems...)
	}
	if in.KeyID.Given() {
		ref, id := "", ""
		if said, ok := in.KeyID.Get(); ok {
			var err error
			if id, err = keys.resolve(ctx, r, who, s.Scope(), said, s.KeyRef, s.KeyID); err != nil {
				return err
			}
			ref = said
		}
		s.KeyRef, s.KeyID = ref, id
	}
	if err := a.put(&s.Password, in.Password, serverSecret(s, passwordColumn)); err != nil {
		return err
	}
	return servers.free(ctx, r, &s.Row)
}

// DeleteServer removes a server that no wanted forward uses.
func (a *App) DeleteServer(ctx context.Context, who access.Actor, id string) error {
	return a.change(ctx, func(tx *store.Tx) error {
		s, err := servers.load(ctx, &tx.Reader, who, id, access.Edit)
		if err != nil {
			return err
		}
		users, err := tx.ForwardsUsingServer(ctx, s.ID)
		if err != nil {
			return err
		}
		if err := unused(fmt.Sprintf("Server %q", s.Name), users); err != nil {
			return err
		}
		return tx.DeleteServer(ctx, s.ID)
	})
}

// unused refuses to delete what wanted forwards need, and names them.
func unused(label string, users []store.Forward) error {
	var names []string
	for _, f := range users {
		if f.Wanted {
			names = append(names, fmt.Sprintf("%q", f.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &api.Error{
		Code:    api.CodeConflict,
		Message: fmt.Sprintf("%s is used by active port forwards: %s", label, strings.Join(names, ", ")),
		Hint:    "stop them first, or let them use another server",
	}
}

func toServer(ctx context.Context, rows *rows, s *store.Server) (api.Server, error) {
	known, err := rows.hostKey(ctx, s.Scope(), addressOf(s))
	return api.Server{
		ID: s.ID, LocalID: text(s.LocalID), Name: s.Name, Host: s.Host, Port: s.Port, Username: s.Username,
		KeyID: text(s.KeyRef), AuthType: s.AuthType, Description: text(s.Description), HasPassword: len(s.Password) > 0,
		HostKey: toHostKey(known, s.HostKeyPolicy), IsActive: true, Namespace: text(s.Namespace), DataType: dataType(&s.Row),
		CreatedAt: api.Time{Time: s.CreatedAt}, UpdatedAt: api.Time{Time: s.UpdatedAt},
	}, err
}

// text is null for a text that is not set.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// number is null for a number that is not set.
func number(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

func dataType(row *store.Row) string {
	if row.Namespace != "" {
		return api.DataTeam
	}
	return api.DataPersonal
}
