package test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	email    = "ada@example.com"
	password = "correct-horse-battery"
)

// object is a JSON object.
type object = map[string]any

// client calls the HTTP API and keeps every answer.
type client struct {
	t     testing.TB
	url   string
	token string // sent with every call
	from  string // the address that a proxy would tell of; empty for none
	http  http.Client

	mu    sync.Mutex // guards below
	shown strings.Builder
}

func newClient(t testing.TB, url string) *client {
	transport := &http.Transport{} // of its own, and with no proxy
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, url: url, http: http.Client{Transport: transport, Timeout: patience}}
}

// answers gives all that was answered so far.
func (c *client) answers() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.String()
}

// answer is what came back.
type answer struct {
	t      testing.TB
	status int
	raw    string
	took   time.Duration
}

// send makes one call with body, which is a JSON text or a value to be one.
// It may be called from any goroutine.
func (c *client) send(method, path string, body any) (answer, error) {
	text, ok := body.(string)
	if !ok && body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		text = string(encoded)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.token)
	if c.from != "" {
		r.Header.Set("X-Forwarded-For", c.from)
	}
	a, _, err := c.do(r)
	return a, err
}

// do makes a request and keeps its answer.
func (c *client) do(r *http.Request) (answer, http.Header, error) {
	sent := time.Now()
	res, err := c.http.Do(r)
	if err != nil {
		return answer{}, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown.Write(raw)
	return answer{t: c.t, status: res.StatusCode, raw: string(raw), took: time.Since(sent)}, res.Header, err
}

func (c *client) call(method, path string, body any) answer {
	c.t.Helper()
	a, err := c.send(method, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *client) get(path string) answer { c.t.Helper(); return c.call("GET", path, nil) }
func (c *client) post(path string, body any) answer {
	c.t.Helper()
	return c.call("POST", path, body)
}

// is demands a status and gives the object that was answered.
func (a answer) is(status int) object {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d instead of %d: %s", a.status, status, a.raw)
	}
	return decode[object](a)
}

// list demands 200 and gives the objects that were answered.
func (a answer) list() []object {
	a.t.Helper()
	if a.status != http.StatusOK {
		a.t.Fatalf("status %d: %s", a.status, a.raw)
	}
	return decode[[]object](a)
}

func decode[T any](a answer) (v T) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.raw), &v); err != nil {
		a.t.Fatalf("%v in %s", err, a.raw)
	}
	return v
}

// fails demands an error of the contract's shape and gives its message.
func (a answer) fails(status int, code string) string {
	a.t.Helper()
	o := a.is(status)
	message, _ := o["message"].(string)
	if o["statusCode"] != float64(status) || o["error"] != http.StatusText(status) || o["code"] != code || message == "" {
		a.t.Errorf("want %d %s and a sentence: %s", status, code, a.raw)
	}
	return message
}

// register makes the first account and uses its token from then on.
func (c *client) register() {
	c.t.Helper()
	user := c.post("/auth/register", object{"email": email, "username": "ada", "password": password}).is(201)
	c.token = user["access_token"].(string)
}

// login uses a new token from then on.
func (c *client) login() {
	c.t.Helper()
	c.token = c.post("/auth/login", object{"email": email, "password": password}).is(200)["access_token"].(string)
}

// create adds a forward and gives its path.
func (c *client) create(forward object) string {
	c.t.Helper()
	return "/port-forwards/" + c.post("/port-forwards", forward).is(201)["id"].(string)
}

// start starts a forward and gives the row.
func (c *client) start(path string) object {
	c.t.Helper()
	row := c.post(path+"/start", nil).is(200)
	c.has(row, object{"status": "active", "state": "active", "desired": "active", "lastError": nil})
	if row["tunnelId"] == nil || row["connectionId"] == nil || row["lastUsed"] == nil {
		c.t.Errorf("started: %v", row)
	}
	return row
}

// has demands these values of an object.
func (c *client) has(got, want object) {
	c.t.Helper()
	for key, value := range want {
		if got[key] != value {
			c.t.Errorf("%s is %v instead of %v in %v", key, got[key], value, got)
		}
	}
}

// becomes asks for an object until ok holds for it. What happens by itself can
// be seen no other way.
func (c *client) becomes(path, what string, limit time.Duration, ok func(object) bool) object {
	c.t.Helper()
	tick := time.NewTicker(30 * time.Millisecond) // asking costs, under the race detector
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		asked := time.Now()
		o := c.get(path).is(200)
		if ok(o) {
			return o
		}
		if asked.After(end) {
			c.t.Fatalf("not %s after %v: %v", what, limit, o)
		}
	}
}

// reaches waits for a state.
func (c *client) reaches(path, state string, limit time.Duration) object {
	c.t.Helper()
	return c.becomes(path, state, limit, func(o object) bool { return o["state"] == state })
}

// bound is where a forward of this row listens.
func bound(row object) string {
	effective := row["effective"].(object)
	host, _, _ := net.SplitHostPort(effective["listen"].(string))
	if host == "localhost" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, jsonText(effective["boundPort"]))
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
