package store

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// world opens a store with two people and some teams.
func world(t testing.TB) *Store {
	t.Helper()
	s := openTemp(t)
	put(t, s, person("ann", "Ann@Example.org"))
	put(t, s, person("bob", "bob@example.org"))
	for _, team := range []string{"team", "team2"} {
		execRaw(t, s.writer, fmt.Sprintf("INSERT INTO teams (id, name, owner_id, created_at, updated_at) VALUES ('%s', '%[1]s', 'ann', 0, 0)", team))
	}
	return s
}

// personal is a row of ann's.
func personal(id string) Row {
	return Row{ID: id, UserID: "ann", CreatedAt: noon, UpdatedAt: noon}
}

func named(id, user, team, localID string) Server {
	return Server{Row: Row{ID: id, UserID: user, Namespace: team, LocalID: localID, CreatedAt: noon, UpdatedAt: noon}}
}

func newID(t testing.TB) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func wantConflict(t *testing.T, name string, err error, want Constraint) {
	t.Helper()
	var conflict *ConflictError
	if !errors.Is(err, ErrConflict) || !errors.As(err, &conflict) || conflict.Constraint != want {
		t.Errorf("%s: %v, want a conflict of %s", name, err, want)
	}
}

// wantNames compares the names of the columns with those of the fields behind
// them, and wants every field to have a column.
func wantNames(t *testing.T, row any, columns []column) {
	t.Helper()
	fields := map[uintptr]string{} // by address
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Anonymous {
				walk(v.Field(i))
			} else {
				fields[v.Field(i).Addr().Pointer()] = strings.ToLower(f.Name)
			}
		}
	}
	walk(reflect.ValueOf(row).Elem())
	for _, c := range columns {
		v := reflect.ValueOf(c.value)
		if v.Kind() == reflect.Func {
			continue // derived
		}
		if v.Kind() == reflect.Struct {
			v = v.Field(0) // an adapter
		}
		if name := fields[v.Pointer()]; name != strings.ReplaceAll(c.name, "_", "") {
			t.Errorf("%T: column %s holds field %q", row, c.name, name)
		}
		delete(fields, v.Pointer())
	}
	for _, name := range fields {
		t.Errorf("%T: no column for field %s", row, name)
	}
}

// same compares the row that a query answers.
func same[R any](t *testing.T, want R) func(R, error) {
	return func(got R, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%T: %v", want, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// filled gives every field a value of its own, so that a column that is
// forgotten or mixed up shows.
func filled[R any](t *testing.T) (row R) {
	t.Helper()
	n := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		n++
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(noon.Add(time.Duration(n) * time.Millisecond)))
			return
		case access.Scope:
			v.Set(reflect.ValueOf(access.Team(fmt.Sprint("scope", n))))
			return
		case redact.Secret:
			v.Set(reflect.ValueOf(redact.New(fmt.Sprint("secret", n))))
			return
		case []byte:
			v.SetBytes([]byte{0, byte(n), 0xff, '\''})
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.String:
			v.SetString(fmt.Sprintf("text %d, 文字, 'quoted'", n))
		case reflect.Int:
			v.SetInt(int64(n))
		case reflect.Bool:
			v.SetBool(true)
		default:
			t.Fatalf("no value for a %s", v.Type())
		}
	}
	fill(reflect.ValueOf(&row).Elem())
	return row
}
