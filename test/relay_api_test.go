package test

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
)

// pasted is a command as the API's description has it, and what it answers.
type pasted struct {
	command string
	status  int
	answer  string // all of it
}

const (
	statusLine = `curl -H "X-API-Key: your_secret_api_key" \
     http://localhost:8765/api/status`
	forwardLine = `curl -X POST \
     -H "X-API-Key: your_secret_api_key" \
     -H "Content-Type: application/json" \
     -d '{"type":"forward","token":"my_token"}' \
     http://localhost:8765/api/token`
	deleteLine = `curl -X DELETE \
     -H "X-API-Key: your_secret_api_key" \
     http://localhost:8765/api/token/my_token`
	removeLine = `curl -X DELETE \
     -H "X-API-Key: your_api_key" \
     http://localhost:8765/api/token/token_to_remove`

	forwardBody = `{
  "type": "forward",
  "token": "my_forward_token"
}`
	reverseBody = `{
  "type": "reverse",
  "token": "my_reverse_token",
  "port": 9870,
  "username": "socks_user",
  "password": "socks_pass",
  "allow_manage_connector": true
}`
	connectorBody = `{
  "type": "connector",
  "token": "my_connector_token",
  "reverse_token": "associated_reverse_token"
}`
	removeBody = `{
  "token": "token_to_remove"
}`
	emptyStatus = `{"version":"VERSION","tokens":[],"direct":{"enabled":false}}` + "\n"
)

func granted(token string) string { return `{"success":true,"token":"` + token + `"}` + "\n" }

func denied(text string) string { return `{"success":false,"error":"` + text + `"}` + "\n" }

// sendLine is curl with a body that goes to a path.
func sendLine(method, path, body string) string {
	return fmt.Sprintf("curl -X %s -H 'X-API-Key: your_secret_api_key' --data-raw '%s' 'http://localhost:8765%s'", method, body, path)
}

func getLine(path string) string {
	return "curl -H 'X-API-Key: your_secret_api_key' 'http://localhost:8765" + path + "'"
}

// described are the API's own examples, in an order in which they can be.
func described() []pasted {
	const add = "/api/token"
	return []pasted{
		{statusLine, 200, emptyStatus},
		{forwardLine, 200, granted("my_token")},
		{forwardLine, 409, denied("token already exists")},
		{statusLine, 200, `{"version":"VERSION","tokens":[{"token":"my_token","type":"forward","clients_count":0}],"direct":{"enabled":false}}` + "\n"},
		{deleteLine, 200, granted("my_token")},
		{deleteLine, 404, denied("token does not exist")},
		{sendLine("POST", add, forwardBody), 200, granted("my_forward_token")},
		{sendLine("POST", add, reverseBody), 200, `{"success":true,"token":"my_reverse_token","port":9870}` + "\n"},
		{sendLine("POST", add, connectorBody), 404, denied("reverse token does not exist")},
		{sendLine("POST", add, strings.Replace(connectorBody, "associated_", "my_", 1)), 200, granted("my_connector_token")},
		{sendLine("POST", add, strings.Replace(connectorBody, "associated_", "my_", 1)), 200, granted("my_connector_token")},
		{statusLine, 200, `{"version":"VERSION","tokens":[{"token":"my_forward_token","type":"forward","clients_count":0},` +
			`{"token":"my_reverse_token","type":"reverse","clients_count":0,"port":9870,"connector_tokens":["my_connector_token"]}],` +
			`"direct":{"enabled":false}}` + "\n"},
		{getLine("/api/status?redact=true"), 200, `{"version":"VERSION","tokens":[{"token":"my_f…","type":"forward","clients_count":0},` +
			`{"token":"my_r…","type":"reverse","clients_count":0,"port":9870,"connector_tokens":["my_c…"]}],` +
			`"direct":{"enabled":false}}` + "\n"},
		{sendLine("DELETE", add, removeBody), 404, denied("token does not exist")},
		{sendLine("POST", add, strings.Replace(forwardBody, "my_forward_token", "token_to_remove", 1)), 200, granted("token_to_remove")},
		{strings.Replace(removeLine, "your_api_key", "your_secret_api_key", 1), 200, granted("token_to_remove")},
		{sendLine("POST", add, strings.Replace(forwardBody, "my_forward_token", "token_to_remove", 1)), 200, granted("token_to_remove")},
		{sendLine("DELETE", add, removeBody), 200, granted("token_to_remove")},
		{sendLine("DELETE", add+"/my_reverse_token", ""), 200, granted("my_reverse_token")},
		{sendLine("DELETE", add+"/my_connector_token", ""), 404, denied("token does not exist")}, // it went along
		{sendLine("DELETE", add+"/", strings.Replace(removeBody, "token_to_remove", "my_forward_token", 1)), 200, granted("my_forward_token")},
	}
}

