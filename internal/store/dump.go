package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dumpTable is a table whose rows move from one database to another.
type dumpTable struct {
	name string
	// order is that of the rows: of those that refer to each other, what is
	// referred to first, and always the same for the same rows.
	order string
}

// dumpTables are all of the schema, but for the one that holds its number. Each
// comes after those that its rows refer to.
var dumpTables = []dumpTable{
	{"users", "id"},
	{"sessions", "jti"},
	{"signing_keys", "kid"},
	{"teams", "id"},
	{"team_members", "id"},
	{"invite_codes", "code"},
	{"ssh_keys", "id"},
	{"servers", "id"},
	{"forwards", "id"},
	{"host_keys", "scope, address"},
	{"meta", "name"},
	{"relay_tokens", "reverse_id IS NOT NULL, id"}, // a connector refers to a reverse token, which refers to none
	{"api_tokens", "id"},
	{"audit", "id"},
}

// Values are those of one row, by column: a string, an int64, a bool, a []byte,
// or nil for NULL. What is sealed stays so.
type Values map[string]any

// Schema is the number of the schema that this program has.
func Schema() (int, error) {
	steps, err := migrations(&sqliteDialect)
	return len(steps), err
}

// Dump calls each for every row of every table, what is referred to before what
// refers to it. Both databases give the same for the same rows. Where each fails,
// its error is Dump's. To see all rows at one instant call it inside Store.Read.
func (r *Reader) Dump(ctx context.Context, each func(table string, row Values) error) error {
	for _, t := range dumpTables {
		var eachErr error
		err := r.query(ctx, "dump "+t.name, "SELECT * FROM "+t.name+" ORDER BY "+t.order, nil, func(rows *sql.Rows) error {
			row, err := valuesOf(rows)
			if err != nil {
				return err
			}
			eachErr = each(t.name, row)
			return eachErr
		})
		if eachErr != nil {
			return eachErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func valuesOf(rows *sql.Rows) (Values, error) {
	columns, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	values, places := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	if err := rows.Scan(places...); err != nil {
		return nil, err
	}
	row := make(Values, len(columns))
	for i, c := range columns {
		// SQLite has no booleans but the name of their type.
		if n, ok := values[i].(int64); ok && c.DatabaseTypeName() == "BOOLEAN" {
			values[i] = n != 0
		}
		if err := checkValue(values[i]); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name(), err)
		}
		row[c.Name()] = values[i]
	}
	return row, nil
}

func checkValue(value any) error {
	switch value.(type) {
	case nil, string, int64, bool, []byte:
		return nil
	}
	return fmt.Errorf("no value of a row is a %T", value)
}

// Used gives the names of the tables that have rows: none of a fresh database.
func (r *Reader) Used(ctx context.Context) (tables []string, err error) {
	for _, t := range dumpTables {
		rows, err := r.number(ctx, "look into "+t.name, "SELECT COUNT(*) FROM (SELECT 1 FROM "+t.name+" LIMIT 1) AS rows")
		if err != nil {
			return nil, err
		}
		if rows > 0 {
			tables = append(tables, t.name)
		}
	}
	return tables, nil
}

// Loader writes rows that Dump gave, of either database, in the order of Dump.
type Loader struct {
	tx      *Tx
	columns map[string][]string // by table
}

// Loader prepares for rows of all tables.
func (tx *Tx) Loader(ctx context.Context) (*Loader, error) {
	l := &Loader{tx: tx, columns: make(map[string][]string)}
	for _, t := range dumpTables {
		names, err := tx.columnsOf(ctx, t.name)
		if err != nil {
			return nil, err
		}
		l.columns[t.name] = names
	}
	return l, nil
}

// columnsOf reads the names of a table's columns.
func (tx *Tx) columnsOf(ctx context.Context, table string) (names []string, err error) {
	if tx.spent != nil {
		return nil, tx.spent
	}
	what := "look at " + table
	rows, err := tx.conn.QueryContext(ctx, "SELECT * FROM "+table+" WHERE 1 = 0")
	if err != nil {
		return nil, tx.spend(what, err)
	}
	defer func() { _ = rows.Close() }()
	if names, err = rows.Columns(); err == nil {
		err = rows.Err()
	}
	if err != nil {
		return nil, tx.spend(what, err)
	}
	return names, nil
}

// Load writes one row. It must have exactly the table's columns.
func (l *Loader) Load(ctx context.Context, table string, row Values) error {
	names, ok := l.columns[table]
	if !ok {
		return fmt.Errorf("load %q: there is no such table", table)
	}
	for name := range row {
		if !slices.Contains(names, name) {
			return fmt.Errorf("load %s: there is no column %q", table, name)
		}
	}
	args := make([]any, len(names))
	for i, name := range names {
		value, ok := row[name]
		if !ok {
			return fmt.Errorf("load %s: the column %s is missing", table, name)
		}
		if err := checkValue(value); err != nil {
			return fmt.Errorf("load %s: column %s: %w", table, name, err)
		}
		args[i] = value
	}
	_, err := l.tx.exec(ctx, "load "+table, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+
		") VALUES (?"+strings.Repeat(", ?", len(names)-1)+")", args...)
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("load: %w", &ConflictError{Constraint: Constraint(table), Err: err})
	}
	return err
}
