package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDialect is the dialect that statements and schema are written in.
var sqliteDialect = dialect{
	name: "sqlite",
	step: func(text string) string { return text },
	pool: newStatements,
	write: func(ctx context.Context, db *sql.DB) (*transaction, error) {
		return begin(ctx, db, sql.TxOptions{})
	},
	read: func(ctx context.Context, db *sql.DB) (*transaction, error) {
		return begin(ctx, db, sql.TxOptions{ReadOnly: true})
	},
}

// readerConns bounds the queries that run at a time. A query takes a fraction
// of a millisecond of one core; more of them than cores only costs page caches.
const readerConns = 8

// Pragmas belong to one connection, so they stand in the name of the data
// source and every connection of the pool gets them. The driver runs
// busy_timeout first, since the others may have to wait for a lock.
var (
	pragmas = []string{
		"busy_timeout(10000)",
		"foreign_keys(1)",
		"trusted_schema(0)",
		// Sorting happens in memory: reading goes on when the disk is full, and
		// no row is copied to a temporary file.
		"temp_store(2)",
	}
	readerPragmas = append([]string{"query_only(1)"}, pragmas...)
	writerPragmas = append([]string{
		"journal_mode(WAL)",
		// NORMAL would survive kill -9 as well, but after a loss of power it can
		// lose what had been answered. Writes are rare here and reads do not
		// wait for them, so each commit can afford its fsync.
		"synchronous(FULL)",
		// What is deleted is overwritten with zeros.
		"secure_delete(1)",
		// After a burst the log gives its space back at the next checkpoint.
		"journal_size_limit(16777216)",
	}, pragmas...)
)

// openPool prepares a pool of connections to the database file at the absolute
// path.
func openPool(path string, pragmas []string, conns int) (*sql.DB, error) {
	query := url.Values{"_pragma": pragmas}
	// A transaction that writes takes the write lock at its begin. One that
	// reads first and takes it later fails at once when another has written
	// meanwhile, and busy_timeout does not help.
	query.Set("_txlock", "immediate")
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// createPrivate makes the database file when there is none, so that its mode is
// not SQLite's default. The log beside it takes over the file's mode.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// sqliteError turns what the driver says into what callers act on.
func sqliteError(err error) error {
	var driver *sqlite.Error
	if !errors.As(err, &driver) {
		return err
	}
	switch driver.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return &ConflictError{Err: err}
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return &ConflictError{Err: err, primary: true}
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// writeError completes driverError for what may have met a full disk: some failures
// mean that, but the driver does not give the system's reason. So the file
// system is asked.
func writeError(err error, path string) error {
	var driver *sqlite.Error
	switch {
	case errors.Is(err, ErrFull):
		return err
	case isNoSpace(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case !errors.As(err, &driver):
		return err
	}
	switch driver.Code() {
	case sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC,
		sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP,
		sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_CANTOPEN:
		if noSpace(filepath.Dir(path)) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return err
}

// sqliteInterrupted tells what the driver says of a statement whose context ended.
func sqliteInterrupted(err error) bool {
	var driver *sqlite.Error
	return errors.As(err, &driver) && driver.Code() == sqlite3.SQLITE_INTERRUPT
}

// noSpace reports whether a small file cannot be written in dir because the
// disk, its inodes or the quota are used up.
func noSpace(dir string) bool {
	f, err := os.CreateTemp(dir, ".space-*")
	if err == nil {
		_, err = f.WriteString(strings.Repeat("\x00", 64<<10))
		if serr := f.Sync(); err == nil {
			err = serr
		}
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
	return isNoSpace(err)
}

// isNoSpace knows the system's own errors.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
