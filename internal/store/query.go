package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// conn is what runs statements: a pool, or a transaction.
type conn interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// maxStatements bounds how many statements of a pool stay parsed. There are some
// hundred; those that name as many scopes as somebody has teams are without end.
const maxStatements = 500

// statements is a pool that parses each statement once for a connection, which
// is most of what a small one costs.
type statements struct {
	db *sql.DB

	mu     sync.Mutex // guards below
	parsed map[string]*sql.Stmt
	missed map[string]bool // that a transaction had to parse for itself
}

func newStatements(db *sql.DB) pool {
	return &statements{db: db, parsed: make(map[string]*sql.Stmt), missed: make(map[string]bool)}
}

// get gives a statement that is parsed; nil if it is not, which is noted.
func (s *statements) get(query string) *sql.Stmt {
	s.mu.Lock()
	defer s.mu.Unlock()
	stmt := s.parsed[query]
	if stmt == nil && len(s.parsed)+len(s.missed) < maxStatements {
		s.missed[query] = true
	}
	return stmt
}

// prepare parses what was missed. A transaction cannot: it has a connection, and
// the pool may have no other. What cannot be parsed shows when it is to run.
func (s *statements) prepare(ctx context.Context) {
	s.mu.Lock()
	missed := slices.Collect(maps.Keys(s.missed))
	clear(s.missed)
	s.mu.Unlock()
	for _, query := range missed {
		stmt, err := s.db.PrepareContext(ctx, query)
		if err != nil {
			continue
		}
		s.mu.Lock()
		if s.parsed[query] != nil { // somebody was faster
			_ = stmt.Close()
		} else {
			s.parsed[query] = stmt
		}
		s.mu.Unlock()
	}
}

func (s *statements) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt := s.get(query)
	if stmt == nil {
		return s.db.QueryContext(ctx, query, args...)
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *statements) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return s.db.ExecContext(ctx, query, args...)
}

func (s *statements) tx(tx *sql.Tx) conn { return &prepared{s, tx, make(map[string]*sql.Stmt)} }

// prepared is a transaction with the statements of its pool. What that does not
// have it parses once: a sync runs three statements a thousand times.
type prepared struct {
	pool  *statements
	sqltx *sql.Tx
	stmts map[string]*sql.Stmt // closed with the transaction
}

func (p *prepared) stmt(ctx context.Context, query string) (stmt *sql.Stmt, err error) {
	if stmt := p.stmts[query]; stmt != nil {
		return stmt, nil
	}
	if parsed := p.pool.get(query); parsed != nil {
		stmt = p.sqltx.StmtContext(ctx, parsed)
	} else {
		stmt, err = p.sqltx.PrepareContext(ctx, query)
	}
	if err == nil {
		p.stmts[query] = stmt
	}
	return stmt, err
}

func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := p.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (p *prepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	stmt, err := p.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

// runner runs statements on a pool or in a transaction.
type runner struct {
	conn  conn
	once  bool  // a transaction: the first error ends it
	spent error // that error
}

// query runs a SELECT and calls each for every row. what says for errors what
// was being done.
func (s *runner) query(ctx context.Context, what, query string, args []any, each func(*sql.Rows) error) error {
	if s.spent != nil {
		return s.spent
	}
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return s.spend(what, ended(ctx, err))
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return s.spend(what, ended(ctx, err))
		}
	}
	if err := rows.Err(); err != nil {
		return s.spend(what, ended(ctx, err))
	}
	return nil
}

// exec runs a statement that writes, and gives the number of rows it met.
func (s *runner) exec(ctx context.Context, what, query string, args ...any) (int, error) {
	if s.spent != nil {
		return 0, s.spent
	}
	result, err := s.conn.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, s.spend(what, ended(ctx, err))
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, s.spend(what, ended(ctx, err))
	}
	return int(n), nil
}

// number runs a SELECT of one number.
func (s *runner) number(ctx context.Context, what, query string, args ...any) (int, error) {
	var n int
	err := s.query(ctx, what, query, args, func(rows *sql.Rows) error { return rows.Scan(&n) })
	return n, err
}

// spend gives the error its form and ends the transaction. SQLite rolls one
// back by itself when the disk is full or a statement was interrupted: what
// came after would run outside of any transaction, and stay. PostgreSQL refuses
// all that comes after any error. So here too.
func (s *runner) spend(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, driverError(err))
	if s.once {
		s.spent = err
	}
	return err
}

// ended gives the end of ctx as the error of what it interrupted.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && interrupted(err) {
		return ctx.Err()
	}
	return err
}
