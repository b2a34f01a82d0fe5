package test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// javaScript is a body as clients in JavaScript send it: all fields of a form,
// those that were left empty too.
const javaScript = `{"localId":"js-1","name":"from a form","type":"local","localHost":"","localPort":0,"remoteHost":null,
	"remotePort":0,"bindAddress":"","bindPort":null,"serverId":"","serverAddress":null,"username":"","authType":null,
	"password":"","keyPath":"","keyContent":null,"passphrase":""}`

func TestEmptyFieldsOfAFormAreNull(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	row := c.owner.post("/port-forwards?namespace=undefined", javaScript).is(201)
	unset := object{
		"localHost": nil, "localPort": nil, "remoteHost": nil, "remotePort": nil, "bindAddress": nil, "bindPort": nil, "serverId": nil,
		"serverAddress": nil, "username": nil, "authType": nil, "keyPath": nil, "hasPassword": false, "namespace": nil, "dataType": "personal",
	}
	c.has(row, unset)
	for _, key := range []string{"password", "keyContent", "passphrase"} {
		if _, there := row[key]; there {
			t.Errorf("the answer has %s", key)
		}
	}
	path := "/port-forwards/" + row["id"].(string)
	for _, namespace := range []string{"", "null", "undefined"} {
		if n := len(c.owner.get("/port-forwards?status=&namespace=" + namespace).list()); n != 1 {
			t.Errorf("namespace %q: %d rows", namespace, n)
		}
	}

	// A form that was filled with the row and sent back with its id.
	c.owner.patch(path, object{"id": row["id"], "name": "renamed", "password": "pw-of-js", "bindPort": 4000}).is(200)
	got := c.owner.patch(path, object{"id": row["id"], "name": "again", "password": "", "bindPort": nil}).is(200)
	c.has(got, object{"hasPassword": true, "name": "again", "bindPort": nil, "localId": "js-1"})
	c.has(c.owner.patch("/port-forwards/js-1", object{"password": nil}).is(200), object{"hasPassword": false})
	c.owner.patch("/port-forwards/js-1", object{"id": "js-1"}).is(200)
	c.owner.patch("/port-forwards/js-1", object{"id": row["id"]}).is(200)
	c.owner.patch(path, object{"id": c.owner.id}).gets(400)
	for _, body := range []string{`{"status":"active"}`, `{"desired":"active"}`, `{"tunnelId":null}`, `{"lastUsed":""}`, `{"userId":"x"}`, `{"Name":"x"}`, `{"createdAt":"2024-01-01T00:00:00.000Z"}`} {
		a := c.owner.patch(path, body)
		key := strings.Split(body, `"`)[1]
		if want := fmt.Sprintf(`"message":["property %s should not exist"]`, key); a.status != 400 || !strings.Contains(a.raw, want) {
			t.Errorf("%s: %d %s", body, a.status, a.raw)
		}
	}
	for _, body := range []string{`{"localPort":"8080"}`, `{"localPort":80.5}`, `{"localPort":65536}`, `{"localPort":-1}`, `{"bindPort":0}`, `{"name":""}`, `{"name":null}`, `{"type":"LOCAL"}`} {
		c.owner.patch(path, body).gets(400)
	}
	c.has(c.owner.patch(path, `{"localPort":8.08e3}`).is(200), object{"localPort": 8080.0})
	c.owner.post("/port-forwards", object{"name": "x", "type": "local", "localId": "js-1"}).fails(409, "conflict")
	c.owner.delete("/port-forwards/js-1").is(200)
	c.owner.post("/port-forwards", object{"name": "x", "type": "local", "localId": "js-1"}).is(201)
}

