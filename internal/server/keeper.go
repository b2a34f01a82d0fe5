package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
)

// keeper keeps the relay's tokens in the database, sealed.
type keeper struct{ data *data }

// sealedToken is what of a token stands in its sealed column: everything that
// tells something to who reads the database.
type sealedToken struct {
	Token    string    `json:"token"`
	Port     int       `json:"port"`
	Username string    `json:"username,omitempty"`
	Password string    `json:"password,omitempty"`
	Manage   bool      `json:"manage,omitempty"`
	Instance uuid.UUID `json:"instance"`
	Allow    []string  `json:"allow,omitempty"`
	Deny     []string  `json:"deny,omitempty"`
}

func tokenRow(id string) string { return secret.Row("relay_tokens", id, "sealed") }

// Put implements relay.Keeper.
func (k keeper) Put(ctx context.Context, r relay.Record) error {
	plain, err := json.Marshal(sealedToken{
		Token: r.Token.Reveal(), Port: r.Port, Username: r.Username, Password: r.Password.Reveal(),
		Manage: r.Manage, Instance: r.Instance, Allow: r.Allow, Deny: r.Deny,
	})
	if err != nil {
		return err
	}
	sealed, err := k.data.keys.Seal(plain, tokenRow(r.ID))
	if err != nil {
		return fmt.Errorf("seal a relay token: %w", err)
	}
	return app.Explain(k.data.store.Write(ctx, func(tx *store.Tx) error {
		return tx.PutRelayToken(ctx, store.RelayToken{
			ID: r.ID, Kind: string(r.Kind), ReverseID: r.ReverseID, Sealed: sealed, CreatedAt: r.CreatedAt, OwnerSeenAt: r.OwnerSeenAt,
		})
	}))
}

// Delete implements relay.Keeper.
func (k keeper) Delete(ctx context.Context, ids ...string) error {
	return app.Explain(k.data.store.Write(ctx, func(tx *store.Tx) error {
		return tx.DeleteRelayTokens(ctx, ids...)
	}))
}

// kept loads the tokens. One that cannot be opened is left alone: it is worth
// nothing until the key that sealed it is back.
func (k keeper) kept(ctx context.Context, log *slog.Logger) ([]relay.Record, error) {
	rows, err := k.data.store.RelayTokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("load relay tokens: %w", err)
	}
	records := make([]relay.Record, 0, len(rows))
	for _, row := range rows {
		r, err := k.open(row)
		if err != nil {
			log.Error("a relay token cannot be opened, and is not served", "id", row.ID, "error", err)
			continue
		}
		records = append(records, r)
	}
	return records, nil
}

func (k keeper) open(row store.RelayToken) (relay.Record, error) {
	plain, err := k.data.keys.Open(row.Sealed, tokenRow(row.ID))
	if err != nil {
		return relay.Record{}, err
	}
	var t sealedToken
	if err := json.Unmarshal(plain, &t); err != nil {
		return relay.Record{}, err
	}
	return relay.Record{
		ID: row.ID, Kind: relay.Kind(row.Kind), Token: redact.New(t.Token), Port: t.Port,
		Username: t.Username, Password: redact.New(t.Password), Manage: t.Manage, ReverseID: row.ReverseID,
		Instance: t.Instance, Allow: t.Allow, Deny: t.Deny, CreatedAt: row.CreatedAt, OwnerSeenAt: row.OwnerSeenAt,
	}, nil
}
