// Package store is the one store of what adit keeps: users, sessions, SSH
// servers, keys, forwards, host keys, relay tokens. It is concrete: rows,
// queries, one transaction at a time that writes. It decides nothing: who may
// do what is package access's, what a row must look like is app's, and what is
// secret arrives here sealed by package secret and leaves sealed. The database
// is SQLite's or PostgreSQL's, and does not show which.
//
// Rows hold the zero value where the database holds NULL. Instants have
// millisecond precision and are in UTC. Ids, CreatedAt and UpdatedAt are set by
// the caller.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
)

// Store is an open database. It is safe for concurrent use. Its own read
// methods (those of Reader) each see what was committed when they began.
type Store struct {
	Reader
	dialect *dialect
	path    string // of SQLite's file; empty for PostgreSQL
	readers *sql.DB
	reading pool    // the same, to run statements
	writer  *sql.DB // one connection: writers wait here, where a context ends the wait, and not inside the database
	writing pool
}

// Open opens the database file, makes it (mode 0600) when there is none, and
// brings an older one up to this program's schema. One that a newer program
// wrote is refused with a *NewerError and not touched. Keeping a second process
// out is the caller's work.
func Open(ctx context.Context, path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s, err := open(ctx, abs)
	var newer *NewerError
	if errors.As(err, &newer) {
		return nil, newer // it says all there is to say
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, writeError(driverError(err), abs))
	}
	return s, nil
}

func open(ctx context.Context, path string) (*Store, error) {
	steps, err := migrations(&sqliteDialect)
	if err != nil {
		return nil, err
	}
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	writer, err := openPool(path, writerPragmas, 1)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, writer, path, steps); err != nil {
		_ = writer.Close()
		return nil, err
	}
	readers, err := openPool(path, readerPragmas, readerConns)
	if err != nil {
		_ = writer.Close()
		return nil, err
	}
	return newStore(&sqliteDialect, path, readers, writer), nil
}

func newStore(d *dialect, path string, readers, writer *sql.DB) *Store {
	reading := d.pool(readers)
	return &Store{
		Reader: Reader{runner{conn: reading}}, dialect: d, path: path,
		readers: readers, reading: reading, writer: writer, writing: d.pool(writer),
	}
}

// Close waits for what runs and closes the database.
func (s *Store) Close() error {
	// The readers go first: the last connection to close moves the log into the
	// database file, and the reading ones may not write.
	rerr := s.readers.Close()
	werr := s.writer.Close()
	if werr != nil {
		return fmt.Errorf("close database: %w", werr)
	}
	if rerr != nil {
		return fmt.Errorf("close database: %w", rerr)
	}
	return nil
}

// Reader is every query that writes nothing. A Store reads what is committed, a
// Tx also what it wrote itself. One row that is not there is ErrNotFound; lists
// that are empty are nil.
type Reader struct{ runner }

// Tx is one writing transaction. It is used by one goroutine, inside Write. An
// error of any of its methods except ErrNotFound ends it: whatever follows
// answers that same error, and nothing is kept. So look first, then write;
// nothing changes in between, since writers run one at a time.
type Tx struct{ Reader }

// Write runs fn in a transaction and commits it when fn returns nil. After an
// error or a panic nothing of it is kept. Writers run one at a time, and what fn
// reads through tx stays true until the commit. When Write returns nil the change survives the loss of power.
//
// Inside fn use tx alone: the Store's own methods do not see what tx wrote, and
// another Write would wait for itself. Do no network I/O there.
func (s *Store) Write(ctx context.Context, fn func(*Tx) error) error {
	s.writing.prepare(ctx)
	sqltx, err := s.dialect.write(ctx, s.writer)
	if err != nil {
		return s.failed(ctx, fmt.Errorf("begin: %w", driverError(err)))
	}
	defer sqltx.end()
	// The transaction ends with ctx, but its commit does not: broken off on its
	// way to PostgreSQL, nobody would know whether it came to be.
	goOn := context.AfterFunc(ctx, func() { _ = sqltx.Rollback() })
	defer goOn()
	tx := &Tx{Reader{runner{conn: s.writing.tx(sqltx.Tx), once: true}}}
	err = fn(tx)
	if err == nil {
		err = tx.spent
	}
	if tx.spent != nil && ctx.Err() != nil && errors.Is(err, tx.spent) {
		// The end of ctx may meet a query anywhere in package sql, which has no
		// one error for that.
		err = ctx.Err()
	}
	if err == nil && !goOn() {
		err = ctx.Err()
	}
	if err != nil {
		return s.failed(ctx, err)
	}
	if err := sqltx.Commit(); err != nil {
		return s.failed(ctx, fmt.Errorf("commit: %w", driverError(err)))
	}
	return nil
}

// failed gives the error of a transaction that writes its form. One that is not
// the database's stays as it is.
func (s *Store) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, sql.ErrTxDone) || errors.Is(err, context.Canceled) || interrupted(err)) {
		err = ctx.Err() // which is what ended the transaction
	}
	if s.path == "" {
		return err
	}
	return writeError(err, s.path)
}

// Read runs fn on one unchanging view of the database, for several queries that
// must agree with each other. Inside fn use r alone.
func (s *Store) Read(ctx context.Context, fn func(*Reader) error) error {
	s.reading.prepare(ctx)
	sqltx, err := s.dialect.read(ctx, s.readers)
	if err != nil {
		return fmt.Errorf("begin: %w", driverError(err))
	}
	defer sqltx.end()
	return fn(&Reader{runner{conn: s.reading.tx(sqltx.Tx), once: true}})
}

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