func TestListsAreNewestFirstAndPagesOfThem(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	var items []object
	for i := range 25 {
		items = append(items, object{"localId": strconv.Itoa(i), "name": strconv.Itoa(i), "type": "local"})
	}
	c.has(c.owner.post("/port-forwards/sync", items).is(200), object{"created": 25.0})
	c.owner.post("/port-forwards", object{"localId": "25", "name": "25", "type": "local"}).is(201)
	names := func(query string) (got []string, total string) {
		a, header := c.owner.raw("GET", "/port-forwards"+query, "", nil)
		for _, row := range a.list() {
			got = append(got, row["name"].(string))
		}
		return got, header.Get("X-Total-Count")
	}
	all, total := names("")
	if len(all) != 26 || total != "" || all[0] != "25" || all[1] != "24" || all[25] != "0" {
		t.Errorf("%v, total %q", all, total)
	}
	for query, want := range map[string][]string{
		"?page=1": all[:20], "?page=2": all[20:], "?limit=10": all[:10], "?page=2&limit=10": all[10:20], "?page=3&limit=10": all[20:],
		"?page=4&limit=10": nil, "?page=1&limit=100": all, "?page=99999999999999999999": nil, "?page=1&limit=10&status=inactive": all[:10],
		"?page=&limit=": all,
	} {
		got, total := names(query)
		wantTotal := "26"
		if query == "?page=&limit=" {
			wantTotal = ""
		}
		if !slices.Equal(got, want) || total != wantTotal {
			t.Errorf("%s: %v, total %q", query, got, total)
		}
	}
	for _, query := range []string{"?page=0", "?page=-1", "?page=x", "?limit=0", "?limit=101", "?limit=1e1", "?limit=%201", "?status=running", "?status=ACTIVE"} {
		if a := c.owner.get("/port-forwards" + query); a.status != 400 || !strings.Contains(a.raw, `"message":[`) {
			t.Errorf("%s: %d %s", query, a.status, a.raw)
		}
	}
	c.owner.listedFromTheNewest(c.operator)
	for _, noun := range []string{"/servers", "/keys", "/teams/my", "/auth/tokens"} {
		a, header := c.outsider.raw("GET", noun+"?limit=5", "", nil)
		if len(a.list()) != 0 || a.raw != "[]\n" || header.Get("X-Total-Count") != "0" {
			t.Errorf("%s: %s, %v", noun, a.raw, header)
		}
	}
}

// listedFromTheNewest makes several of each, and looks at all lists.
func (p *person) listedFromTheNewest(operator *person) {
	p.t.Helper()
	for i := range 3 {
		name := fmt.Sprint("n", i)
		p.post("/servers", serverRow(name)).is(201)
		p.post("/keys", object{"localId": name, "name": name, "type": "password", "password": "pw"}).is(201)
		newTeam(p, name)
		p.newToken("read", "")
	}
	lists := map[string][]object{"/users": operator.get("/users").list(), "/audit": operator.get("/audit").list()}
	for _, path := range []string{"/servers", "/keys", "/port-forwards", "/teams/my", "/auth/tokens"} {
		lists[path] = p.get(path).list()
	}
	for path, rows := range lists {
		if len(rows) < 3 {
			p.t.Errorf("%s: %d rows", path, len(rows))
		}
		order := func(row object) string { return fmt.Sprint(row["createdAt"], row["at"], row["id"]) }
		if !slices.IsSortedFunc(rows, func(a, b object) int { return strings.Compare(order(b), order(a)) }) {
			p.t.Errorf("%s is not newest first: %v", path, rows)
		}
	}
}

