package httpapi_test

import (
	"fmt"
	"testing"
)

func TestListsAreWholeUnlessAPageIsAskedFor(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	var names []string // newest first
	for i := range 25 {
		name := fmt.Sprintf("forward %d", i)
		f.post("/port-forwards", object{"name": name, "type": "local"}).is(201)
		names = append([]string{name}, names...)
	}
	for query, want := range map[string][]string{
		"":                                     names,
		"?page=1":                              names[:20],
		"?page=2":                              names[20:],
		"?page=3":                              nil,
		"?limit=3":                             names[:3],
		"?page=2&limit=10":                     names[10:20],
		"?page=99999999999999999999&limit=100": nil,
		"?page=&limit=":                        names,
		"?page=1&limit=100&status=active":      nil,
	} {
		got := f.get("/port-forwards" + query)
		rows := got.list()
		if len(rows) != len(want) {
			t.Errorf("%s: %d rows", query, len(rows))
			continue
		}
		for i := range rows {
			if rows[i]["name"] != want[i] {
				t.Errorf("%s: row %d is %v", query, i, rows[i]["name"])
			}
		}
		total := "25"
		switch query {
		case "", "?page=&limit=":
			total = ""
		case "?page=1&limit=100&status=active":
			total = "0"
		}
		if got.header.Get("X-Total-Count") != total {
			t.Errorf("%s: X-Total-Count %q", query, got.header.Get("X-Total-Count"))
		}
	}
	for _, noun := range []string{"/servers", "/keys", "/port-forwards"} {
		if m := f.get(noun+"?page=0&limit=101").fails(400, "invalid"); len(m) != 2 {
			t.Errorf("%s: %q", noun, m)
		}
		if got := f.get(noun + "?limit=1"); got.status != 200 || got.header.Get("X-Total-Count") == "" {
			t.Errorf("%s: %d %v", noun, got.status, got.header)
		}
	}
}
