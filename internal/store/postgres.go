package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/adit-tunnel/adit/internal/redact"
)

// postgresDialect is that of PostgreSQL 12 and later.
var postgresDialect = dialect{
	name: "postgres",
	step: postgresStep,
	pool: func(db *sql.DB) pool { return postgresPool{db} },
	write: func(ctx context.Context, db *sql.DB) (*transaction, error) {
		return again(ctx, func() (*transaction, error) { return beginWriting(ctx, db) })
	},
	read: func(ctx context.Context, db *sql.DB) (*transaction, error) {
		return again(ctx, func() (*transaction, error) {
			return begin(ctx, db, sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		})
	},
}

const (
	// lockKey is the advisory lock of who serves a database. Those locks belong
	// to one database, so the number has to be told from other programs' alone.
	lockKey = 0x61646974_73746f72
	// lockTimeout is how long to wait for that lock: a process that has just been
	// killed holds it until the server notices.
	lockTimeout = 2 * time.Second
	// connectTimeout bounds one attempt to connect, if the URL does not.
	connectTimeout = 10 * time.Second
)

// OpenPostgres opens a PostgreSQL database by its URL, postgres:// or
// postgresql:// as libpq takes it, and brings an older one up to this program's
// schema. One that a newer program wrote is refused with a *NewerError and not
// touched.
//
// One process at a time uses a database: a second is refused with a *UsedError.
// When the connection that writes breaks, another process may take the database
// over; then each Write is that error. Reads do not notice.
//
// No error shows the URL's password.
func OpenPostgres(ctx context.Context, url redact.Secret) (*Store, error) {
	config, err := pgx.ParseConfig(url.Reveal())
	if err != nil {
		// The driver's own words may hold parts of the password.
		return nil, errors.New("open database: the URL is none of a PostgreSQL database")
	}
	name := config.Host + "/" + config.Database
	s, err := openPostgres(ctx, config, name)
	var newer *NewerError
	var used *UsedError
	switch {
	case errors.As(err, &newer):
		return nil, newer
	case errors.As(err, &used):
		return nil, used
	case err != nil:
		return nil, fmt.Errorf("open database %s: %w", name, driverError(err))
	}
	return s, nil
}

func openPostgres(ctx context.Context, config *pgx.ConnConfig, name string) (*Store, error) {
	steps, err := migrations(&postgresDialect)
	if err != nil {
		return nil, err
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "adit"
	}
	// A peer that is gone without a word is noticed within half a minute, here and
	// there: until the server has, it keeps the lock for who is not there any more.
	config.DialFunc = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}).DialContext
	// The end of a context ends the statement, and not the connection with it, which
	// holds the lock; unless the server does not answer to that either.
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 5 * time.Second}
	}
	const keepAlive = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; "
	writer := postgresConns(config, 1, func(ctx context.Context, c *pgx.Conn) error {
		return lockDatabase(ctx, c, name, keepAlive)
	})
	if err := migrate(ctx, writer, name, steps); err != nil {
		_ = writer.Close()
		return nil, err
	}
	readers := postgresConns(config, readerConns, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, keepAlive+"SET default_transaction_read_only = on")
		return err
	})
	return newStore(&postgresDialect, "", readers, writer), nil
}

// postgresConns is a pool of connections, each prepared when it is made.
func postgresConns(config *pgx.ConnConfig, conns int, prepare func(context.Context, *pgx.Conn) error) *sql.DB {
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		err := prepare(ctx, c)
		if err != nil {
			_ = c.Close(context.WithoutCancel(ctx)) // the driver forgets it
		}
		return err
	}))
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

// lockDatabase prepares the connection that writes. It holds the lock that says
// whose the database is, so that there is no write without the lock: when the
// connection breaks the lock is gone with it, and the next connection takes it
// before it is used.
func lockDatabase(ctx context.Context, c *pgx.Conn, name, settings string) error {
	if encoding := c.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return fmt.Errorf("its encoding is %s, adit needs UTF8", encoding)
	}
	_, err := c.Exec(ctx, settings+fmt.Sprintf("SET lock_timeout = %d; SELECT pg_advisory_lock(%d); RESET lock_timeout",
		lockTimeout.Milliseconds(), lockKey))
	if sqlState(err) == "55P03" { // lock_not_available
		return &UsedError{Database: name}
	}
	return err
}

// beginWriting begins a transaction in which nobody else's changes come up. Other
// than REPEATABLE READ, READ COMMITTED sees all that was there when the lock was
// taken.
func beginWriting(ctx context.Context, db *sql.DB) (*transaction, error) {
	tx, err := begin(ctx, db, sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	// The session has this lock already, unless a pooler between changes sessions
	// with the transaction: then another one has it, and this waits in vain.
	var ours bool
	err = tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(lockKey)).Scan(&ours)
	if err == nil && !ours {
		err = errors.New("the lock on the database is not this connection's: a pooler before PostgreSQL must pool sessions, not transactions")
	}
	if err != nil {
		tx.end()
		return nil, err
	}
	return tx, nil
}

