package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/auth"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/httpapi"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	email    = "Ada@example.com"
	password = "correct-horse-battery"
)

// fixture is a whole control plane on a temporary database, reached through its
// handler. When the test ends nothing that it answered or logged may hold one
// of the secrets.
type fixture struct {
	t       *testing.T
	handler http.Handler
	app     *app.App
	store   *store.Store
	path    string // of the database, or what storetest knows it by
	keyring *secret.Keyring
	hasher  *auth.Hasher
	tokens  *auth.Tokens
	tunnels *forward.Supervisor
	close   func() // ends what open started

	token string // sent with every call that does not say otherwise

	mu      sync.Mutex // guards below
	shown   bytes.Buffer
	secrets []string
}

// cheap makes hashing cost nothing to speak of.
var cheap = auth.Params{Memory: 8, Passes: 1, Parallelism: 1}

func newFixture(t *testing.T, change ...func(*app.Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "adit.db"), keyring: secret.New(), hasher: auth.NewHasher(cheap, 2)}
	f.hide(password)
	var err error
	if f.tokens, err = auth.NewTokens(auth.NewSigningKey()); err != nil {
		t.Fatal(err)
	}
	f.open(change...)
	t.Cleanup(f.checkSecrets)
	return f
}

// open starts the control plane on the database, as a process does.
func (f *fixture) open(change ...func(*app.Options)) {
	f.t.Helper()
	logger := slog.New(slog.NewTextHandler(locked{f}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db := storetest.Open(f.t, f.path)
	rules, err := policy.New(nil, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	binds, err := policy.NewBind(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.store = db
	f.tunnels = forward.New(context.Background(), forward.Options{
		Here: &site.Here{Check: rules.CheckHere}, Policy: rules, Binds: binds, Logger: logger,
	})
	options := app.Options{
		Store: db, Keyring: f.keyring, Hasher: f.hasher, Tokens: f.tokens, Tunnels: f.tunnels, Logger: logger,
		Targets: rules, Binds: binds,
	}
	for _, fn := range change {
		fn(&options)
	}
	a, tunnels := app.New(options), f.tunnels
	f.app = a
	f.handler = httpapi.New(a, httpapi.Options{Logger: logger})
	var once sync.Once
	f.close = func() {
		once.Do(func() {
			a.Close()
			now, cancel := context.WithCancel(context.Background())
			cancel()
			tunnels.Close(now)
			if err := db.Close(); err != nil {
				f.t.Error(err)
			}
		})
	}
	f.t.Cleanup(f.close)
}

// locked writes into what was shown.
type locked struct{ f *fixture }

func (l locked) Write(b []byte) (int, error) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	return l.f.shown.Write(b)
}

// hide says that a text must never be shown.
func (f *fixture) hide(texts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets = append(f.secrets, texts...)
}

func (f *fixture) checkSecrets() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.secrets {
		if at := strings.Index(f.shown.String(), s); at >= 0 {
			f.t.Errorf("the secret %q was shown: …%.300s", s, f.shown.String()[max(0, at-100):])
		}
	}
}

// answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	raw    string
}

// request is one call, to be changed before it is sent.
func (f *fixture) request(method, target, body string) *http.Request {
	r := httptest.NewRequestWithContext(f.t.Context(), method, target, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequestWithContext(f.t.Context(), method, target, nil)
	}
	r.Host = "localhost:3000" // the first account is not registered by any name
	r.Header.Set("Content-Type", "application/json")
	if f.token != "" {
		r.Header.Set("Authorization", "Bearer "+f.token)
	}
	return r
}

func (f *fixture) send(r *http.Request) answer {
	f.t.Helper()
	sent := readAgain(f.t, r)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		f.t.Fatal(err)
	}
	_, _ = locked{f}.Write(body)
	got := answer{f.t, w.Code, w.Result().Header, string(body)}
	held(f.t, r, sent, got)
	return got
}

// readAgain gives the body of a request that is still to be sent.
func readAgain(t *testing.T, r *http.Request) string {
	t.Helper()
	if r.Body == nil {
		return ""
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	return string(sent)
}

// call sends body, a JSON text or a value to be one.
func (f *fixture) call(method, target string, body any) answer {
	f.t.Helper()
	var text string
	switch b := body.(type) {
	case nil:
	case string:
		text = b
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			f.t.Fatal(err)
		}
		text = string(encoded)
	}
	return f.send(f.request(method, target, text))
}

func (f *fixture) get(target string) answer { f.t.Helper(); return f.call("GET", target, nil) }
func (f *fixture) post(target string, body any) answer {
	f.t.Helper()
	return f.call("POST", target, body)
}
func (f *fixture) patch(target string, body any) answer {
	f.t.Helper()
	return f.call("PATCH", target, body)
}
func (f *fixture) delete(target string) answer { f.t.Helper(); return f.call("DELETE", target, nil) }

// object is a JSON object.
type object = map[string]any

// is demands a status and gives the object that was answered.
func (a answer) is(status int) object {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d instead of %d: %s", a.status, status, a.raw)
	}
	var o object
	if err := json.Unmarshal([]byte(a.raw), &o); err != nil {
		a.t.Fatalf("%v in %s", err, a.raw)
	}
	return o
}

// list demands 200 and gives the objects that were answered.
func (a answer) list() []object {
	a.t.Helper()
	var l []object
	if err := json.Unmarshal([]byte(a.raw), &l); err != nil || a.status != 200 || l == nil {
		a.t.Fatalf("status %d, %v: %s", a.status, err, a.raw)
	}
	return l
}

// fails demands an error of the contract's shape and gives its messages.
func (a answer) fails(status int, code string) []string {
	a.t.Helper()
	o := a.is(status)
	for key := range o {
		switch key {
		case "statusCode", "message", "error", "code", "hint":
		default:
			a.t.Errorf("key %s in error %s", key, a.raw)
		}
	}
	if o["statusCode"] != float64(status) || o["error"] != http.StatusText(status) || o["code"] != code {
		a.t.Errorf("want %d %s: %s", status, code, a.raw)
	}
	var messages []string
	switch m := o["message"].(type) {
	case string:
		messages = []string{m}
	case []any:
		for _, one := range m {
			messages = append(messages, one.(string))
		}
	}
	if _, array := o["message"].([]any); array != (code == "invalid") || len(messages) == 0 || messages[0] == "" {
		a.t.Errorf("message is %v", o["message"])
	}
	return messages
}

// registered makes the first account and uses its token from then on.
func (f *fixture) registered() object {
	f.t.Helper()
	user := f.post("/auth/register", object{"email": email, "username": "ada", "password": password}).is(201)
	f.token = user["access_token"].(string)
	return user
}

// signedUp is a fixture with an account.
func signedUp(t *testing.T, change ...func(*app.Options)) *fixture {
	t.Helper()
	f := newFixture(t, change...)
	f.registered()
	return f
}

// instant demands the wire form of an instant near the present.
func instant(t *testing.T, v any) {
	t.Helper()
	s, _ := v.(string)
	at, err := time.Parse("2006-01-02T15:04:05.000Z", s)
	if err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("instant %v", v)
	}
}
