package app

import (
	"context"
	"reflect"
	"slices"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/store"
)

// Forwards lists the forwards of the namespace, newest first. status is
// api.StatusActive, api.StatusInactive or empty for both. It tells how many
// there are.
func (a *App) Forwards(ctx context.Context, who access.Actor, namespace, status string, page Page) (shown []api.Forward, n int, err error) {
	scope, err := scopeOf(ctx, who, namespace, access.List)
	if err != nil {
		return nil, 0, err
	}
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		if status == "" {
			if shown, err = a.listForwards(ctx, newRows(r), scope, page); err != nil {
				return err
			}
			n, err = total(page, len(shown), func() (int, error) { return r.CountForwards(ctx, scope) })
			return err
		}
		// What runs is not in the rows.
		if shown, err = a.listForwards(ctx, newRows(r), scope, Page{}); err != nil {
			return err
		}
		shown = slices.DeleteFunc(shown, func(f api.Forward) bool { return f.Status != status })
		n, shown = len(shown), pageOf(page, shown)
		return nil
	})
	return shown, n, err
}

func (a *App) listForwards(ctx context.Context, rows *rows, scope access.Scope, page Page) ([]api.Forward, error) {
	list, err := rows.from.Forwards(ctx, scope, store.Page(page))
	if err != nil {
		return nil, err
	}
	if page == (Page{}) {
		if err := rows.preload(ctx, scope); err != nil {
			return nil, err
		}
	}
	shown := make([]api.Forward, len(list))
	for i := range list {
		if shown[i], err = a.toForward(ctx, rows, &list[i]); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// Forward reads one forward.
func (a *App) Forward(ctx context.Context, who access.Actor, id string) (shown api.Forward, err error) {
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		f, err := forwards.load(ctx, r, who, id, access.Read)
		if err != nil {
			return err
		}
		shown, err = a.toForward(ctx, newRows(r), &f)
		return err
	})
	return shown, err
}

// ForwardStatus says what one forward is doing now.
func (a *App) ForwardStatus(ctx context.Context, who access.Actor, id string) (shown api.ForwardStatus, err error) {
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		f, err := forwards.load(ctx, r, who, id, access.Read)
		if err != nil {
			return err
		}
		shown, err = a.toForwardStatus(ctx, newRows(r), &f)
		return err
	})
	return shown, err
}

// CreateForward adds a forward to the namespace. It may lack what a start needs.
func (a *App) CreateForward(ctx context.Context, who access.Actor, namespace string, in api.ForwardInput) (api.Forward, error) {
	scope, err := scopeOf(ctx, who, namespace, access.Create)
	if err != nil {
		return api.Forward{}, err
	}
	f := store.Forward{Row: newRow(who, scope)}
	err = a.change(ctx, func(tx *store.Tx) error {
		if err := a.applyForward(ctx, &tx.Reader, who, &f, in); err != nil {
			return err
		}
		if err := a.roomFor(ctx, &tx.Reader, who, 1); err != nil {
			return err
		}
		audit.Of(ctx).About(scope, f.ID, f.Name)
		return tx.CreateForward(ctx, f)
	})
	if err != nil {
		return api.Forward{}, err
	}
	return a.toForward(ctx, newRows(&a.Store.Reader), &f)
}

// applyForward writes what a request gives into the row.
func (a *App) applyForward(ctx context.Context, r *store.Reader, who access.Actor, f *store.Forward, in api.ForwardInput) error {
	f.LocalID = in.LocalID.Or(f.LocalID)
	f.Name = in.Name.Or(f.Name)
	f.Type = in.Type.Or(f.Type)
	f.LocalHost = in.LocalHost.Or(f.LocalHost)
	f.LocalPort = in.LocalPort.Or(f.LocalPort)
	f.RemoteHost = in.RemoteHost.Or(f.RemoteHost)
	f.RemotePort = in.RemotePort.Or(f.RemotePort)
	f.BindAddress = in.BindAddress.Or(f.BindAddress)
	f.BindPort = in.BindPort.Or(f.BindPort)
	f.ServerAddress = in.ServerAddress.Or(f.ServerAddress)
	f.Username = in.Username.Or(f.Username)
	f.AuthType = in.AuthType.Or(f.AuthType)
	f.KeyPath = in.KeyPath.Or(f.KeyPath)
	f.SOCKSUsername = in.SOCKSUsername.Or(f.SOCKSUsername)
	f.HostKeyPolicy = in.HostKeyPolicy.Or(f.HostKeyPolicy)
	if in.ServerID.Given() {
		ref, id := "", ""
		if said, ok := in.ServerID.Get(); ok {
			var err error
			if id, err = servers.resolve(ctx, r, who, f.Scope(), said, f.ServerRef, f.ServerID); err != nil {
				return err
			}
			ref = said
		}
		f.ServerRef, f.ServerID = ref, id
	}
	if err := a.putForwardSecrets(f, in); err != nil {
		return err
	}
	if problems := forwardProblems(f, in); problems != nil {
		return api.Invalid(problems...)
	}
	return forwards.free(ctx, r, &f.Row)
}

func (a *App) putForwardSecrets(f *store.Forward, in api.ForwardInput) error {
	for _, s := range []struct {
		bytes  *[]byte
		change api.Opt[api.Secret]
		column string
	}{
		{&f.Password, in.Password, passwordColumn},
		{&f.KeyContent, in.KeyContent, keyContentColumn},
		{&f.Passphrase, in.Passphrase, passphraseColumn},
		{&f.SOCKSPassword, in.SOCKSPassword, socksPasswordColumn},
	} {
		if err := a.put(s.bytes, s.change, forwardSecret(f, s.column)); err != nil {
			return err
		}
	}
	return nil
}