func TestWhatTheReferenceServicesClientsDoWorks(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--registration", "open")
	got := newClient(t, c.url).post("/auth/register", object{"email": "Rita@Example.com", "username": "rita", "password": password}).is(201)
	user := got["user"].(object)
	c.has(user, object{"id": got["id"], "username": "rita", "role": "user"})
	if got["token"] != got["access_token"] || got["token"] == "" || !instant.MatchString(got["createdAt"].(string)) {
		t.Errorf("registered: %v", got)
	}
	a := newClient(t, c.url).post("/auth/register", object{"email": "rITA@example.COM", "username": "other", "password": password})
	if m := a.fails(400, "bad_request"); m != "Email already exists" {
		t.Errorf("%q", m)
	}
	in := newClient(t, c.url).post("/auth/login", object{"email": "rita@example.com", "password": password}).is(200)
	if in["token"] != in["access_token"] || in["user"].(object)["id"] != got["id"] {
		t.Errorf("logged in: %v", in)
	}
	made := c.team("burrow")
	for _, spelling := range [][2]string{{made.path("/members"), made.path("/invite")}} {
		one := c.owner.post(spelling[0], object{"email": "rita@example.com", "role": "developer"}).is(201)
		c.has(one, object{"teamId": made.id, "userId": got["id"], "role": "developer"})
		c.has(one["user"].(object), object{"username": "rita", "id": got["id"]})
		path := made.path("/members/" + one["id"].(string))
		c.has(c.owner.patch(path, object{"role": "user"}).is(200), object{"id": one["id"], "role": "user"})
		c.has(c.owner.patch(path+"/role", object{"role": "developer", "memberId": one["id"]}).is(200), object{"role": "developer"})
		c.owner.patch(path, object{"role": "developer", "memberId": made.members[c.user]}).gets(400)
		c.owner.patch(path, object{"role": "owner"}).gets(400)
		c.owner.delete(path).is(200)
		c.owner.post(spelling[1], object{"userId": got["id"], "role": "user"}).is(201)
	}
	c.owner.post(made.path("/members"), object{"role": "user"}).gets(400)
	c.owner.post(made.path("/members"), object{"role": "user", "email": "nobody@example.com"}).fails(404, "not_found")
	c.sameBySpellings(made)
	other := newTeam(c.owner, "second")
	c.owner.delete(other.path("/dissolve")).is(200)
	c.owner.get(other.path("")).fails(404, "not_found")
}

