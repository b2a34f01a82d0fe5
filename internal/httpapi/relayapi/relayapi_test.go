package relayapi

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

const seededStatus = `{"version":"v1.2.3","tokens":[` +
	`{"token":"forward_token_123","type":"forward","clients_count":2},` +
	`{"token":"reverse_token_456","type":"reverse","clients_count":1,"port":9870,"connector_tokens":["connector_abc","connector_def"]}` +
	`],"direct":{"enabled":false}}`

func refusedBody(text string) string { return fmt.Sprintf(`{"success":false,"error":"%s"}`, text) }

func TestTheAnswersAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	const post, del = http.MethodPost, http.MethodDelete
	cases := []struct {
		name, method, path, body string
		status                   int
		want                     string // without the newline at the end
	}{
		{"status", "GET", "/api/status", "", 200, seededStatus},
		{"forward", post, "/api/token", `{"type":"forward","token":"my_token"}`, 200, `{"success":true,"token":"my_token"}`},
		{"forward, behind a slash", post, "/api/token/", `{"type":"forward","token":"my_token"}`, 200, `{"success":true,"token":"my_token"}`},
		{"forward, token made up", post, "/api/token", `{"type":"forward"}`, 200, `{"success":true,"token":"0123456789abcdef"}`},
		{"reverse", post, "/api/token", `{"type":"reverse","token":"my_reverse_token","port":9871,"username":"socks_user","password":"socks_pass"}`,
			200, `{"success":true,"token":"my_reverse_token","port":9871}`},
		{"reverse, any port", post, "/api/token", `{"type":"reverse","token":"r"}`, 200, `{"success":true,"token":"r","port":1024}`},
		{"reverse, autonomy", post, "/api/token", `{"type":"reverse","token":"r","allow_manage_connector":true}`, 200, `{"success":true,"token":"r","port":-1}`},
		{"connector", post, "/api/token", `{"type":"connector","token":"my_connector_token","reverse_token":"reverse_token_456"}`,
			200, `{"success":true,"token":"my_connector_token"}`},
		{"connector again", post, "/api/token", `{"type":"connector","token":"connector_abc","reverse_token":"reverse_token_456"}`,
			200, `{"success":true,"token":"connector_abc"}`},
		{"delete by path", del, "/api/token/forward_token_123", "", 200, `{"success":true,"token":"forward_token_123"}`},
		{"delete by body", del, "/api/token", `{"token":"forward_token_123"}`, 200, `{"success":true,"token":"forward_token_123"}`},
		{"delete by body, behind a slash", del, "/api/token/", `{"token":"reverse_token_456","port":"x"}`, 200, `{"success":true,"token":"reverse_token_456"}`},
		{"names unknown here are ignored", post, "/api/token", `{"type":"forward","token":"t","color":"red"}`, 200, `{"success":true,"token":"t"}`},
		{"fields of other kinds are ignored", post, "/api/token", `{"type":"forward","token":"t","port":99999999999999999999,"reverse_token":"x"}`, 200, `{"success":true,"token":"t"}`},
		{"but not their types", post, "/api/token", `{"type":"forward","token":"t","port":"1"}`, 400, refusedBody("invalid request body")},
		{"null is nothing", post, "/api/token", `{"type":"reverse","token":"t","port":null,"username":null,"allow":null}`, 200, `{"success":true,"token":"t","port":1024}`},

		{"wrong body", post, "/api/token", `{`, 400, refusedBody("invalid request body")},
		{"no body", post, "/api/token", ``, 400, refusedBody("invalid request body")},
		{"no object", post, "/api/token", `["forward"]`, 400, refusedBody("invalid request body")},
		{"more than one", post, "/api/token", `{"type":"forward"} x`, 400, refusedBody("invalid request body")},
		{"wrong type of a field", post, "/api/token", `{"type":"forward","token":1}`, 400, refusedBody("invalid request body")},
		{"broken UTF-8", post, "/api/token", "{\"type\":\"forward\",\"token\":\"\xff\"}", 400, refusedBody("invalid request body")},
		{"port as a text", post, "/api/token", `{"type":"reverse","port":"9870"}`, 400, refusedBody("invalid request body")},
		{"port with a fraction", post, "/api/token", `{"type":"reverse","port":9870.5}`, 400, refusedBody("invalid request body")},
		{"port with an exponent", post, "/api/token", `{"type":"reverse","port":1e3}`, 400, refusedBody("invalid request body")},
		{"port too large for an int", post, "/api/token", `{"type":"reverse","port":99999999999999999999}`, 400, refusedBody("invalid port")},
		{"port too small for an int", post, "/api/token", `{"type":"reverse","port":-99999999999999999999}`, 400, refusedBody("invalid port")},
		{"port out of range", post, "/api/token", `{"type":"reverse","port":65536}`, 400, refusedBody("invalid port")},
		{"port below range", post, "/api/token", `{"type":"reverse","port":-5}`, 400, refusedBody("invalid port")},
		{"port taken", post, "/api/token", `{"type":"reverse","port":1}`, 409, refusedBody("cannot allocate port: 1")},
		{"no type", post, "/api/token", `{"token":"x"}`, 400, refusedBody("invalid token type")},
		{"other type", post, "/api/token", `{"type":"Forward"}`, 400, refusedBody("invalid token type")},
		{"token taken", post, "/api/token", `{"type":"forward","token":"forward_token_123"}`, 409, refusedBody("token already exists")},
		{"anonymous", post, "/api/token", `{"type":"forward","token":"anonymous"}`, 400, refusedBody("'anonymous' is reserved and cannot be used as a token")},
		{"anonymous connector", post, "/api/token", `{"type":"connector","token":"anonymous","reverse_token":"reverse_token_456"}`,
			400, refusedBody("'anonymous' is reserved and cannot be used as a connector token")},
		{"connector of nothing", post, "/api/token", `{"type":"connector","token":"c"}`, 400, refusedBody("reverse_token is required for connector token")},
		{"connector of nobody", post, "/api/token", `{"type":"connector","token":"c","reverse_token":"x"}`, 404, refusedBody("reverse token does not exist")},
		{"connector taken", post, "/api/token", `{"type":"connector","token":"forward_token_123","reverse_token":"reverse_token_456"}`,
			409, refusedBody("connector token already exists")},
		{"delete nothing", del, "/api/token", ``, 400, refusedBody("token not specified")},
		{"delete nothing, behind a slash", del, "/api/token/", ``, 400, refusedBody("token not specified")},
		{"delete an empty token", del, "/api/token", `{"token":""}`, 400, refusedBody("token not specified")},
		{"delete without a token", del, "/api/token", `{}`, 400, refusedBody("token not specified")},
		{"delete by a wrong body", del, "/api/token", `token`, 400, refusedBody("invalid request body")},
		{"delete a number", del, "/api/token", `{"token":7}`, 400, refusedBody("invalid request body")},
		{"delete the unknown", del, "/api/token/x", ``, 404, refusedBody("token does not exist")},
		{"delete the unknown by body", del, "/api/token", `{"token":"x"}`, 404, refusedBody("token does not exist")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := call(t, serve(t, seeded(), t.Output()), testKey, c.method, c.path, c.body)
			if got.status != c.status || got.body != c.want+"\n" || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s %q\nwant %d %q", got.status, got.header.Get("Content-Type"), got.body, c.status, c.want)
			}
		})
	}
}

