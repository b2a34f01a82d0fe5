package store

import (
	"context"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
)

var forwards = newTable("forwards", "forward", "id", "local_id", func(f *Forward) []column {
	return append(f.Row.columns(), []column{
		{name: "name", value: &f.Name},
		{name: "type", value: &f.Type},
		{name: "local_host", value: orNull[string]{&f.LocalHost}},
		{name: "local_port", value: orNull[int]{&f.LocalPort}},
		{name: "remote_host", value: orNull[string]{&f.RemoteHost}},
		{name: "remote_port", value: orNull[int]{&f.RemotePort}},
		{name: "bind_address", value: orNull[string]{&f.BindAddress}},
		{name: "bind_port", value: orNull[int]{&f.BindPort}},
		{name: "server_ref", value: orNull[string]{&f.ServerRef}},
		{name: "server_id", value: orNull[string]{&f.ServerID}},
		{name: "server_address", value: orNull[string]{&f.ServerAddress}},
		{name: "username", value: orNull[string]{&f.Username}},
		{name: "auth_type", value: orNull[string]{&f.AuthType}},
		{name: "password", value: blob{&f.Password}},
		{name: "key_path", value: orNull[string]{&f.KeyPath}},
		{name: "key_content", value: blob{&f.KeyContent}},
		{name: "passphrase", value: blob{&f.Passphrase}},
		{name: "socks_username", value: orNull[string]{&f.SOCKSUsername}},
		{name: "socks_password", value: blob{&f.SOCKSPassword}},
		{name: "host_key_policy", value: orNull[string]{&f.HostKeyPolicy}},
		{name: "wanted", value: &f.Wanted, keep: true},
		{name: "last_used_at", value: instant{&f.LastUsedAt}, keep: true},
		{name: "last_port", value: orNull[int]{&f.LastPort}, keep: true},
	}...)
})

// Forward gives one forward by its id, whoever's it is.
func (r *Reader) Forward(ctx context.Context, id string) (Forward, error) {
	return forwards.byID(ctx, &r.runner, id)
}

// ForwardByLocalID gives the forward that has this localId in the scope.
func (r *Reader) ForwardByLocalID(ctx context.Context, scope access.Scope, localID string) (Forward, error) {
	return forwards.byLocalID(ctx, &r.runner, scope, localID)
}

// FindForward resolves what a client calls a forward, as FindServer does.
func (r *Reader) FindForward(ctx context.Context, ref string, reach ...[]access.Scope) (Forward, error) {
	return forwards.find(ctx, &r.runner, ref, reach)
}

// Forwards lists the forwards of a scope, newest first.
func (r *Reader) Forwards(ctx context.Context, scope access.Scope, page Page) ([]Forward, error) {
	return forwards.list(ctx, &r.runner, scope, page)
}

// CountForwards counts the forwards of a scope.
func (r *Reader) CountForwards(ctx context.Context, scope access.Scope) (int, error) {
	return forwards.count(ctx, &r.runner, scope)
}

// CountForwardsBy counts the forwards that a user made, in whatever scope.
func (r *Reader) CountForwardsBy(ctx context.Context, userID string) (int, error) {
	return r.number(ctx, "count forwards", "SELECT COUNT(*) FROM forwards WHERE user_id = ?", userID)
}

// CountWanted counts the forwards that shall run: those that a user made, or
// with an empty id all.
func (r *Reader) CountWanted(ctx context.Context, userID string) (int, error) {
	if userID == "" {
		return r.number(ctx, "count wanted forwards", "SELECT COUNT(*) FROM forwards WHERE wanted = ?", true)
	}
	return r.number(ctx, "count wanted forwards", "SELECT COUNT(*) FROM forwards WHERE user_id = ? AND wanted = ?", userID, true)
}

// WantedForwards lists the forwards of everybody that shall run.
func (r *Reader) WantedForwards(ctx context.Context) ([]Forward, error) {
	return forwards.where(ctx, &r.runner, "wanted = ?", true)
}

// ForwardsUsingServer lists the forwards that go through a server, in whatever
// scope they are, wanted or not.
func (r *Reader) ForwardsUsingServer(ctx context.Context, serverID string) ([]Forward, error) {
	return forwards.where(ctx, &r.runner, "server_id = ?", serverID)
}

// ForwardsUsingKey lists the forwards that go through a server which logs in
// with this key, in whatever scope they are, wanted or not.
func (r *Reader) ForwardsUsingKey(ctx context.Context, keyID string) ([]Forward, error) {
	return forwards.where(ctx, &r.runner, "server_id IN (SELECT id FROM servers WHERE key_id = ?)", keyID)
}

// CreateForward adds a forward, with Wanted, LastUsedAt and LastPort as they
// are. A taken localId is a ConflictError of ForwardLocalID.
func (tx *Tx) CreateForward(ctx context.Context, f Forward) error {
	return forwards.insert(ctx, &tx.runner, &f)
}

// UpdateForward writes all of a forward but its id, owner, team, CreatedAt,
// Wanted, LastUsedAt and LastPort.
func (tx *Tx) UpdateForward(ctx context.Context, f Forward) error {
	return forwards.update(ctx, &tx.runner, &f)
}

// DeleteForward removes a forward and its sealed values.
func (tx *Tx) DeleteForward(ctx context.Context, id string) error {
	return forwards.delete(ctx, &tx.runner, id)
}

// MarkStarted records a successful start: the forward is wanted, and listened
// on port at this time. Port 0 leaves LastPort as it was.
func (tx *Tx) MarkStarted(ctx context.Context, id string, at time.Time, port int) error {
	return forwards.set(ctx, &tx.runner, id,
		"wanted = ?, last_used_at = ?, last_port = COALESCE(?, last_port)",
		true, instant{&at}, orNull[int]{&port})
}

// MarkStopped records that the forward shall not run.
func (tx *Tx) MarkStopped(ctx context.Context, id string) error {
	return forwards.set(ctx, &tx.runner, id, "wanted = ?", false)
}

// SetLastPort records the port that a tunnel got when it listened again.
func (tx *Tx) SetLastPort(ctx context.Context, id string, port int) error {
	return forwards.set(ctx, &tx.runner, id, "last_port = ?", orNull[int]{&port})
}
