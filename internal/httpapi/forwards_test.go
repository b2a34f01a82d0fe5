package httpapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// The documentation's own requests.
const (
	seedLocal = `{
    "localId": "local-uuid",
    "name": "Web Server Forward",
    "type": "local",
    "localHost": "127.0.0.1",
    "localPort": 8080,
    "remoteHost": "192.168.1.100",
    "remotePort": 80,
    "bindAddress": "0.0.0.0",
    "bindPort": 8080,
    "serverId": "server-uuid"
  }`
	seedRemote = `{
    "name": "Database Forward",
    "type": "remote",
    "localHost": "0.0.0.0",
    "localPort": 9000,
    "remoteHost": "192.168.1.101",
    "remotePort": 3306,
    "bindAddress": "0.0.0.0",
    "bindPort": 9000,
    "serverId": "server-uuid"
  }`
	seedDynamic = `{
    "name": "SOCKS Proxy",
    "type": "dynamic",
    "bindAddress": "0.0.0.0",
    "bindPort": 1080,
    "serverId": "server-uuid"
  }`
	seedManual = `{
    "name": "Manual Server Forward",
    "type": "local",
    "localHost": "127.0.0.1",
    "localPort": 8080,
    "remoteHost": "192.168.1.100",
    "remotePort": 80,
    "serverAddress": "192.168.1.100",
    "username": "root",
    "authType": "password",
    "password": "password123"
  }`
	seedUpdate = `{
    "name": "Updated Forward Name",
    "type": "remote",
    "localHost": "0.0.0.0",
    "localPort": 9000,
    "remoteHost": "192.168.1.101",
    "remotePort": 3306,
    "bindAddress": "0.0.0.0",
    "bindPort": 9000
  }`
)

// seedKeys are the 17 documented keys, further the others of the contract.
var (
	seedKeys = []string{
		"id", "localId", "name", "type", "localHost", "localPort", "remoteHost", "remotePort", "bindAddress", "bindPort", "serverId",
		"status", "lastUsed", "tunnelId", "connectionId", "createdAt", "updatedAt",
	}
	furtherKeys = []string{
		"namespace", "dataType", "serverAddress", "username", "authType", "keyPath", "desired", "state", "lastError", "effective", "warnings",
		"hasPassword", "hasKeyContent", "hasPassphrase", "hasSocksPassword", "socksUsername",
		"hostKeyFingerprint", "hostKeyType", "hostKeyOffered", "hostKeyPolicy",
	}
	statusKeys = []string{
		"id", "status", "lastUsed", "tunnelId", "connectionId", "isActive", "name", "type", "localHost", "localPort", "remoteHost",
		"remotePort", "bindAddress", "bindPort",
		"state", "desired", "lastError", "since", "nextRetry", "connections", "bytesIn", "bytesOut", "effective", "warnings",
	}
)

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

