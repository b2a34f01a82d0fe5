package store

import (
	"context"

	"github.com/adit-tunnel/adit/internal/access"
)

var keys = newTable("ssh_keys", "key", "id", "local_id", func(k *Key) []column {
	return append(k.Row.columns(), []column{
		{name: "name", value: &k.Name},
		{name: "type", value: &k.Type},
		{name: "private_key", value: blob{&k.PrivateKey}},
		{name: "passphrase", value: blob{&k.Passphrase}},
		{name: "public_key", value: orNull[string]{&k.PublicKey}},
		{name: "fingerprint", value: orNull[string]{&k.Fingerprint}},
		{name: "description", value: orNull[string]{&k.Description}},
	}...)
})

// Key gives one key by its id, whoever's it is.
func (r *Reader) Key(ctx context.Context, id string) (Key, error) {
	return keys.byID(ctx, &r.runner, id)
}

// KeyByLocalID gives the key that has this localId in the scope.
func (r *Reader) KeyByLocalID(ctx context.Context, scope access.Scope, localID string) (Key, error) {
	return keys.byLocalID(ctx, &r.runner, scope, localID)
}

// FindKey resolves what a client calls a key, as FindServer does.
func (r *Reader) FindKey(ctx context.Context, ref string, reach ...[]access.Scope) (Key, error) {
	return keys.find(ctx, &r.runner, ref, reach)
}

// Keys lists the keys of a scope, newest first.
func (r *Reader) Keys(ctx context.Context, scope access.Scope, page Page) ([]Key, error) {
	return keys.list(ctx, &r.runner, scope, page)
}

// CountKeys counts the keys of a scope.
func (r *Reader) CountKeys(ctx context.Context, scope access.Scope) (int, error) {
	return keys.count(ctx, &r.runner, scope)
}

// CreateKey adds a key. A taken localId is a ConflictError of KeyLocalID.
func (tx *Tx) CreateKey(ctx context.Context, k Key) error {
	return keys.insert(ctx, &tx.runner, &k)
}

// UpdateKey writes all of a key but its id, owner, team and CreatedAt.
func (tx *Tx) UpdateKey(ctx context.Context, k Key) error {
	return keys.update(ctx, &tx.runner, &k)
}

// DeleteKey removes a key and its sealed values. Servers that used it keep
// their KeyRef and lose their KeyID.
func (tx *Tx) DeleteKey(ctx context.Context, id string) error {
	return keys.delete(ctx, &tx.runner, id)
}
