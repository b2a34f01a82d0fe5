package httpapi_test

import (
	"net/url"
	"strings"
	"testing"
)

// PostgreSQL stores neither NUL characters nor anything but UTF-8, and what is
// in a query or a path goes to the database as it is.
func TestNoTextWithNULOrBrokenUTF8GetsToTheDatabase(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, text := range []string{"%00", "a%00b", "%ff", "%c3", "%ed%a0%80"} {
		for _, target := range []string{"/servers?namespace=" + text, "/port-forwards?status=" + text, "/keys?" + text + "=1", "/keys?x=1&y=" + text} {
			if m := f.get(target).fails(400, "bad_request"); m[0] != "The query must be UTF-8 without NUL characters" {
				t.Errorf("%s: %q", target, m)
			}
		}
		for _, target := range []string{"/servers/" + text, "/port-forwards/" + text + "/status", "/" + text} {
			if m := f.get(target).fails(404, "not_found"); !strings.HasPrefix(m[0], "Cannot GET /") || strings.Contains(m[0], "\x00") {
				t.Errorf("%s: %q", target, m)
			}
		}
	}
	for _, path := range []string{"/servers?namespace=", "/port-forwards?namespace="} {
		f.post(path+"%00", "{}").fails(400, "bad_request")
	}
	id := f.post("/port-forwards", object{"name": "web", "type": "local"}).is(201)["id"].(string)
	for _, field := range []string{"name", "localId", "localHost", "bindAddress", "serverId", "serverAddress", "username", "password", "keyContent", "hostKeyPolicy", "type"} {
		f.post("/port-forwards", `{"name":"a","type":"local","`+field+`":"a\u0000b"}`).fails(400, "invalid")
		f.patch("/port-forwards/"+id, `{"`+field+`":"a\u0000b"}`).fails(400, "invalid")
	}
	f.patch("/port-forwards/"+id, `{"id":"\u0000"}`).fails(400, "invalid")
	f.post("/port-forwards", "{\"name\":\"a\\u0000\xff\",\"type\":\"local\"}").fails(400, "bad_request")
	got := f.post("/port-forwards/sync", `[{"name":"a\u0000","type":"local"},{"name":"b","type":"local"}]`).is(200)
	if got["syncedCount"] != 1.0 || len(got["errors"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
	if rows := f.get("/port-forwards").list(); len(rows) != 2 {
		t.Errorf("stored %v", rows)
	}
}

func TestDeepBodiesAreRefusedWhereverTheyAreDeep(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, depth := range []int{10, 9_999, 10_001, 200_000} {
		deep := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		objects := strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
		for _, body := range []string{`{"name":` + deep + `,"type":"local"}`, `{"name":"a","type":"local","x":` + deep + `}`, objects, deep} {
			if got := f.post("/port-forwards", body); got.status != 400 && got.status != 413 {
				t.Errorf("depth %d: %d %.200s", depth, got.status, got.raw)
			}
		}
		for _, body := range []string{"[" + deep + "]", "[" + objects + "]", `[{"name":` + deep + `}]`} {
			if got := f.post("/port-forwards/sync", body); got.status != 400 && (got.status != 200 || !strings.Contains(got.raw, `"syncedCount":0`)) {
				t.Errorf("sync, depth %d: %d %.200s", depth, got.status, got.raw)
			}
		}
	}
	if rows := f.get("/port-forwards").list(); len(rows) != 0 {
		t.Errorf("stored %v", rows)
	}
}

func TestLongQueriesAndPathsAreNoFault(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	long := strings.Repeat("a", 20_000)
	f.get("/servers/"+long).fails(404, "not_found")
	f.get("/servers?namespace="+long).fails(403, "forbidden")
	f.get("/servers?namespace="+url.QueryEscape(strings.Repeat("é", 5_000))).fails(403, "forbidden")
}
