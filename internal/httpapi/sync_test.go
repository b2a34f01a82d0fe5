package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const seedSync = `[
    {
      "localId": "local-uuid-1",
      "name": "Forward 1",
      "type": "local",
      "localHost": "127.0.0.1",
      "localPort": 8080,
      "remoteHost": "192.168.1.100",
      "remotePort": 80,
      "serverId": "server-uuid-1"
    },
    {
      "localId": "local-uuid-2",
      "name": "Forward 2",
      "type": "remote",
      "localHost": "0.0.0.0",
      "localPort": 9000,
      "remoteHost": "192.168.1.101",
      "remotePort": 3306,
      "serverId": "server-uuid-2"
    }
  ]`

// syncErrors gives the errors of a sync as "index localId: message".
func syncErrors(o object) []string {
	var told []string
	for _, e := range o["errors"].([]any) {
		e := e.(object)
		told = append(told, fmt.Sprintf("%v %v: %v", e["index"], e["localId"], e["message"]))
	}
	return told
}

func TestTheDocumentedSyncCreatesThenUpdates(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.server(t, "server-uuid-1")
	f.server(t, "server-uuid-2")
	got := f.post("/port-forwards/sync", seedSync).is(200)
	if keys := keysOf(got); !slices.Equal(keys, []string{"created", "errors", "items", "message", "syncedCount", "updated"}) {
		t.Errorf("keys %v", keys)
	}
	has(t, got, object{"message": "Port forwards synced successfully", "syncedCount": 2.0, "created": 2.0, "updated": 0.0})
	items := got["items"].([]any)
	for i, item := range items {
		item := item.(object)
		has(t, item, object{"localId": fmt.Sprintf("local-uuid-%d", i+1), "serverId": fmt.Sprintf("server-uuid-%d", i+1)})
		has(t, item, idle)
		if keys := keysOf(item); !slices.Equal(keys, sorted(seedKeys, furtherKeys)) {
			t.Errorf("keys %v", keys)
		}
	}
	again := f.post("/port-forwards/sync", seedSync).is(200)
	has(t, again, object{"syncedCount": 2.0, "created": 0.0, "updated": 2.0})
	for i, item := range again["items"].([]any) {
		has(t, item.(object), object{"id": items[i].(object)["id"], "updatedAt": items[i].(object)["updatedAt"]})
	}
	if list := f.get("/port-forwards").list(); len(list) != 2 || list[0]["localId"] != "local-uuid-2" {
		t.Errorf("list %v", list)
	}
}

func TestABadItemSpoilsNoOther(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	got := f.post("/port-forwards/sync", `[
		{"localId":"a","name":"A","type":"local"},
		{"localId":"b","type":"local"},
		{"localId":"c","name":"C","type":"local","serverId":"nowhere"},
		{"localId":"d","name":"D","type":"local","status":"active"},
		{"localId":5,"name":"E","type":"local"},
		"text",
		{"localId":"f","name":"F","type":"dynamic"},
		{"localId":"g","name":"G","type":"local","socksUsername":"x"},
		null,
		{"localId":"h","id":"h","name":"H","type":"local"}
	]`).is(200)
	has(t, got, object{"syncedCount": 2.0, "created": 2.0, "updated": 0.0})
	want := []string{
		"1 b: name should not be empty; name must be a string",
		"2 c: Server with id nowhere not found",
		"3 d: property status should not exist",
		"4 <nil>: localId must be a string",
		"5 <nil>: The item must be a JSON object",
		"7 g: socksUsername and socksPassword must be set together",
		"8 <nil>: The item must be a JSON object",
		"9 h: property id should not exist",
	}
	if told := syncErrors(got); !slices.Equal(told, want) {
		t.Errorf("errors %q", told)
	}
	if n := len(f.get("/port-forwards").list()); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestASyncUpdatesLikeAPatchButNeedsNameAndType(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("kept-passw0rd")
	before := f.post("/port-forwards", object{"localId": "a", "name": "A", "type": "local", "localPort": 8080, "password": "kept-passw0rd"}).is(201)
	got := f.post("/port-forwards/sync", `[{"localId":"a","name":"B","type":"local","remotePort":80}]`).is(200)
	has(t, got["items"].([]any)[0].(object), object{
		"id": before["id"], "name": "B", "localPort": 8080.0, "remotePort": 80.0, "hasPassword": true, "createdAt": before["createdAt"],
	})
	got = f.post("/port-forwards/sync", `[{"localId":"a","localPort":1}]`).is(200)
	has(t, got, object{"syncedCount": 0.0, "updated": 0.0})
	has(t, f.get("/port-forwards/a").is(200), object{"localPort": 8080.0})
}

func TestOfOneLocalIDTheLastGoodItemWins(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	got := f.post("/port-forwards/sync", `[
		{"localId":"a","name":"first","type":"local","localPort":1},
		{"localId":"a","name":"second","type":"local"},
		{"localId":"b","name":"good","type":"local"},
		{"localId":"b","name":"","type":"local"},
		{"name":"no localId","type":"local"},
		{"name":"no localId","type":"local"},
		{"name":"no localId","type":"local","localId":""}
	]`).is(200)
	has(t, got, object{"syncedCount": 5.0, "created": 5.0})
	has(t, f.get("/port-forwards/a").is(200), object{"name": "second", "localPort": nil})
	has(t, f.get("/port-forwards/b").is(200), object{"name": "good"})
	if told := syncErrors(got); len(told) != 1 || told[0] != "3 b: name should not be empty" {
		t.Errorf("errors %q", told)
	}
}

func TestASyncIsAnArrayOfAtMostAThousand(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, body := range []string{"{}", "null", `"x"`, "", `{"items":[]}`} {
		f.post("/port-forwards/sync", body).fails(400, "bad_request")
	}
	has(t, f.post("/port-forwards/sync", "[]").is(200), object{"syncedCount": 0.0})
	items := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,{"localId":"l%d","name":"F%d","type":"local","localPort":%d,"serverId":"s"}`, i, i, i+1)
		}
		return "[" + b.String()[1:] + "]"
	}
	f.server(t, "s")
	f.post("/port-forwards/sync", items(1001)).fails(400, "bad_request")
	began := time.Now()
	has(t, f.post("/port-forwards/sync", items(1000)).is(200), object{"syncedCount": 1000.0, "created": 1000.0})
	t.Logf("1000 items took %v", time.Since(began))
	if n := len(f.get("/port-forwards").list()); n != 1000 {
		t.Errorf("%d rows", n)
	}
}