func TestWithoutTheKeyThereIsNothingButTheRefusal(t *testing.T) {
	t.Parallel()
	tokens := seeded()
	server := serve(t, tokens, t.Output())
	keys := []string{"", "x", testKey[:len(testKey)-1], testKey + "x", testKey + testKey, strings.ToUpper(testKey), strings.Repeat("y", len(testKey))}
	requests := []struct{ method, path, body string }{
		{"GET", "/api/status", ""}, {"POST", "/api/status", ""}, {"GET", "/api/metrics", ""}, {"PUT", "/api/token", ""},
		{"POST", "/api/token", `{"type":"forward","token":"t"}`}, {"POST", "/api/token", "{"}, {"DELETE", "/api/token/forward_token_123", ""},
		{"POST", "/api/token", strings.Repeat(" ", maxBody+1)},
	}
	for _, key := range keys {
		for _, r := range requests {
			got := call(t, server, key, r.method, r.path, r.body)
			if got.status != 401 || got.body != refusedBody("invalid API key")+"\n" || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s with %q: %d %q", r.method, r.path, key, got.status, got.body)
			}
		}
	}
	if len(tokens.Status()) != 2 {
		t.Error("the tokens changed")
	}
}

func TestAnAPIWithoutAKeyCannotBeBuilt(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("it could")
		}
	}()
	New(Options{Tokens: seeded()})
}

