package store

import (
	"context"

	"github.com/adit-tunnel/adit/internal/access"
)

var servers = newTable("servers", "server", "id", "local_id", func(s *Server) []column {
	return append(s.Row.columns(), []column{
		{name: "name", value: &s.Name},
		{name: "host", value: &s.Host},
		{name: "port", value: &s.Port},
		{name: "username", value: &s.Username},
		{name: "auth_type", value: &s.AuthType},
		{name: "password", value: blob{&s.Password}},
		{name: "key_ref", value: orNull[string]{&s.KeyRef}},
		{name: "key_id", value: orNull[string]{&s.KeyID}},
		{name: "host_key_policy", value: orNull[string]{&s.HostKeyPolicy}},
		{name: "description", value: orNull[string]{&s.Description}},
	}...)
})

// Server gives one server by its id, whoever's it is.
func (r *Reader) Server(ctx context.Context, id string) (Server, error) {
	return servers.byID(ctx, &r.runner, id)
}

// ServerByLocalID gives the server that has this localId in the scope.
func (r *Reader) ServerByLocalID(ctx context.Context, scope access.Scope, localID string) (Server, error) {
	return servers.byLocalID(ctx, &r.runner, scope, localID)
}

// FindServer resolves what a client calls a server. ref is tried as an id among
// all the scopes of reach, then as a localId in its first group of scopes, then
// in the next. A localId that a group has twice is ErrAmbiguous. For a path's
// id reach is the actor's (access.Actor.Reach); for a reference, the scopes in
// the order of preference, each a group of its own.
func (r *Reader) FindServer(ctx context.Context, ref string, reach ...[]access.Scope) (Server, error) {
	return servers.find(ctx, &r.runner, ref, reach)
}

// Servers lists the servers of a scope, newest first.
func (r *Reader) Servers(ctx context.Context, scope access.Scope, page Page) ([]Server, error) {
	return servers.list(ctx, &r.runner, scope, page)
}

// CountServers counts the servers of a scope.
func (r *Reader) CountServers(ctx context.Context, scope access.Scope) (int, error) {
	return servers.count(ctx, &r.runner, scope)
}

// CreateServer adds a server. A taken localId is a ConflictError of ServerLocalID.
func (tx *Tx) CreateServer(ctx context.Context, s Server) error {
	return servers.insert(ctx, &tx.runner, &s)
}

// UpdateServer writes all of a server but its id, owner, team and CreatedAt.
func (tx *Tx) UpdateServer(ctx context.Context, s Server) error {
	return servers.update(ctx, &tx.runner, &s)
}

// DeleteServer removes a server and its sealed values. Forwards that used it
// keep their ServerRef and lose their ServerID.
func (tx *Tx) DeleteServer(ctx context.Context, id string) error {
	return servers.delete(ctx, &tx.runner, id)
}

var hostKeys = newTable("host_keys", "host key", "address", "", func(k *HostKey) []column {
	return []column{
		{name: "scope", value: scopeText{&k.Scope}, keep: true},
		{name: "address", value: &k.Address, keep: true},
		{name: "pinned_key", value: blob{&k.Pinned}},
		{name: "pinned_at", value: instant{&k.PinnedAt}},
		{name: "announced", value: orNull[string]{&k.Announced}},
		{name: "connected", value: &k.Connected},
		{name: "offered_key", value: blob{&k.Offered}},
		{name: "offered_at", value: instant{&k.OfferedAt}},
	}
})

// HostKey gives what is known of the SSH server at an address, or ErrNotFound.
func (r *Reader) HostKey(ctx context.Context, scope access.Scope, address string) (HostKey, error) {
	return hostKeys.one(ctx, &r.runner, "scope = ? AND address = ?", scope.String(), address)
}

// HostKeys gives all that a scope knows, by address. The map is never nil.
func (r *Reader) HostKeys(ctx context.Context, scope access.Scope) (map[string]HostKey, error) {
	list, err := hostKeys.rows(ctx, &r.runner, "WHERE scope = ?", scope.String())
	if err != nil {
		return nil, err
	}
	known := make(map[string]HostKey, len(list))
	for _, k := range list {
		known[k.Address] = k
	}
	return known, nil
}

// PutHostKey stores what is known of an address, in place of what was.
func (tx *Tx) PutHostKey(ctx context.Context, k HostKey) error {
	return hostKeys.put(ctx, &tx.runner, "scope, address", &k)
}

// DeleteHostKey forgets an address in a scope. One that is not known is no error.
func (tx *Tx) DeleteHostKey(ctx context.Context, scope access.Scope, address string) error {
	_, err := tx.exec(ctx, "delete host key", "DELETE FROM host_keys WHERE scope = ? AND address = ?", scope.String(), address)
	return err
}
