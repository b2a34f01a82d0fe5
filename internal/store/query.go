package store

import (
	"context"
	"database/sql"
	"fmt"
)

// conn is what runs statements: a pool, or a transaction.
type conn interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// prepared is a transaction that prepares each statement once. Most of what a
// small statement costs is its parsing, and a sync runs three of them a
// thousand times.
type prepared struct {
	tx    *sql.Tx
	stmts map[string]*sql.Stmt // closed with the transaction
}

func prepare(tx *sql.Tx) *prepared { return &prepared{tx, make(map[string]*sql.Stmt)} }

func (p *prepared) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := p.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := p.tx.PrepareContext(ctx, query)
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