func TestTheWrongMethodIsToldTheRightOnes(t *testing.T) {
	t.Parallel()
	server := serve(t, seeded(), t.Output())
	cases := map[string][]string{
		"/api/status":  {"GET, HEAD", "POST", "PUT", "DELETE", "OPTIONS"},
		"/api/metrics": {"GET, HEAD", "POST"},
		"/api/token":   {"POST, DELETE", "GET", "HEAD", "PUT", "PATCH", "OPTIONS"},
		"/api/token/x": {"POST, DELETE", "GET"},
	}
	for path, methods := range cases {
		for _, method := range methods[1:] {
			got := call(t, server, testKey, method, path, "")
			if got.status != 405 || got.body != "" || got.header.Get("Allow") != methods[0] {
				t.Errorf("%s %s: %d %q, Allow %q", method, path, got.status, got.body, got.header.Get("Allow"))
			}
		}
	}
}

func TestWhatTheAPIDoesNotKnowIsNotFound(t *testing.T) {
	t.Parallel()
	server := serve(t, seeded(), t.Output())
	for _, path := range []string{"/api/", "/api/status/", "/api/tokens", "/api/statusx", "/api//status", "/api/../api/status"} {
		for _, key := range []string{testKey, ""} {
			if got := call(t, server, key, "GET", path, ""); got.status != 404 || got.body != "404 page not found\n" {
				t.Errorf("%s: %d %q", path, got.status, got.body)
			}
		}
	}
	bare := httptest.NewServer(New(Options{Tokens: seeded(), Key: redact.New(testKey)}))
	defer bare.Close()
	if got := call(t, bare, testKey, "GET", "/api/metrics", ""); got.status != 404 {
		t.Errorf("metrics that there are not: %d", got.status)
	}
}

func TestMetricsStandBehindTheKey(t *testing.T) {
	t.Parallel()
	if got := call(t, serve(t, seeded(), t.Output()), testKey, "GET", "/api/metrics", ""); got.status != 200 || got.body != "up 1\n" {
		t.Errorf("%d %q", got.status, got.body)
	}
}

func TestStatusOfNoTokensIsAnEmptyList(t *testing.T) {
	t.Parallel()
	server := serve(t, &memory{}, t.Output())
	want := `{"version":"v1.2.3","tokens":[],"direct":{"enabled":false}}` + "\n"
	if got := call(t, server, testKey, "GET", "/api/status", ""); got.body != want {
		t.Errorf("%q", got.body)
	}
	head := call(t, server, testKey, "HEAD", "/api/status", "")
	if head.status != 200 || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Errorf("HEAD: %+v", head)
	}
}

func TestStatusShortensTokensOnRequest(t *testing.T) {
	t.Parallel()
	tokens := &memory{tokens: []relay.TokenStatus{
		{Token: redact.New("12345678"), Kind: relay.Forward},
		{Token: redact.New("密码密码密码密码密"), Kind: relay.Reverse, Port: -1, Connectors: []redact.Secret{redact.New("123456789"), redact.New("x")}},
	}}
	server := serve(t, tokens, t.Output())
	short := `{"version":"v1.2.3","tokens":[{"token":"…","type":"forward","clients_count":0},` +
		`{"token":"密码密码…","type":"reverse","clients_count":0,"port":-1,"connector_tokens":["1234…","…"]}],"direct":{"enabled":false}}` + "\n"
	for query, isShort := range map[string]bool{
		"?redact=true": true, "?redact=1": true, "?redact": true, "?redact=false": false, "?redact=0": false, "": false, "?other=true": false,
	} {
		got := call(t, server, testKey, "GET", "/api/status"+query, "")
		if (got.body == short) != isShort || strings.Contains(got.body, "12345678") == isShort {
			t.Errorf("%s: %s", query, got.body)
		}
	}
}