// forwardProblems is what the fields of a forward must be to each other, on
// top of what each must be.
func forwardProblems(f *store.Forward, in api.ForwardInput) (problems []string) {
	problems = hostProblems(map[string]api.Opt[string]{
		"localHost": in.LocalHost, "remoteHost": in.RemoteHost, "bindAddress": in.BindAddress,
	})
	if f.ServerAddress != "" {
		if _, err := dialled(f.ServerAddress); err != nil {
			problems = append(problems, serverAddressProblem)
		}
	}
	if (f.SOCKSUsername == "") != (len(f.SOCKSPassword) == 0) {
		problems = append(problems, "socksUsername and socksPassword must be set together")
	}
	if socks, _ := in.SOCKSPassword.Get(); len(socks) > api.MaxSOCKS {
		problems = append(problems, "socksPassword must be shorter than or equal to 255 bytes")
	}
	if len(f.SOCKSUsername) > api.MaxSOCKS {
		problems = append(problems, "socksUsername must be shorter than or equal to 255 bytes")
	}
	return problems
}

// changed reports whether an update has anything to write.
func changed(before, after store.Forward) bool { return !reflect.DeepEqual(before, after) }

func (a *App) toForward(ctx context.Context, rows *rows, f *store.Forward) (api.Forward, error) {
	st := a.Tunnels.Status(f.ID)
	shown, err := effectiveNow(ctx, rows, f, st)
	if err != nil {
		return api.Forward{}, err
	}
	var host api.HostKey
	if address, ok := manualAddress(f); ok {
		known, err := rows.hostKey(ctx, f.Scope(), address)
		if err != nil {
			return api.Forward{}, err
		}
		host = toHostKey(known, "")
	}
	host.HostKeyPolicy = text(f.HostKeyPolicy)
	return api.Forward{
		ID: f.ID, LocalID: text(f.LocalID), Name: f.Name, Type: f.Type,
		LocalHost: text(f.LocalHost), LocalPort: number(f.LocalPort), RemoteHost: text(f.RemoteHost), RemotePort: number(f.RemotePort),
		BindAddress: text(f.BindAddress), BindPort: number(f.BindPort), ServerID: text(f.ServerRef),
		Status: status(st), LastUsed: api.At(f.LastUsedAt), TunnelID: text(st.TunnelID), ConnectionID: text(st.ConnectionID),
		CreatedAt: api.Time{Time: f.CreatedAt}, UpdatedAt: api.Time{Time: f.UpdatedAt},
		Namespace: text(f.Namespace), DataType: dataType(&f.Row),
		ServerAddress: text(f.ServerAddress), Username: text(f.Username), AuthType: text(f.AuthType), KeyPath: text(f.KeyPath),
		Desired: desired(f, st), State: string(st.State), LastError: toFailure(st.LastError), Effective: shown, Warnings: warnings(f, st),
		HasPassword: len(f.Password) > 0, HasKeyContent: len(f.KeyContent) > 0, HasPassphrase: len(f.Passphrase) > 0,
		HasSOCKSPassword: len(f.SOCKSPassword) > 0, SOCKSUsername: text(f.SOCKSUsername), HostKey: host,
	}, nil
}

func (a *App) toForwardStatus(ctx context.Context, rows *rows, f *store.Forward) (api.ForwardStatus, error) {
	st := a.Tunnels.Status(f.ID)
	shown, err := effectiveNow(ctx, rows, f, st)
	return api.ForwardStatus{
		ID: f.ID, Status: status(st), LastUsed: api.At(f.LastUsedAt), TunnelID: text(st.TunnelID), ConnectionID: text(st.ConnectionID),
		IsActive: st.State == forward.Active, Name: f.Name, Type: f.Type,
		LocalHost: text(f.LocalHost), LocalPort: number(f.LocalPort), RemoteHost: text(f.RemoteHost), RemotePort: number(f.RemotePort),
		BindAddress: text(f.BindAddress), BindPort: number(f.BindPort),
		State: string(st.State), Desired: desired(f, st), LastError: toFailure(st.LastError),
		Since: api.At(st.Since), NextRetry: api.At(st.NextRetry),
		Connections: st.Connections, BytesIn: st.BytesIn, BytesOut: st.BytesOut, Effective: shown, Warnings: warnings(f, st),
	}, err
}

// effectiveNow is null while something that a start needs is missing. Whether a
// key file can be read is not looked at.
func effectiveNow(ctx context.Context, rows *rows, f *store.Forward, st forward.Status) (*api.Effective, error) {
	server, key, err := rows.of(ctx, f)
	if err != nil {
		return nil, err
	}
	e, _, lacks := ready(f, server, key)
	if lacks != nil {
		return nil, nil
	}
	return effective(e, st.BoundPort), nil
}

func status(st forward.Status) string {
	if st.State == forward.Active {
		return api.StatusActive
	}
	return api.StatusInactive
}

// desired is what the user asked for. The row and the tunnel are not read at one
// moment: what is active has been asked for, although a start may be about to
// write that, or a stop has just written otherwise and is about to act.
func desired(f *store.Forward, st forward.Status) string {
	if st.State == forward.Active || f.Wanted {
		return api.StatusActive
	}
	return api.StatusInactive
}

func toFailure(f *forward.Failure) *api.Failure {
	if f == nil {
		return nil
	}
	return &api.Failure{Code: f.Code, Message: f.Message, Hint: text(f.Hint), At: api.Time{Time: f.At}}
}
