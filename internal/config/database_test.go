package config

import (
	"strings"
	"testing"
)

func TestLoadTakesDatabasesOfPostgreSQLAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"postgres://u:p@h/d", "postgresql://h", "postgres:///d?host=/run/postgresql", "postgres://u:p%40%2F@[::1]:5433/d?sslmode=require",
		"postgres://u@a,b:5433/d?target_session_attrs=read-write",
	} {
		if got, err := Load(input(map[string][]string{"database": {text}}, nil)); err != nil || got.Database.Reveal() != text {
			t.Errorf("%q: %v", text, err)
		}
	}
	const password = "sw0rdfish"
	for text, want := range map[string]string{
		"postgres://u:p@" + password + "/word@127.0.0.1:5432/d":                             "cannot be read as the URL of a PostgreSQL database",
		"postgres://u:p@ss/" + password + "@127.0.0.1:5432/d":                               "cannot be read as the URL of a PostgreSQL database",
		"postgres://u:p@h/d/" + password:                                                    "cannot be read as the URL of a PostgreSQL database",
		"mysql://u:" + password + "@h/d":                                                    "is no URL of a PostgreSQL database, the only kind beside SQLite",
		"/var/lib/" + password + ".db":                                                      "is no URL of a PostgreSQL database, the only kind beside SQLite",
		"host=h password=" + password:                                                       "is no URL of a PostgreSQL database, the only kind beside SQLite",
		"postgres://u:" + password + "/" + password:                                         "cannot be read as the URL of a PostgreSQL database",
		"postgres://u:p@h:port/d?password=" + password:                                      "cannot be read as the URL of a PostgreSQL database",
		"postgres://u:" + password + "%zz@h/d":                                              "cannot be read as the URL of a PostgreSQL database",
		"postgres://h/d?sslmode=no&password=" + password:                                    "cannot be read as the URL of a PostgreSQL database",
		"postgres://u:" + password + "@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem": "open /nowhere/ca.pem: no such file or directory",
	} {
		got := problems(t, input(nil, map[string]string{"ADIT_DATABASE": text}))
		if len(got) != 1 || !strings.HasPrefix(got[0], "variable ADIT_DATABASE: "+want) || strings.Contains(got[0], password) {
			t.Errorf("%q: %q, want one with %q", text, got, want)
		}
	}
}