// refusals are what bad requests get.
func refusals(taken int) []pasted {
	const add = "/api/token"
	body := func(text string) string { return sendLine("POST", add, text) }
	noKey := denied("invalid API key")
	return []pasted{
		{removeLine, 401, noKey}, // the description's other key
		{strings.Replace(statusLine, "your_secret_api_key", "guess", 1), 401, noKey},
		{strings.Replace(forwardLine, "your_secret_api_key", "guess", 1), 401, noKey},
		{"curl http://localhost:8765/api/status", 401, noKey},
		{"curl -X PUT http://localhost:8765/api/token", 401, noKey},
		{body(`{"type":"forward"`), 400, denied("invalid request body")},
		{body(``), 400, denied("invalid request body")},
		{body(`{"type":"forward","token":7}`), 400, denied("invalid request body")},
		{body(`{"type":"reverse","port":"9870"}`), 400, denied("invalid request body")},
		{body(`{"type":"forward"} {}`), 400, denied("invalid request body")},
		{body(`{"type":"backward"}`), 400, denied("invalid token type")},
		{body(`{}`), 400, denied("invalid token type")},
		{body(`{"type":"connector"}`), 400, denied("reverse_token is required for connector token")},
		{body(`{"type":"reverse","port":-5}`), 400, denied("invalid port")},
		{body(`{"type":"reverse","port":65536}`), 400, denied("invalid port")},
		{body(`{"type":"reverse","port":99999999999999999999}`), 400, denied("invalid port")},
		{body(fmt.Sprintf(`{"type":"reverse","port":%d}`, taken)), 409, denied(fmt.Sprintf("cannot allocate port: %d", taken))},
		{body(`{"type":"forward","token":"anonymous"}`), 400, denied("'anonymous' is reserved and cannot be used as a token")},
		{sendLine("DELETE", add, ""), 400, denied("token not specified")},
		{sendLine("DELETE", add, "{}"), 400, denied("token not specified")},
		{sendLine("DELETE", add, "{"), 400, denied("invalid request body")},
		{getLine(add), 405, ""},
		{getLine(add + "/my_token"), 405, ""},
		{sendLine("PUT", add, "{}"), 405, ""},
		{sendLine("POST", "/api/status", "{}"), 405, ""},
		{"head -c 70000 /dev/zero | " + sendLine("POST", add, "@-"), 400, denied("invalid request body")}, // --data-raw takes no file
		{`head -c 70000 /dev/zero | curl -H "X-API-Key: your_secret_api_key" --data-binary @- http://localhost:8765/api/token`, 413, denied("request body too large")},
		{getLine("/api/unknown"), 404, "404 page not found\n"},
		{getLine("/unknown"), 404, "404 page not found\n"},
		{getLine("/"), 200, "adit VERSION is running. API endpoints available at /api/*\n"},
		{"curl -d @/dev/null http://localhost:8765/", 200, "adit VERSION is running. API endpoints available at /api/*\n"},
		{getLine("/socket"), 400, "Bad Request\n"},
		{statusLine, 200, emptyStatus},
	}
}

