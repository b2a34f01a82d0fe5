package httpapi_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestEveryRouteButThePublicOnesNeedsAToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, route := range []string{
		"GET /auth/validate", "POST /auth/logout", "POST /auth/password",
		"GET /servers", "POST /servers", "GET /servers/x", "PATCH /servers/x", "DELETE /servers/x",
		"PUT /servers/x/host-key", "DELETE /servers/x/host-key",
		"GET /keys", "POST /keys", "GET /keys/x", "PATCH /keys/x", "DELETE /keys/x",
		"GET /port-forwards", "POST /port-forwards", "GET /port-forwards/x", "PATCH /port-forwards/x", "DELETE /port-forwards/x",
		"POST /port-forwards/x/start", "POST /port-forwards/x/stop", "GET /port-forwards/x/status", "POST /port-forwards/sync",
		"PUT /port-forwards/x/host-key", "DELETE /port-forwards/x/host-key",
	} {
		method, path, _ := strings.Cut(route, " ")
		got := f.call(method, path, nil)
		got.fails(401, "unauthorized")
		if got.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: WWW-Authenticate %q", route, got.header.Get("WWW-Authenticate"))
		}
	}
	if o := f.get("/health").is(200); o["status"] != "ok" || len(o) != 2 {
		t.Errorf("health %v", o)
	} else {
		instant(t, o["timestamp"])
	}
}

func TestTokensAreBearerTokensAndValid(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for header, status := range map[string]int{
		"Bearer " + f.token:       200,
		"bearer " + f.token:       200,
		"BEARER  " + f.token:      200,
		"Basic " + f.token:        401,
		f.token:                   401,
		"Bearer":                  401,
		"Bearer " + f.token + "x": 401,
		"":                        401,
	} {
		r := f.request("GET", "/auth/validate", "")
		r.Header.Set("Authorization", header)
		if got := f.send(r); got.status != status {
			t.Errorf("%.20q: %d instead of %d", header, got.status, status)
		}
	}
	f.token += "x"
	if got := f.get("/servers").header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
		t.Errorf("WWW-Authenticate %q", got)
	}
}

func TestUnknownRoutesAndMethodsAnswerInTheErrorShape(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{
		"/", "/nothing", "/openapi.yaml", "/docs/style.css", "/schemas/Forward.json",
		"/port-forwards/x/y/z", "/port-forwards//start", "/port-forwards/../servers", "/./servers", "//servers", "/Servers",
	} {
		if m := f.get(path).fails(404, "not_found"); !strings.HasPrefix(m[0], "Cannot GET /") {
			t.Errorf("%s: message %q", path, m)
		}
	}
	for route, allow := range map[string]string{
		"PUT /port-forwards":         "GET, HEAD, POST",
		"POST /port-forwards/x":      "DELETE, GET, HEAD, PATCH",
		"OPTIONS /health":            "GET, HEAD",
		"GET /port-forwards/x/start": "POST",
		"GET /auth/login":            "POST",
	} {
		method, path, _ := strings.Cut(route, " ")
		got := f.call(method, path, nil)
		got.fails(405, "method_not_allowed")
		if got.header.Get("Allow") != allow {
			t.Errorf("%s: Allow %q", route, got.header.Get("Allow"))
		}
	}
	f.get("/servers?namespace=%zz").fails(400, "bad_request")
}

func TestHeadAndTrailingSlashesMeanTheRouteItself(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.get("/servers/").list()
	f.get("/health/").is(200)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	res, err := server.Client().Head(server.URL + "/health")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: %d %v", res.StatusCode, res.Header)
	}
}

func TestAnswersCarryTheFixedHeadersAndNothingOfHumas(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, got := range []answer{
		f.get("/health"), f.get("/nothing"), f.post("/servers", "{}"), f.post("/servers", fullServer()), f.get("/keys"),
	} {
		h := got.header
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || len(h.Get("X-Request-Id")) < 16 ||
			h.Get("Content-Type") != "application/json" || h.Get("Link") != "" || strings.Contains(got.raw, "$schema") {
			t.Errorf("%d %v %s", got.status, h, got.raw)
		}
	}
}