// sameBySpellings compares routes that are the same.
func (c *crowd) sameBySpellings(made *team) {
	c.t.Helper()
	c.owner.furnishWith(made.query, "pw-of-a-row")
	c.owner.furnishWith("", "pw-of-a-row")
	one, two := c.owner.get(made.path("/data")), c.owner.get("/data"+made.path(""))
	if one.raw != two.raw || len(one.is(200)["portForwards"].([]any)) != 1 || one.is(200)["team"].(object)["id"] != made.id {
		c.t.Errorf("%s and %s", one.raw, two.raw)
	}
	personal := c.owner.get("/data/personal").is(200)
	if _, there := personal["team"]; there || len(personal["servers"].([]any)) != 1 || len(personal["keys"].([]any)) != 1 {
		c.t.Errorf("personal data %v", personal)
	}
	if servers := c.owner.get("/servers/personal/data").is(200); len(servers) != 1 || len(servers["servers"].([]any)) != 1 {
		c.t.Errorf("personal servers %v", servers)
	}
	row := personal["servers"].([]any)[0].(object)
	c.has(row, object{"isActive": true, "dataType": "personal", "namespace": nil, "hasPassword": true})
	for path, said := range map[string]string{"/servers/lservers": "Server", "/keys/lkeys": "Key", "/port-forwards/lport-forwards": "Port forward"} {
		if a := c.owner.delete(path); a.raw != `{"message":"`+said+` deleted successfully"}`+"\n" || a.status != 200 {
			c.t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
}

func TestHeadersPathsAndMethodsAsClientsHaveThem(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--cors-origin", "https://app.example.org", "--cors-origin", "null")
	path := c.owner.add("", object{"name": "f", "type": "local", "localId": "f"})
	for kind, status := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON;charset=UTF-8": 200, "application/json;": 200, "text/json": 415, "": 415,
	} {
		a, _ := c.owner.raw("PATCH", path, `{"name":"g"}`, map[string]string{"Content-Type": kind})
		a.gets(status)
	}
	for _, kind := range []string{"application/json", "text/plain", ""} { // there is no body
		a, _ := c.owner.raw("POST", path+"/stop", "", map[string]string{"Content-Type": kind})
		a.gets(200)
		a, _ = c.owner.raw("GET", path, "", map[string]string{"Content-Type": kind})
		a.gets(200)
	}
	c.owner.post(path+"/stop", "{}").is(200) // nor does one matter
	for _, method := range []string{"GET", "HEAD"} {
		for _, p := range []string{"/port-forwards", "/port-forwards/", path, path + "/", path + "/status/", "/health", "/health/", "/openapi.json", "/docs", "/docs/"} {
			a, header := c.owner.raw(method, p, "", nil)
			if a.status != 200 || (method == "HEAD") != (a.raw == "") || header.Get("Content-Type") == "" || header.Get("X-Request-Id") == "" {
				t.Errorf("%s %s: %d %v", method, p, a.status, header)
			}
		}
	}
	for _, p := range []string{"/", "/nothing", "/port-forwards//", "//port-forwards", "/port-forwards/../health", "/api/port-forwards", "/auth", "/teams"} {
		if m := c.owner.get(p).fails(404, "not_found"); !strings.HasPrefix(m, "Cannot GET /") {
			t.Errorf("%s: %q", p, m)
		}
	}
	for p, allow := range map[string]string{path: "GET", "/port-forwards": "POST", "/auth/login": "POST", path + "/start": "POST", "/settings": "PUT"} {
		a, header := c.owner.raw("OPTIONS", p, "", nil)
		a.fails(405, "method_not_allowed")
		if !strings.Contains(header.Get("Allow"), allow) {
			t.Errorf("%s allows %q", p, header.Get("Allow"))
		}
	}
	a, header := c.owner.raw("GET", "/port-forwards", "", map[string]string{"Authorization": ""})
	a.fails(401, "unauthorized")
	if header.Get("WWW-Authenticate") == "" {
		t.Error("401 without a challenge")
	}
	for _, scheme := range []string{"bearer ", "BEARER  "} {
		a, _ := c.owner.raw("GET", "/port-forwards", "", map[string]string{"Authorization": scheme + c.owner.token})
		a.gets(200)
	}
	c.crossOrigin(path)
}

// crossOrigin calls as pages of other origins do.
func (c *crowd) crossOrigin(path string) {
	c.t.Helper()
	for origin, known := range map[string]bool{"https://app.example.org": true, "null": true, "https://evil.example.org": false, "https://app.example.org.evil.org": false, "http://app.example.org": false} {
		_, header := c.owner.raw("OPTIONS", path, "", map[string]string{
			"Origin": origin, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type", "Authorization": "",
		})
		a, got := c.owner.raw("GET", "/port-forwards?limit=1", "", map[string]string{"Origin": origin})
		a.gets(200)
		refused, of401 := c.owner.raw("GET", path, "", map[string]string{"Origin": origin, "Authorization": ""})
		refused.gets(401)
		for _, h := range []http.Header{header, got, of401} {
			if allowed := h.Get("Access-Control-Allow-Origin"); (allowed == origin) != known || !known && allowed != "" || h.Get("Access-Control-Allow-Credentials") != "" {
				c.t.Errorf("%s is answered %v", origin, h)
			}
		}
		if known && (!strings.Contains(header.Get("Access-Control-Allow-Methods"), "PATCH") || !strings.Contains(header.Get("Access-Control-Allow-Headers"), "Authorization") ||
			!strings.Contains(got.Get("Access-Control-Expose-Headers"), "X-Total-Count")) {
			c.t.Errorf("preflight %v, answer %v", header, got)
		}
	}
}

// A client that syncs does so again and again, with all that it has.
func TestAThousandRowsOfEachNounSyncAgainAndAgain(t *testing.T) {
	t.Parallel()
	n, limit := 1000, time.Second
	if raceDetector {
		n, limit = 100, 10*time.Second // the numbers are not what the detector is for
	}
	c := newCrowd(t)
	made := c.team("burrow")
	rows := map[string]func(i int) object{
		"/servers": func(i int) object {
			return with(serverRow(fmt.Sprint("s", i)), object{"password": fmt.Sprint("pw-of-server-", i)})
		},
		"/keys": func(i int) object {
			return object{"localId": fmt.Sprint("k", i), "name": "k", "type": "password", "password": fmt.Sprint("pw-of-key-", i)}
		},
		"/port-forwards": func(i int) object {
			return object{"localId": fmt.Sprint("f", i), "name": "f", "type": "local", "serverAddress": "192.0.2.1", "password": fmt.Sprint("pw-of-forward-", i)}
		},
	}
	for noun, row := range rows {
		items := make([]object, n)
		for i := range items {
			items[i] = row(i)
		}
		for round, counts := range []object{{"created": float64(n), "updated": 0.0}, {"created": 0.0, "updated": float64(n)}} {
			a := c.developer.post(noun+"/sync"+made.query, items)
			c.has(a.is(200), with(counts, object{"syncedCount": float64(n)}))
			if a.took > limit {
				t.Errorf("%s, round %d took %v", noun, round, a.took)
			}
			if strings.Contains(a.raw, "pw-of-") {
				t.Error("secrets in the answer")
			}
		}
		c.developer.badItems(noun, made, items)
	}
	if got := len(c.user.get("/servers" + made.query).list()); got != n {
		t.Errorf("%d servers", got)
	}
	c.user.post("/servers/sync"+made.query, "[]").fails(403, "forbidden")
}

// badItems spoils some items; the others are saved all the same.
func (p *person) badItems(noun string, made *team, items []object) {
	p.t.Helper()
	p.post(noun+"/sync"+made.query, make([]int, 1001)).gets(400)
	p.post(noun+"/sync"+made.query, object{"items": items[:1]}).gets(400)
	got := p.post(noun+"/sync"+made.query, []any{
		items[0], with(object{"name": ""}, object{"localId": "bad-1"}), 7, with(object{"status": "active", "isActive": false}, object{"localId": "bad-2", "name": "x"}),
		items[1], items[1],
	}).is(200)
	p.has(got, object{"syncedCount": 2.0, "updated": 2.0, "created": 0.0})
	var at []float64
	for _, e := range got["errors"].([]any) {
		at = append(at, e.(object)["index"].(float64))
	}
	if !slices.Equal(at, []float64{1, 2, 3}) {
		p.t.Errorf("%s: errors %v", noun, got["errors"])
	}
	p.has(p.post(noun+"/sync"+made.query, "[]").is(200), object{"syncedCount": 0.0})
}

// A form that is filled with a row and sent back changes nothing but what was
// changed in it, whoever sends it: what it names may be another member's own.
func TestARowSentBackKeepsWhatItNames(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	c.developer.post("/keys", object{"localId": "own", "name": "k", "type": "password", "password": "pw-of-a-key"}).is(201)
	server := c.developer.post("/servers"+made.query, with(serverRow("box"), object{"authType": "key", "keyId": "own"})).is(201)
	c.developer.post("/servers", serverRow("mine")).is(201)
	forward := c.developer.post("/port-forwards"+made.query, object{"localId": "f", "name": "f", "type": "local", "serverId": "mine"}).is(201)
	for noun, field := range map[string]string{"/servers": "keyId", "/port-forwards": "serverId"} {
		row := map[string]object{"/servers": server, "/port-forwards": forward}[noun]
		path := noun + "/" + row["id"].(string)
		c.has(c.owner.patch(path, object{"name": "renamed", field: row[field]}).is(200), object{"name": "renamed", field: row[field]})
		back := object{"localId": row["localId"], "name": "synced", field: row[field]}
		for _, key := range []string{"type", "host", "port", "username", "authType"} {
			if row[key] != nil {
				back[key] = row[key]
			}
		}
		c.has(c.owner.post(noun+"/sync"+made.query, []object{back}).is(200), object{"updated": 1.0, "syncedCount": 1.0})
		c.has(c.developer.get(path).is(200), object{"name": "synced", field: row[field]})
		c.owner.patch(path, object{field: "another"}).fails(400, "bad_request")
		c.owner.patch(path, object{field: nil}).is(200)
		c.owner.patch(path, object{field: row[field]}).fails(400, "bad_request") // now it would be new
	}
}