// again does once more what has had no effect yet, where the connection that it
// got turns out to be dead. After a restart of the server each of a pool's may
// be, and package sql only notices that of those which were idle for a while.
func again[T any](ctx context.Context, do func() (T, error)) (T, error) {
	for range readerConns {
		result, err := do()
		if !broken(err) || ctx.Err() != nil {
			return result, err
		}
	}
	return do()
}

// broken tells the end of a connection that had been made.
func broken(err error) bool {
	var connecting *pgconn.ConnectError
	if err == nil || errors.As(err, &connecting) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch sqlState(err) {
	case "57P01", "57P02", "57P05": // admin_shutdown, crash_shutdown, idle_session_timeout
		return true
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// postgresPool runs single statements that read.
type postgresPool struct{ db *sql.DB }

func (p postgresPool) tx(tx *sql.Tx) conn { return postgresTx{tx} }

func (p postgresPool) prepare(context.Context) {} // the driver keeps its statements parsed

func (p postgresPool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	values, err := sought(args)
	if err != nil {
		return nil, err
	}
	query = numbered(query)
	return again(ctx, func() (*sql.Rows, error) { return p.db.QueryContext(ctx, query, values...) })
}

func (p postgresPool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	values, err := plain(args)
	if err != nil {
		return nil, err
	}
	return p.db.ExecContext(ctx, numbered(query), values...)
}

// postgresTx runs the statements of a transaction. The driver prepares each once
// a connection.
type postgresTx struct{ tx *sql.Tx }

func (t postgresTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	values, err := sought(args)
	if err != nil {
		return nil, err
	}
	return t.tx.QueryContext(ctx, numbered(query), values...)
}

func (t postgresTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	values, err := plain(args)
	if err != nil {
		return nil, err
	}
	return t.tx.ExecContext(ctx, numbered(query), values...)
}

// plain makes of arguments what package sql makes of them for SQLite's driver:
// pgx would go by its own rules.
func plain(args []any) ([]any, error) {
	values := make([]any, len(args))
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		values[i] = value
	}
	return values, nil
}

// sought is plain for what is looked for. A text that PostgreSQL cannot hold
// equals none that it holds, as NULL does; as it is, it would be an error.
func sought(args []any) ([]any, error) {
	values, err := plain(args)
	for i, value := range values {
		if text, ok := value.(string); ok && (!utf8.ValidString(text) || strings.Contains(text, "\x00")) {
			values[i] = nil
		}
	}
	return values, err
}

// numberedTexts has what numbered made: there are as many statements as the
// program has, and a few lengths of lists.
var numberedTexts sync.Map

// numbered makes $1, $2… of a statement's question marks.
func numbered(query string) string {
	if text, ok := numberedTexts.Load(query); ok {
		return text.(string)
	}
	var text strings.Builder
	marks, quoted := 0, false
	for _, r := range query {
		switch {
		case r == '?' && !quoted:
			marks++
			text.WriteString("$" + strconv.Itoa(marks))
			continue
		case r == '\'':
			quoted = !quoted
		}
		text.WriteRune(r)
	}
	numberedTexts.Store(query, text.String())
	return text.String()
}

var (
	blobType = regexp.MustCompile(`\bBLOB\b`)
	textType = regexp.MustCompile(`\bTEXT\b`)
)

// postgresStep makes a step of the schema PostgreSQL's. Texts are compared by
// their bytes, as SQLite does it, whatever language the database sorts in: ids
// grow with time in no other order.
func postgresStep(text string) string {
	return textType.ReplaceAllString(blobType.ReplaceAllString(text, "BYTEA"), `TEXT COLLATE "C"`)
}

// postgresError turns what the driver says into what callers act on.
func postgresError(err error) error {
	var connecting *pgconn.ConnectError
	if broken(err) || errors.As(err, &connecting) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return err
	}
	switch server.Code {
	case "23505": // unique_violation
		// PostgreSQL itself calls a primary key so, and no step of the schema does.
		return &ConflictError{Err: err, primary: strings.HasSuffix(server.ConstraintName, "_pkey")}
	case "53100": // disk_full
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// postgresInterrupted tells what the driver says of a statement whose context
// ended: that the server broke it off, or that the connection did not last.
func postgresInterrupted(err error) bool {
	return sqlState(err) == "57014" || broken(err) // query_canceled
}

// sqlState gives the server's code of an error, empty when it is none of its own.
func sqlState(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return ""
}