// paste runs a command in a shell and compares what it prints.
func (r *relayRun) paste(p pasted, values ...string) {
	r.t.Helper()
	values = append(values, "http://localhost:8765", "http://"+r.address, "your_secret_api_key", relayKey, "VERSION", "dev")
	real := strings.NewReplacer(values...)
	const quiet = `curl() { command curl -sS --max-time 15 -w '\n%{http_code}' "$@"; }` + "\n"
	shell := exec.CommandContext(r.t.Context(), "bash", "-e", "-c", quiet+real.Replace(p.command))
	shell.Env = environment(r.t)
	var stderr bytes.Buffer
	shell.Stderr = &stderr
	out, err := shell.Output()
	if want := fmt.Sprintf("%s\n%d", real.Replace(p.answer), p.status); err != nil || string(out) != want {
		r.t.Errorf("%s\n%v %s\n got %q\nwant %q", real.Replace(p.command), err, &stderr, out, want)
	}
}

// relays are the two commands that run a relay with the API.
func relays(t *testing.T) map[string]*relayRun {
	t.Helper()
	return map[string]*relayRun{"serve": serveWithRelay(t, newDir(t)), "relay serve": newRelay(t)}
}

func TestTheRelaysAPIAnswersItsExamplesAsPrinted(t *testing.T) {
	t.Parallel()
	for name, r := range relays(t) {
		r.hidden.add("my_token", "my_forward_token", "my_reverse_token", "my_connector_token", "token_to_remove", "socks_pass")
		port := strconv.Itoa(sshd.FreePort(t))
		for _, example := range described() {
			r.paste(example, "9870", port)
		}
		if t.Failed() {
			t.Log("by adit", name)
		}
	}
}

func TestTheRelaysAPIRefusesAsPrinted(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	for name, r := range relays(t) {
		r.hidden.add("my_token")
		for _, refusal := range refusals(portOf(t, ln.Addr().String())) {
			r.paste(refusal)
		}
		if t.Failed() {
			t.Log("by adit", name)
		}
	}
}

func TestWithoutAKeyTheRelayHasNoAPI(t *testing.T) {
	t.Parallel()
	a := serve(t, newDir(t), "--relay-listen", "127.0.0.1:0")
	both := map[string]*relayRun{
		"serve":       {process: a.process, t: t, address: a.relay},
		"relay serve": startRelay(t, newHidden(t), "-t", forwardToken),
	}
	for _, r := range both {
		r.paste(pasted{statusLine, 404, "404 page not found\n"})
		r.paste(pasted{forwardLine, 404, "404 page not found\n"})
		r.paste(pasted{deleteLine, 404, "404 page not found\n"})
		r.paste(pasted{getLine("/"), 200, "adit VERSION is running but API is not enabled.\n"})
	}
}

// A reverse token's answer names a port that listens already, and one that
// nobody asked for is of the pool.
func TestTheAPINamesPortsThatListen(t *testing.T) {
	t.Parallel()
	r := newRelay(t, "--socks-pool", "20000-20999", "--socks-ports", "20000-20999", "--socks-ports", "21500")
	for range 3 {
		answer := r.add(object{"type": "reverse"})
		token, port := answer["token"].(string), int(answer["port"].(float64))
		if len(token) != 16 || strings.Trim(token, "0123456789abcdef") != "" || port < 20000 || port > 20999 {
			t.Errorf("answer %v", answer)
		}
		r.hidden.add(token)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		c, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		r.remove(token)
		closed(t, address)
	}
	r.call(400, "POST", "/api/token", object{"type": "reverse", "port": 21501})
	r.call(200, "POST", "/api/token", object{"type": "reverse", "port": 21500})
	answer := r.add(object{"type": "reverse", "token": reverseToken, "allow_manage_connector": true})
	if answer["port"] != -1.0 {
		t.Errorf("autonomy without a port: %v", answer)
	}
}
