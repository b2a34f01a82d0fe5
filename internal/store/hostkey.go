package store

import (
	"context"

	"github.com/adit-tunnel/adit/internal/access"
)

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
