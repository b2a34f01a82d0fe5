package store

import "context"

var relayTokens = newTable("relay_tokens", "relay token", "id", "", func(r *RelayToken) []column {
	return []column{
		{name: "id", value: &r.ID, keep: true},
		{name: "kind", value: &r.Kind},
		{name: "reverse_id", value: orNull[string]{&r.ReverseID}},
		{name: "sealed", value: blob{&r.Sealed}},
		{name: "created_at", value: instant{&r.CreatedAt}},
		{name: "owner_seen_at", value: instant{&r.OwnerSeenAt}},
	}
})

// RelayTokens lists the tokens of the relay, oldest first.
func (r *Reader) RelayTokens(ctx context.Context) ([]RelayToken, error) {
	return relayTokens.rows(ctx, &r.runner, "ORDER BY created_at, id")
}

// PutRelayToken stores a token in place of the one with the same ID, if there
// is one; the connectors of that one stay. The token named by ReverseID must be
// stored already.
func (tx *Tx) PutRelayToken(ctx context.Context, r RelayToken) error {
	return relayTokens.put(ctx, &tx.runner, "id", &r)
}

// DeleteRelayTokens removes tokens, and the connectors of those that are reverse
// tokens. One that is not there is no error.
func (tx *Tx) DeleteRelayTokens(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, err := tx.exec(ctx, "delete relay token", "DELETE FROM relay_tokens WHERE id = ?", id); err != nil {
			return err
		}
	}
	return nil
}
