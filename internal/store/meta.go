package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Meta gives a value of the installation by its name, or ErrNotFound.
func (r *Reader) Meta(ctx context.Context, name string) (string, error) {
	var values []string
	err := r.query(ctx, "read meta", "SELECT value FROM meta WHERE name = ?", []any{name}, func(rows *sql.Rows) error {
		values = append(values, "")
		return rows.Scan(&values[len(values)-1])
	})
	if err == nil && len(values) == 0 {
		err = fmt.Errorf("meta %s: %w", name, ErrNotFound)
	}
	return first(values), err
}

// SetMeta stores a value of the installation, in place of what was. No secrets:
// it is not sealed.
func (tx *Tx) SetMeta(ctx context.Context, name, value string) error {
	_, err := tx.exec(ctx, "write meta",
		"INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}
