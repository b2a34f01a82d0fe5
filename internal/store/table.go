package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/adit-tunnel/adit/internal/access"
)

// table builds the statements of one table from its list of columns, and runs
// them. R is the row.
type table[R any] struct {
	name    string
	noun    string // for messages
	unique  string // the column named by a conflict that is not one of the primary key
	key     string // the primary key
	columns func(*R) []column

	selects, inserts, updates string // complete but for the conditions
}

func newTable[R any](name, noun, key, unique string, columns func(*R) []column) *table[R] {
	t := &table[R]{name: name, noun: noun, key: key, unique: unique, columns: columns}
	var names, marks, sets []string
	for _, c := range columns(new(R)) {
		names = append(names, c.name)
		marks = append(marks, "?")
		if !c.keep {
			sets = append(sets, c.name+" = ?")
		}
	}
	t.selects = "SELECT " + strings.Join(names, ", ") + " FROM " + name
	t.inserts = "INSERT INTO " + name + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
	t.updates = "UPDATE " + name + " SET " + strings.Join(sets, ", ") + " WHERE " + key + " = ?"
	return t
}

func (t *table[R]) insert(ctx context.Context, s *runner, row *R) error {
	_, err := s.exec(ctx, "create "+t.noun, t.inserts, t.values(row)...)
	return t.named(err)
}

// put is insert, or an update of everything when the columns called key are
// taken.
func (t *table[R]) put(ctx context.Context, s *runner, key string, row *R) error {
	var sets []string
	for _, c := range t.columns(row) {
		if !c.keep {
			sets = append(sets, c.name+" = excluded."+c.name)
		}
	}
	_, err := s.exec(ctx, "write "+t.noun,
		t.inserts+" ON CONFLICT ("+key+") DO UPDATE SET "+strings.Join(sets, ", "), t.values(row)...)
	return err
}

// values are what stands behind the columns of a row, to be written or read into.
func (t *table[R]) values(row *R) []any {
	var values []any
	for _, c := range t.columns(row) {
		values = append(values, c.value)
	}
	return values
}

func (t *table[R]) update(ctx context.Context, s *runner, row *R) error {
	var args []any
	var id any
	for _, c := range t.columns(row) {
		if c.name == t.key {
			id = c.value
		}
		if !c.keep {
			args = append(args, c.value)
		}
	}
	n, err := s.exec(ctx, "update "+t.noun, t.updates, append(args, id)...)
	return t.met(n, t.named(err))
}

// set changes some columns of one row.
func (t *table[R]) set(ctx context.Context, s *runner, id, sets string, args ...any) error {
	n, err := s.exec(ctx, "update "+t.noun, "UPDATE "+t.name+" SET "+sets+" WHERE "+t.key+" = ?", append(args, id)...)
	return t.met(n, err)
}

func (t *table[R]) delete(ctx context.Context, s *runner, id string) error {
	n, err := s.exec(ctx, "delete "+t.noun, "DELETE FROM "+t.name+" WHERE "+t.key+" = ?", id)
	return t.met(n, err)
}

// met turns no row met into ErrNotFound.
func (t *table[R]) met(n int, err error) error {
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", t.noun, ErrNotFound)
	}
	return err
}

// named completes a conflict with the constraint that it broke. The driver's
// code tells whether it was the primary key, and no table has more than one
// uniqueness beside that.
func (t *table[R]) named(err error) error {
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		return err
	}
	column := t.unique
	if conflict.primary {
		column = t.key
	}
	conflict.Constraint = Constraint(t.name + "." + column)
	return err
}

func (t *table[R]) rows(ctx context.Context, s *runner, rest string, args ...any) ([]R, error) {
	var list []R
	err := s.query(ctx, "read "+t.noun, t.selects+" "+rest, args, func(rows *sql.Rows) error {
		var row R
		if err := rows.Scan(t.values(&row)...); err != nil {
			return err
		}
		list = append(list, row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (t *table[R]) one(ctx context.Context, s *runner, condition string, args ...any) (R, error) {
	list, err := t.rows(ctx, s, "WHERE "+condition, args...)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: %w", t.noun, ErrNotFound)
	}
	if err != nil {
		var none R
		return none, err
	}
	return list[0], nil
}

func (t *table[R]) byID(ctx context.Context, s *runner, id string) (R, error) {
	return t.one(ctx, s, t.key+" = ?", id)
}

func (t *table[R]) byLocalID(ctx context.Context, s *runner, scope access.Scope, localID string) (R, error) {
	return t.one(ctx, s, "scope = ? AND local_id = ?", scope.String(), localID)
}

// newestFirst is the order of every list. Ids grow with time (UUIDv7), so rows
// of one millisecond keep their order too.
const newestFirst = " ORDER BY created_at DESC, id DESC"

func (t *table[R]) list(ctx context.Context, s *runner, scope access.Scope, page Page) ([]R, error) {
	rest, args := "WHERE scope = ?"+newestFirst, []any{scope.String()}
	if page != (Page{}) {
		limit := page.Limit
		if limit <= 0 {
			limit = math.MaxInt32
		}
		rest, args = rest+" LIMIT ? OFFSET ?", append(args, limit, page.Offset)
	}
	return t.rows(ctx, s, rest, args...)
}

func (t *table[R]) where(ctx context.Context, s *runner, condition string, args ...any) ([]R, error) {
	return t.rows(ctx, s, "WHERE "+condition+newestFirst, args...)
}

func (t *table[R]) count(ctx context.Context, s *runner, scope access.Scope) (int, error) {
	return s.number(ctx, "count "+t.noun, "SELECT COUNT(*) FROM "+t.name+" WHERE scope = ?", scope.String())
}

// find resolves a reference, see Reader.FindServer.
func (t *table[R]) find(ctx context.Context, s *runner, ref string, reach [][]access.Scope) (R, error) {
	var none R
	found, err := t.among(ctx, s, "id", ref, slices.Concat(reach...))
	if err != nil || len(found) == 1 {
		return first(found), err
	}
	for _, group := range reach {
		found, err := t.among(ctx, s, "local_id", ref, group)
		if err != nil || len(found) == 1 {
			return first(found), err
		}
		if len(found) > 1 {
			return none, fmt.Errorf("%s: %w", t.noun, ErrAmbiguous)
		}
	}
	return none, fmt.Errorf("%s: %w", t.noun, ErrNotFound)
}

// among gives the rows of some scopes that have this value in a column.
func (t *table[R]) among(ctx context.Context, s *runner, column, value string, scopes []access.Scope) ([]R, error) {
	if len(scopes) == 0 {
		return nil, nil
	}
	args := []any{value}
	for _, scope := range scopes {
		args = append(args, scope.String())
	}
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(scopes)), ", ")
	return t.rows(ctx, s, "WHERE "+column+" = ? AND scope IN ("+marks+")", args...)
}

func first[R any](list []R) (r R) {
	if len(list) > 0 {
		r = list[0]
	}
	return r
}