// parsed is a JSON text as an object.
func parsed(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// idle is what every forward says of itself that was never started.
var idle = object{
	"status": "inactive", "state": "inactive", "desired": "inactive", "lastUsed": nil, "tunnelId": nil, "connectionId": nil, "lastError": nil,
}

func TestTheDocumentedForwardsAnswerAsDocumented(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("password123", "s3rver-passw0rd")
	f.server(t, "server-uuid")
	for _, c := range []struct {
		body               string
		nulls              []string
		listen, on, target string
		warnings           int
	}{
		{seedLocal, nil, "0.0.0.0:8080", "here", "192.168.1.100:80", 0},
		{seedRemote, []string{"localId"}, "0.0.0.0:3306", "server", "127.0.0.1:9000", 1},
		{seedDynamic, []string{"localId", "localHost", "localPort", "remoteHost", "remotePort"}, "0.0.0.0:1080", "here", "socks5", 1},
		{seedManual, []string{"localId", "bindAddress", "bindPort", "serverId"}, "127.0.0.1:8080", "here", "192.168.1.100:80", 0},
	} {
		sent := parsed(t, c.body)
		got := f.post("/port-forwards", c.body).is(201)
		if keys := keysOf(got); !slices.Equal(keys, sorted(seedKeys, furtherKeys)) {
			t.Errorf("keys %v", keys)
		}
		delete(sent, "password")
		has(t, got, sent)
		has(t, got, idle)
		has(t, got, object{"namespace": nil, "dataType": "personal", "hasPassword": c.body == seedManual, "hasKeyContent": false})
		for _, key := range c.nulls {
			has(t, got, object{key: nil})
		}
		instant(t, got["createdAt"])
		instant(t, got["updatedAt"])
		has(t, got["effective"].(object), object{"listen": c.listen, "listenOn": c.on, "deliver": c.target, "boundPort": nil})
		if n := len(got["warnings"].([]any)); n != c.warnings {
			t.Errorf("warnings %v", got["warnings"])
		}
		again := f.get("/port-forwards/" + got["id"].(string)).is(200)
		again["effective"], again["warnings"] = nil, nil
		got["effective"], got["warnings"] = nil, nil
		has(t, again, got)
	}
}

func TestTheDocumentedChangesAnswerAsDocumented(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.server(t, "server-uuid")
	before := f.post("/port-forwards", seedLocal).is(201)
	path := "/port-forwards/" + before["id"].(string)
	got := f.patch(path, seedUpdate).is(200)
	has(t, got, parsed(t, seedUpdate))
	has(t, got, idle)
	has(t, got, object{"id": before["id"], "localId": "local-uuid", "serverId": "server-uuid", "createdAt": before["createdAt"]})
	has(t, f.patch(path, `{"name": "New Name", "localPort": 9090}`).is(200), with(parsed(t, seedUpdate), object{"name": "New Name", "localPort": 9090.0}))
	if m := f.delete(path).is(200); len(m) != 1 || m["message"] != "Port forward deleted successfully" {
		t.Errorf("answer %v", m)
	}
	f.get(path).fails(404, "not_found")
	f.delete(path).fails(404, "not_found")
}

func TestStatusHasTheDocumentedKeysAndMore(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.server(t, "server-uuid")
	f.post("/port-forwards", seedLocal).is(201)
	got := f.get("/port-forwards/local-uuid/status").is(200)
	if keys := keysOf(got); !slices.Equal(keys, sorted(statusKeys)) {
		t.Errorf("keys %v", keys)
	}
	has(t, got, idle)
	has(t, got, object{"isActive": false, "since": nil, "nextRetry": nil, "connections": 0.0, "bytesIn": 0.0, "bytesOut": 0.0, "name": "Web Server Forward"})
}

func TestForwardsTakeNullEmptyAndZeroForUnset(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	optional := []string{
		"localId", "localHost", "localPort", "remoteHost", "remotePort", "bindAddress", "bindPort", "serverId", "serverAddress",
		"username", "authType", "keyPath", "socksUsername", "hostKeyPolicy",
	}
	nulls, empties := object{"name": "a", "type": "local"}, object{"name": "b", "type": "dynamic", "localPort": 0, "remotePort": 0}
	for _, key := range optional {
		nulls[key] = nil
		if !strings.HasSuffix(key, "Port") {
			empties[key] = ""
		}
	}
	for _, in := range []object{nulls, empties} {
		got := f.post("/port-forwards", in).is(201)
		for _, key := range optional {
			has(t, got, object{key: nil})
		}
		has(t, got, object{"effective": nil})
		has(t, f.patch("/port-forwards/"+got["id"].(string), in).is(200), object{"updatedAt": got["updatedAt"]})
	}
	for _, secret := range []string{"password", "keyContent", "passphrase", "socksPassword"} {
		f.post("/port-forwards", object{"name": "c", "type": "local", secret: nil}).is(201)
		f.post("/port-forwards", object{"name": "c", "type": "local", secret: ""}).is(201)
	}
}

func TestForwardsRefuseWhatTheContractRefuses(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	id := f.post("/port-forwards", object{"name": "a", "type": "local"}).is(201)["id"].(string)
	cases := []struct {
		field string
		value any
		want  string
	}{
		{"foo", 1, "property foo should not exist"},
		{"Name", "x", "property Name should not exist"},
		{"localport", 1, "property localport should not exist"},
		{"status", "active", "property status should not exist"},
		{"desired", "active", "property desired should not exist"},
		{"tunnelId", "x", "property tunnelId should not exist"},
		{"connectionId", "x", "property connectionId should not exist"},
		{"lastUsed", nil, "property lastUsed should not exist"},
		{"userId", "x", "property userId should not exist"},
		{"namespace", "x", "property namespace should not exist"},
		{"dataType", "team", "property dataType should not exist"},
		{"name", "", "name should not be empty"},
		{"name", nil, "name should not be empty"},
		{"name", 5, "name must be a string"},
		{"name", object{}, "name must be a string"},
		{"name", []string{"a"}, "name must be a string"},
		{"name", strings.Repeat("x", 256), "name must be shorter than or equal to 255 characters"},
		{"name", "a\x00b", "name must not contain NUL characters"},
		{"type", "sideways", "type must be one of the following values: dynamic, local, remote"},
		{"type", "Local", "type must be one of the following values: dynamic, local, remote"},
		{"type", 5, "type must be one of the following values: dynamic, local, remote"},
		{"localPort", 65536, "localPort must not be greater than 65535"},
		{"localPort", -1, "localPort must not be less than 0"},
		{"localPort", "8080", "localPort must be an integer number"},
		{"localPort", 80.5, "localPort must be an integer number"},
		{"localPort", true, "localPort must be an integer number"},
		{"remotePort", 1e30, "remotePort must be an integer number"},
		{"remotePort", 70000, "remotePort must not be greater than 65535"},
		{"bindPort", 0, "bindPort must not be less than 1"},
		{"bindPort", 65536, "bindPort must not be greater than 65535"},
		{"authType", "agent", "authType must be one of the following values: password, key, keyContent, keySelect"},
		{"hostKeyPolicy", "off", "hostKeyPolicy must be one of the following values: accept-new, strict"},
		{"password", 5, "password must be a string"},
		{"serverAddress", "host:0", "serverAddress must be host, host:port or [v6]:port"},
		{"serverAddress", "host:70000", "serverAddress must be host, host:port or [v6]:port"},
		{"serverAddress", ":22", "serverAddress must be host, host:port or [v6]:port"},
		{"serverAddress", "[::1", "serverAddress must be host, host:port or [v6]:port"},
		{"socksUsername", "ada", "socksUsername and socksPassword must be set together"},
		{"socksPassword", "pw", "socksUsername and socksPassword must be set together"},
	}
	for _, c := range cases {
		in := with(object{"name": "a", "type": "local"}, object{c.field: c.value})
		for _, got := range []answer{f.post("/port-forwards", in), f.patch("/port-forwards/"+id, object{c.field: c.value})} {
			if m := got.fails(400, "invalid"); !slices.Contains(m, c.want) {
				t.Errorf("%s %v: %q", c.field, c.value, m)
			}
		}
	}
	if n := len(f.get("/port-forwards").list()); n != 1 {
		t.Errorf("%d rows", n)
	}
	has(t, f.get("/port-forwards/"+id).is(200), object{"name": "a", "type": "local"})
}

func TestWholeNumbersMayBeWrittenAsJavaScriptDoes(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	has(t, f.post("/port-forwards", `{"name":"a","type":"local","localPort":8080.0,"remotePort":8e1}`).is(201), object{"localPort": 8080.0, "remotePort": 80.0})
}

func TestForwardsNameServersInTheFormThatWasSent(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	server := f.server(t, "server-uuid")
	for _, ref := range []string{server, "server-uuid"} {
		got := f.post("/port-forwards", object{"name": "a", "type": "dynamic", "serverId": ref}).is(201)
		has(t, got, object{"serverId": ref})
	}
	if got := f.post("/port-forwards", object{"name": "a", "type": "local", "serverId": "nowhere"}).fails(400, "bad_request"); got[0] != "Server with id nowhere not found" {
		t.Errorf("message %q", got)
	}
	f.delete("/servers/server-uuid").is(200)
	for _, row := range f.get("/port-forwards").list() {
		if row["serverId"] == nil || row["effective"] != nil {
			t.Errorf("after its server went: %v", row)
		}
	}
}

func TestSocksCredentialsCanBeSetAndClearedTogether(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("s0cks-s3cret")
	got := f.post("/port-forwards", object{"name": "a", "type": "dynamic", "bindAddress": "0.0.0.0", "socksUsername": "ada", "socksPassword": "s0cks-s3cret"}).is(201)
	has(t, got, object{"socksUsername": "ada", "hasSocksPassword": true})
	if len(got["warnings"].([]any)) != 0 {
		t.Errorf("warnings %v", got["warnings"])
	}
	path := "/port-forwards/" + got["id"].(string)
	f.patch(path, object{"socksUsername": nil}).fails(400, "invalid")
	f.patch(path, object{"socksPassword": nil}).fails(400, "invalid")
	has(t, f.patch(path, object{"socksUsername": nil, "socksPassword": nil}).is(200), object{"socksUsername": nil, "hasSocksPassword": false})
}