// None of these may be cleaned away or answered by a redirect.
func TestATokenInThePathIsTakenAsItIsWritten(t *testing.T) {
	t.Parallel()
	for escaped, token := range map[string]string{
		"a%2Fb": "a/b", "a/b": "a/b", "a//b": "a//b", "..": "..", "../status": "../status", ".": ".", "/": "/", "a/": "a/", "%2F": "/",
		"a%20b": "a b", "a+b": "a+b", "%E4%BB%A4": "令", "100%25": "100%", "%252F": "%2F", "a%3Fb%23": "a?b#", "%00": "\x00",
	} {
		tokens := &memory{tokens: []relay.TokenStatus{{Token: redact.New(token), Kind: relay.Forward}}}
		got := call(t, serve(t, tokens, t.Output()), testKey, "DELETE", "/api/token/"+escaped, "")
		if got.status != 200 || len(tokens.Status()) != 0 {
			t.Errorf("%s: %d %s", escaped, got.status, got.body)
		}
	}
}

func TestABodyHasItsLimit(t *testing.T) {
	t.Parallel()
	server := serve(t, seeded(), t.Output())
	fill := func(size int) string {
		const start, end = `{"type":"forward","token":"t","x":"`, `"}`
		return start + strings.Repeat("x", size-len(start)-len(end)) + end
	}
	if got := call(t, server, testKey, "POST", "/api/token", fill(maxBody)); got.status != 200 {
		t.Errorf("the largest: %d %s", got.status, got.body)
	}
	for _, method := range []string{"POST", "DELETE"} {
		got := call(t, server, testKey, method, "/api/token", fill(maxBody+1))
		if got.status != 413 || got.body != refusedBody("request body too large")+"\n" {
			t.Errorf("%s of one more: %d %q", method, got.status, got.body)
		}
	}
	// One that does not tell its length.
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/api/token", strings.NewReader(fill(maxBody+1)))
	req.ContentLength = -1
	req.Header.Set("X-API-Key", testKey)
	w := httptest.NewRecorder()
	server.Config.Handler.ServeHTTP(w, req)
	if w.Code != 413 {
		t.Errorf("of unknown length: %d", w.Code)
	}
}

func TestTheRelayGetsAllThatWasAskedFor(t *testing.T) {
	t.Parallel()
	tokens := &memory{}
	server := serve(t, tokens, t.Output())
	call(t, server, testKey, "POST", "/api/token", `{"type":"reverse","token":"t\u0000/é","port":9870,"username":"u","password":"p",`+
		`"allow_manage_connector":true,"reverse_token":"x","allow":["*"],"deny":["10.0.0.0/8","[::1]:80-90"]}`)
	got, want := fmt.Sprintf("%+v", tokens.last), fmt.Sprintf("%+v", relay.TokenSpec{
		Kind: relay.Reverse, Token: redact.New("t"), Port: 9870, Username: "u", Password: redact.New("p"),
		ManageConnectors: true, Allow: []string{"*"}, Deny: []string{"10.0.0.0/8", "[::1]:80-90"},
	})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s := tokens.last; s.Token.Reveal() != "t\x00/é" || s.Password.Reveal() != "p" || !s.ReverseToken.IsZero() {
		t.Errorf("secrets: %q %q %q", s.Token.Reveal(), s.Password.Reveal(), s.ReverseToken.Reveal())
	}
	call(t, server, testKey, "POST", "/api/token", `{"type":"connector","token":"c","port":7,"reverse_token":"x","deny":["a.example"]}`)
	if s := tokens.last; s.ReverseToken.Reveal() != "x" || s.Port != 0 || len(s.Deny) != 1 {
		t.Errorf("connector: %+v", s)
	}
}