func TestAnswersAreJSONWhateverIsAccepted(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, accept := range []string{"*/*", "text/html", "application/xml;q=0.9", "application/json;q=0", "nonsense"} {
		r := f.request("GET", "/auth/validate", "")
		r.Header.Set("Accept", accept)
		if got := f.send(r); got.status != 200 || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", accept, got.status, got.header)
		}
	}
}

func TestBodiesMustBeJSON(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	body := `{"name":"web","type":"local"}`
	for contentType, status := range map[string]int{
		"application/json":                     201,
		"application/json; charset=utf-8":      201,
		"Application/JSON;charset=UTF-8":       201,
		"application/json; charset=iso-8859-1": 415,
		"text/plain":                           415,
		"application/x-www-form-urlencoded":    415,
		"multipart/form-data; boundary=x":      415,
		"application/vnd.api+json":             415,
		"nonsense/;;":                          415,
		"":                                     415,
	} {
		r := f.request("POST", "/port-forwards", body)
		r.Header.Set("Content-Type", contentType)
		got := f.send(r)
		if got.status != status {
			t.Errorf("%q: %d %s", contentType, got.status, got.raw)
		}
		if status == 415 {
			got.fails(415, "unsupported_media")
		}
		r = f.request("POST", "/port-forwards", body)
		r.Header.Set("Content-Type", contentType)
		r.ContentLength = -1 // as with chunks
		if got := f.send(r); got.status != status {
			t.Errorf("%q in chunks: %d %s", contentType, got.status, got.raw)
		}
	}
	// No page may start a forward by posting a form either.
	r := f.request("POST", "/port-forwards/x/start", "a=b")
	r.Header.Set("Content-Type", "text/plain")
	f.send(r).fails(415, "unsupported_media")
}

func TestAnEmptyBodyIsNoErrorByItself(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	id := f.post("/port-forwards", object{"name": "web", "type": "local"}).is(201)["id"].(string)
	f.get("/port-forwards").list() // with the JSON header, as the documentation's lines send it
	f.patch("/port-forwards/"+id, nil).is(200)
	f.post("/port-forwards/"+id+"/stop", nil).is(200)
	f.post("/port-forwards/"+id+"/stop", "{}").is(200)
	f.post("/auth/logout", "null").is(200)
}

func TestBodiesOverTheLimitAre413(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	pad := func(size int) string { return `{"name":"web","type":"local"}` + strings.Repeat(" ", size-29) }
	f.post("/port-forwards", pad(1<<20)).is(201)
	f.post("/port-forwards", pad(1<<20+1)).fails(413, "too_large")
	r := f.request("POST", "/port-forwards", pad(1<<20+1))
	r.ContentLength = -1
	f.send(r).fails(413, "too_large")
	f.post("/port-forwards/x/start", pad(1<<20+1)).fails(413, "too_large")
	item := `{"name":"web","type":"local"}`
	f.post("/port-forwards/sync", "["+item+strings.Repeat(" ", 8<<20-31)+"]").is(200)
	f.post("/port-forwards/sync", "["+item+strings.Repeat(" ", 8<<20-30)+"]").fails(413, "too_large")
}

func TestBrokenBodiesAreOneSentence(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("s3cr3t-in-a-broken-body")
	for _, body := range []string{
		`{"password":"s3cr3t-in-a-broken-body"`, `{"name":"web","type":"local"} {}`, `{"name":"web","type":"local"},`, `{'name':1}`,
		`[]`, `"text"`, `5`, `null`, "{\"name\":\"\xff\"}", `{"name":"\ud800"}`, strings.Repeat("[", 1<<19), "\x00", "nonsense",
	} {
		f.post("/port-forwards", body).fails(400, "bad_request")
	}
	if list := f.get("/port-forwards").list(); len(list) != 0 {
		t.Errorf("stored %v", list)
	}
}

