package store

import "context"

var signingKeys = newTable("signing_keys", "signing key", "kid", "", func(k *SigningKey) []column {
	return []column{
		{name: "kid", value: &k.ID},
		{name: "sealed", value: blob{&k.Sealed}},
		{name: "created_at", value: instant{&k.CreatedAt}},
	}
})

// SigningKeys lists the keys that tokens are signed with, newest first.
func (r *Reader) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return signingKeys.rows(ctx, &r.runner, "ORDER BY created_at DESC, kid DESC")
}

// CreateSigningKey adds a signing key.
func (tx *Tx) CreateSigningKey(ctx context.Context, k SigningKey) error {
	return signingKeys.insert(ctx, &tx.runner, &k)
}

// DeleteSigningKey removes a signing key; tokens that it signed are worthless
// then.
func (tx *Tx) DeleteSigningKey(ctx context.Context, id string) error {
	return signingKeys.delete(ctx, &tx.runner, id)
}