func TestRulesAreCheckedBeforeTheRelayIsAsked(t *testing.T) {
	t.Parallel()
	list := func(n int, rule string) string {
		return `["` + strings.Repeat(rule+`","`, n-1) + rule + `"]`
	}
	for body, want := range map[string]string{
		`"allow":["10.0.0.1/8"]`:                           `invalid rule: allow rule \"10.0.0.1/8\": 10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8 or 10.0.0.1`,
		`"deny":["*","h:0"]`:                               `invalid rule: deny rule \"h:0\": \"0\" is no port: write a number from 1 to 65535`,
		`"deny":` + list(maxRules+1, "*"):                  `invalid rule: deny has 257 rules, at most 256 can be`,
		`"allow":["*","` + strings.Repeat("a", 301) + `"]`: `invalid rule: allow rule 2 is longer than 300 bytes`,
		`"allow":"*"`:                                      `invalid request body`,
	} {
		tokens := &memory{}
		got := call(t, serve(t, tokens, t.Output()), testKey, "POST", "/api/token", `{"type":"forward","token":"t",`+body+`}`)
		if got.status != 400 || got.body != refusedBody(want)+"\n" || tokens.last.Kind != "" {
			t.Errorf("%.40s: %d %s", body, got.status, got.body)
		}
	}
	full := `{"type":"forward","allow":` + list(maxRules, "*:1-2") + `,"deny":` + list(maxRules, "h") + `}`
	if got := call(t, serve(t, &memory{}, t.Output()), testKey, "POST", "/api/token", full); got.status != 200 {
		t.Errorf("the most there can be: %d %s", got.status, got.body)
	}
}

func TestWhatBreaksIsLoggedAndNotTold(t *testing.T) {
	t.Parallel()
	const secret = "never_to_be_seen"
	cases := []struct {
		err    error
		status int
		text   string
		logged string
	}{
		{fmt.Errorf("write: %w", errors.New("disk on fire")), 500, "internal error", "disk on fire"},
		{fmt.Errorf("token %v is odd", redact.New(secret)), 500, "internal error", "[redacted] is odd"},
		{&api.Error{Code: api.CodeSecretUnreadable, Message: "the key is gone"}, 500, "internal error", "the key is gone"},
		{fmt.Errorf("add: %w", &api.Error{Code: "unavailable", Message: "the relay is stopping"}), 503, "the relay is stopping", ""},
		{&api.Error{Code: api.CodeStorageFull, Message: "no space"}, 507, "no space", ""},
		{fmt.Errorf("add: %w", &relay.TokenError{Problem: relay.Conflict, Text: "taken"}), 409, "taken", ""},
	}
	for _, c := range cases {
		var log bytes.Buffer
		server := serve(t, &memory{broken: c.err}, &log)
		for _, r := range []struct{ method, path, body string }{
			{"POST", "/api/token", `{"type":"reverse","token":"` + secret + `","username":"` + secret + `","password":"` + secret + `"}`},
			{"POST", "/api/token", `{"type":"connector","reverse_token":"` + secret + `"}`},
			{"DELETE", "/api/token/" + secret, ""},
			{"DELETE", "/api/token", `{"token":"` + secret + `"}`},
		} {
			got := call(t, server, testKey, r.method, r.path, r.body)
			if got.status != c.status || got.body != refusedBody(c.text)+"\n" {
				t.Errorf("%v: %d %s", c.err, got.status, got.body)
			}
		}
		server.Close() // so that the log is complete
		lines := strings.Count(log.String(), c.logged)
		if c.logged == "" && log.Len() > 0 || c.logged != "" && lines != 4 {
			t.Errorf("%v: logged %q", c.err, log.String())
		}
		if strings.Contains(log.String(), secret) || strings.Contains(log.String(), testKey) {
			t.Errorf("a secret in the log: %s", log.String())
		}
	}
}

func TestManyAtOnceDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	tokens := &memory{}
	server := serve(t, tokens, t.Output())
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for j := range 10 {
				token := fmt.Sprintf("%d-%d", i, j)
				body := fmt.Sprintf(`{"type":"reverse","token":%q}`, token)
				if got := call(t, server, testKey, "POST", "/api/token", body); got.status != 200 {
					t.Errorf("add: %d %s", got.status, got.body)
				}
				if got := call(t, server, testKey, "GET", "/api/status", ""); !strings.Contains(got.body, `"`+token+`"`) {
					t.Errorf("%s is missing: %s", token, got.body)
				}
				if j%2 == 0 {
					call(t, server, testKey, "DELETE", "/api/token/"+token, "")
				}
			}
		})
	}
	wg.Wait()
	if n := len(tokens.Status()); n != 50 {
		t.Errorf("%d tokens left", n)
	}
}
