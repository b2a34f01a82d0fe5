package store

import (
	"context"
	"database/sql"
)

// dialect is what the two databases want done differently. There are two:
// sqliteDialect and postgresDialect. Statements are written once, as SQLite takes
// them, in the SQL that both know.
type dialect struct {
	// name marks the steps of the schema that this database has a text of its
	// own for, as in 0003_x.postgres.sql.
	name string
	// step makes a step of the schema, as it stands in its file, this database's.
	step func(text string) string
	// pool runs the statements of a pool of connections.
	pool func(*sql.DB) pool
	// write begins a transaction that writes: no other one runs until its end.
	// read begins one that sees one unchanging view.
	write, read func(context.Context, *sql.DB) (*transaction, error)
}

// transaction is one that only its owner ends. Package sql would end it with its
// context, at any moment, and pgx close the connection for that, with the lock
// that is on it.
type transaction struct {
	*sql.Tx
	conn *sql.Conn
}

// begin begins a transaction. The end of ctx is the end of waiting for a connection.
func begin(ctx context.Context, db *sql.DB, options sql.TxOptions) (*transaction, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := c.BeginTx(context.WithoutCancel(ctx), &options)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &transaction{tx, c}, nil
}

// end undoes what is not committed and gives the connection back, once nobody
// uses it any more.
func (t *transaction) end() {
	// It does nothing after a commit. SQLite itself rolls back on a full disk;
	// the error of doing so again says nothing.
	_ = t.Rollback()
	_ = t.conn.Close()
}

// pool runs statements outside of transactions, and in one of its own.
type pool interface {
	conn
	tx(*sql.Tx) conn
	prepare(context.Context) // is called before each transaction
}
