package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// The schema in steps, in the order of their names: the nth takes a database
// from schema n-1 to n. What has been released is never edited; a change is a
// new file. A step that the dialects cannot share has a second file for the other
// one, as in 0003_x.postgres.sql beside 0003_x.sql.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations gives the steps of the schema in a dialect.
func migrations(d *dialect) ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var steps []string
	for _, name := range names {
		if strings.Count(name, ".") > 1 {
			continue // in the place of another one, in one dialect
		}
		own, err := migrationFiles.ReadFile(strings.TrimSuffix(name, "sql") + d.name + ".sql")
		if err == nil {
			steps = append(steps, string(own))
			continue
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, d.step(string(text)))
	}
	return steps, nil
}

// migrate brings the database to schema len(steps). It happens in one
// transaction: a step that breaks leaves the database as it was, and of two
// processes the second waits and finds the work done. name is the database's, for
// messages.
func migrate(ctx context.Context, db *sql.DB, name string, steps []string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return driverError(err)
	}
	defer func() { _ = tx.Rollback() }()
	has, err := schemaOf(ctx, tx)
	if err != nil {
		return driverError(err)
	}
	if has > len(steps) {
		return &NewerError{Database: name, Has: has, Knows: len(steps)}
	}
	if has == len(steps) {
		return nil
	}
	for n := has; n < len(steps); n++ {
		if _, err := tx.ExecContext(ctx, steps[n]); err != nil {
			return fmt.Errorf("bring the schema from %d to %d: %w", n, n+1, driverError(err))
		}
	}
	// Without a mark for the number: the dialects do not agree on marks.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE schema_version SET version = %d", len(steps))); err != nil {
		return driverError(err)
	}
	return driverError(tx.Commit())
}

// schemaOf reads how many steps a database has taken; none when it is empty.
func schemaOf(ctx context.Context, tx *sql.Tx) (int, error) {
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
		return 0, err
	}
	var rows, version int
	err := tx.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(MAX(version), 0) FROM schema_version").Scan(&rows, &version)
	if err == nil && rows == 0 {
		_, err = tx.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES (0)")
	}
	return version, err
}