func TestListsAreArraysAndStatusFilters(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, path := range []string{"/servers", "/keys", "/port-forwards"} {
		if list := f.get(path).list(); len(list) != 0 {
			t.Errorf("%s: %v", path, list)
		}
	}
	var ids []string
	for _, name := range []string{"a", "b", "c"} {
		ids = append(ids, f.post("/port-forwards", object{"name": name, "type": "local"}).is(201)["id"].(string))
	}
	slices.Reverse(ids)
	for query, n := range map[string]int{
		"": 3, "?status=": 3, "?status=inactive": 3, "?status=active": 0, "?namespace=": 3, "?namespace=null": 3,
		"?namespace=undefined&status=inactive": 3, "?unknown=1": 3,
	} {
		list := f.get("/port-forwards" + query).list()
		if len(list) != n {
			t.Errorf("%s: %d rows", query, len(list))
		}
		for i := range list {
			if list[i]["id"] != ids[i] {
				t.Errorf("%s: not newest first", query)
			}
		}
	}
	got := f.get("/port-forwards?status=running").fails(400, "invalid")
	if !slices.Equal(got, []string{"status must be one of the following values: active, inactive"}) {
		t.Errorf("messages %q", got)
	}
}

func TestNamespacesOfTeamsOneIsNotInAreForbidden(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.get("/servers?namespace=team-uuid").fails(403, "forbidden")
	f.get("/keys?namespace=team-uuid").fails(403, "forbidden")
	f.get("/port-forwards?namespace=team-uuid&status=active").fails(403, "forbidden")
	f.post("/servers?namespace=team-uuid", fullServer()).fails(403, "forbidden")
	f.post("/port-forwards?namespace=team-uuid", object{"name": "a", "type": "local"}).fails(403, "forbidden")
	f.post("/port-forwards/sync?namespace=team-uuid", "[]").fails(403, "forbidden")
}

func TestMalformedIDsAreNotFound(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, id := range []string{
		"x", "0", "-1", "null", "undefined", "sync", "a%2Fb", "..%2f..%2fetc", "%2e%2e", "%00", "%ff%fe", "%F0%9F%90%87", "a%20b", "'%20or%201=1",
		"00000000-0000-0000-0000-000000000000", strings.Repeat("a", 5000), strings.Repeat("%C3%A9", 300), "%25", "*",
	} {
		for _, noun := range []string{"servers", "keys", "port-forwards"} {
			f.get("/"+noun+"/"+id).fails(404, "not_found")
			f.delete("/"+noun+"/"+id).fails(404, "not_found")
			f.patch("/"+noun+"/"+id, "{}").fails(404, "not_found")
		}
		f.post("/port-forwards/"+id+"/start", nil).fails(404, "not_found")
		f.post("/port-forwards/"+id+"/stop", nil).fails(404, "not_found")
		f.get("/port-forwards/"+id+"/status").fails(404, "not_found")
		f.delete("/port-forwards/"+id+"/host-key").fails(404, "not_found")
	}
}

func TestALocalIDMayHoldAnyCharacters(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	want := f.post("/port-forwards", object{"name": "a", "type": "local", "localId": "a/b?c d%"}).is(201)
	if got := f.get("/port-forwards/a%2Fb%3Fc%20d%25").is(200); got["id"] != want["id"] {
		t.Errorf("got %v", got)
	}
}

func TestFaultsOfOursAreInternalErrorsAndLoggedWithTheRequestID(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.close() // whatever needs the database fails now
	got := f.get("/servers")
	if m := got.fails(500, "internal"); m[0] != "internal error" {
		t.Errorf("message %q", m)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.Contains(f.shown.String(), got.header.Get("X-Request-Id")) {
		t.Error("the log does not name the request")
	}
}
