package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

// dumped is a row with its table.
type dumped struct {
	table string
	row   Values
}

func openSQLiteTemp(t *testing.T) *Store {
	t.Helper()
	s, err := Open(context.Background(), filepath.Join(t.TempDir(), "adit.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func dumpOf(t *testing.T, s *Store) (rows []dumped) {
	t.Helper()
	err := s.Read(t.Context(), func(r *Reader) error {
		return r.Dump(t.Context(), func(table string, row Values) error {
			rows = append(rows, dumped{table, row})
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func loadInto(t *testing.T, s *Store, rows ...dumped) error {
	t.Helper()
	return s.Write(t.Context(), func(tx *Tx) error {
		l, err := tx.Loader(t.Context())
		if err != nil {
			return err
		}
		for _, d := range rows {
			if err := l.Load(t.Context(), d.table, d.row); err != nil {
				return err
			}
		}
		return nil
	})
}

func mustLoad(t *testing.T, s *Store, rows ...dumped) {
	t.Helper()
	if err := loadInto(t, s, rows...); err != nil {
		t.Fatal(err)
	}
}

// constrained are the columns that do not take every text.
var constrained = map[string][2]any{
	"users.role": {"admin", "user"}, "team_members.role": {"owner", "user"}, "forwards.type": {"local", "dynamic"},
	"api_tokens.level": {"read", "manage"}, "relay_tokens.kind": {"reverse", "connector"},
	// The order of ids alone would put the connector first.
	"relay_tokens.id": {"2 reverse", "1 connector"}, "relay_tokens.reverse_id": {nil, "2 reverse"},
}

// fullRows has two rows of every table, made from the schema, so that a column of
// a later step is in it: one with a value in every column, one with NULL where
// that may be.
func fullRows(t *testing.T, s *Store) (rows []dumped) {
	t.Helper()
	made := map[string][2]any{} // by table and column
	for _, table := range dumpTables {
		refers := references(t, s, table.name)
		two := [2]Values{{}, {}}
		for _, c := range columnsInfo(t, s, table.name) {
			name := table.name + "." + c.name
			for n := range two {
				value := anyValue(t, c.kind, name, n)
				if target, ok := refers[c.name]; ok {
					value = made[target][n]
				}
				if n == 1 && !c.notNull {
					value = nil
				}
				if values, ok := constrained[name]; ok {
					value = values[n]
				}
				two[n][c.name] = value
			}
			made[name] = [2]any{two[0][c.name], two[1][c.name]}
		}
		for _, row := range two {
			scopeRow(row)
			rows = append(rows, dumped{table.name, row})
		}
	}
	return rows
}

type columnInfo struct {
	name, kind string
	notNull    bool
}

func columnsInfo(t *testing.T, s *Store, table string) (columns []columnInfo) {
	t.Helper()
	eachRaw(t, s, "SELECT name, type, \"notnull\" FROM pragma_table_info('"+table+"')", func(rows *sql.Rows) error {
		var c columnInfo
		err := rows.Scan(&c.name, &c.kind, &c.notNull)
		columns = append(columns, c)
		return err
	})
	return columns
}

// references has what the columns of an SQLite table refer to, as table.column.
func references(t *testing.T, s *Store, table string) map[string]string {
	t.Helper()
	found := map[string]string{}
	eachRaw(t, s, "SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list('"+table+"')", func(rows *sql.Rows) error {
		var from, target, to string
		err := rows.Scan(&from, &target, &to)
		found[from] = target + "." + to
		return err
	})
	return found
}

func eachRaw(t *testing.T, s *Store, query string, each func(*sql.Rows) error) {
	t.Helper()
	rows, err := s.readers.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func anyValue(t *testing.T, kind, name string, n int) any {
	t.Helper()
	switch kind {
	case "TEXT":
		return fmt.Sprintf("%s %d, 文字, 'quoted' <&>\n\u2028", name, n)
	case "INTEGER":
		return int64(n + len(name))
	case "BIGINT":
		return int64(1)<<62 + int64(n+len(name))
	case "BOOLEAN":
		return n == 0
	case "BLOB":
		return []byte{0, byte(n), 0xff, '\'', byte(len(name))}
	}
	t.Fatalf("%s is a %s: Dump has to know it, and so has this test", name, kind)
	return nil
}

// scopeRow gives a row the scope that its owner and its team make.
func scopeRow(row Values) {
	if _, ok := row["scope"]; !ok || row["user_id"] == nil {
		return
	}
	row["scope"] = "u:" + row["user_id"].(string)
	if team := row["namespace"]; team != nil {
		row["scope"] = "t:" + team.(string)
	}
}

// A table that the list has not would stay behind, unnoticed.
func TestTheDumpHasEveryTableOfTheSchema(t *testing.T) {
	t.Parallel()
	want := []string{"schema_version"}
	for _, table := range dumpTables {
		want = append(want, table.name)
	}
	slices.Sort(want)
	for name, tt := range map[string]struct {
		s     *Store
		query string
	}{
		"SQLite":     {openSQLiteTemp(t), "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"},
		"PostgreSQL": {openPostgresAt(t, postgres.Database(t)), `SELECT table_name::text COLLATE "C" AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY name`},
	} {
		var got []string
		eachRaw(t, tt.s, tt.query, func(rows *sql.Rows) error {
			got = append(got, "")
			return rows.Scan(&got[len(got)-1])
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s has the tables %q, the dump %q", name, got, want)
		}
	}
}

func TestTheDumpHasWhatIsReferredToFirst(t *testing.T) {
	t.Parallel()
	s := openSQLiteTemp(t)
	var before []string
	for _, table := range dumpTables {
		before = append(before, table.name)
		for column, target := range references(t, s, table.name) {
			if name, _, _ := strings.Cut(target, "."); !slices.Contains(before, name) {
				t.Errorf("%s.%s refers to %s, which comes later", table.name, column, name)
			}
		}
	}
}

func TestADumpIsTheSameOfBothDatabases(t *testing.T) {
	t.Parallel()
	first := openSQLiteTemp(t)
	rows := fullRows(t, first)
	mustLoad(t, first, rows...)
	want := dumpOf(t, first)
	if len(want) != len(rows) {
		t.Fatalf("%d rows, want %d", len(want), len(rows))
	}
	for _, d := range rows {
		if !slices.ContainsFunc(want, func(got dumped) bool { return reflect.DeepEqual(got, d) }) {
			t.Errorf("not as it was: %v", d)
		}
	}
	middle, last := openPostgresAt(t, postgres.Database(t)), openSQLiteTemp(t)
	mustLoad(t, middle, want...)
	inPostgres := dumpOf(t, middle)
	mustLoad(t, last, inPostgres...)
	for name, got := range map[string][]dumped{"PostgreSQL": inPostgres, "SQLite again": dumpOf(t, last)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, want)
		}
	}
}

func TestADumpStopsWhereItsReaderDoes(t *testing.T) {
	t.Parallel()
	s := world(t)
	mine, calls := errors.New("mine"), 0
	err := s.Read(t.Context(), func(r *Reader) error {
		return r.Dump(t.Context(), func(string, Values) error { calls++; return mine })
	})
	if err != mine || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestADatabaseIsUsedByTheNamesOfItsTables(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*Store{"fresh": openTemp(t), "world": world(t)} {
		want := map[string]string{"fresh": "[]", "world": "[users teams]"}[name]
		if got, err := s.Used(t.Context()); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestALoadTakesNoRowThatIsNotTheTables(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	row := func(change func(Values)) Values {
		row := Values{"name": "n", "value": "v"}
		change(row)
		return row
	}
	for want, d := range map[string]dumped{
		`there is no such table`:          {"metas", row(func(Values) {})},
		`load "schema_version"`:           {"schema_version", Values{"version": int64(1)}},
		`load "meta; DROP TABLE meta"`:    {"meta; DROP TABLE meta", Values{}},
		`load meta: there is no column`:   {"meta", row(func(v Values) { v["more"] = "x" })},
		`the column value is missing`:     {"meta", row(func(v Values) { delete(v, "value") })},
		`column value: no value of a row`: {"meta", row(func(v Values) { v["value"] = 1.5 })},
		`load meta: `:                     {"meta", row(func(v Values) { v["value"] = nil })},
	} {
		if err := loadInto(t, s, dumped{"meta", row(func(v Values) { v["name"] = "before" })}, d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", d.table, err, want)
		}
	}
	twice := dumped{"meta", row(func(Values) {})}
	var conflict *ConflictError
	if err := loadInto(t, s, twice, twice); !errors.As(err, &conflict) || conflict.Constraint != "meta" {
		t.Errorf("twice: %v", err)
	}
	if used, err := s.Used(t.Context()); err != nil || used != nil {
		t.Errorf("something stayed: %v, %v", used, err)
	}
}
