package test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// contract runs the contract's own examples against a server.
type contract struct {
	*ground
	requests map[string]string          // by name: the curl commands
	answers  map[string]json.RawMessage // by name: what they answer
	ran      []string
	forward  string // the id that stands for forward-uuid
	server   string // the id that stands for server-uuid
	team     string // the id that stands for team-uuid
	port     string // the free one that stands for 8080
}

func newContract(t *testing.T) *contract {
	t.Helper()
	c := &contract{ground: newGround(t), requests: map[string]string{}, port: strconv.Itoa(sshd.FreePort(t))}
	c.server = c.get("/servers/site").is(200)["id"].(string)
	script, err := os.ReadFile("testdata/requests.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(script), "\n#: ")[1:] {
		name, command, _ := strings.Cut(part, "\n")
		c.requests[name] = command
	}
	text, err := os.ReadFile("testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &c.answers); err != nil {
		t.Fatal(err)
	}
	return c
}

// real puts real values in place of the contract's.
func (c *contract) real(text string) string {
	host, port := split(c.t, c.target)
	return strings.NewReplacer(
		"http://localhost:3000", c.url, "YOUR_JWT_TOKEN", c.token, "forward-uuid", c.forward, "team-uuid", cmp.Or(c.team, "team-uuid"),
		"server-uuid-1", c.server, "server-uuid-2", "site", "server-uuid", c.server,
		"8080", c.port, "192.168.1.100", host, `"remotePort": 80,`, `"remotePort": `+strconv.Itoa(port)+",",
	).Replace(text)
}

// run has curl make a request and demands a status.
func (c *contract) run(name string, status int) answer {
	c.t.Helper()
	command, ok := c.requests[name]
	if !ok {
		c.t.Fatalf("no request %q", name)
	}
	c.ran = append(c.ran, name)
	const quiet = `curl() { command curl -sS --max-time 20 -w '\n%{http_code}' "$@"; }` + "\n"
	shell := exec.CommandContext(c.t.Context(), "bash", "-e", "-c", quiet+c.real(command))
	shell.Env = environment(c.t)
	var stderr bytes.Buffer
	shell.Stderr = &stderr
	out, err := shell.Output()
	if err != nil {
		c.t.Fatalf("%s: %v: %s", name, err, &stderr)
	}
	at := bytes.LastIndexByte(out, '\n')
	code, err := strconv.Atoi(string(out[at+1:]))
	if err != nil || code != status {
		c.t.Fatalf("%s: status %d instead of %d: %s", name, code, status, out)
	}
	return answer{t: c.t, status: code, raw: string(out[:at])}
}

// printed runs a request and compares the answer with the contract's.
func (c *contract) printed(name string, status int) answer {
	c.t.Helper()
	return c.printedAs(name, name, status)
}

// printedAs compares with another example's answer.
func (c *contract) printedAs(like, name string, status int) answer {
	c.t.Helper()
	a := c.run(name, status)
	var want any
	if err := json.Unmarshal([]byte(c.real(string(c.answers[like]))), &want); err != nil {
		c.t.Fatal(err)
	}
	c.compare(name, want, decode[any](a))
	return a
}

var (
	uuid    = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	instant = regexp.MustCompile(`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
)

// compare goes by what the contract prints: more keys than that may be there.
func (c *contract) compare(at string, want, got any) {
	c.t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for key := range w {
			if _, ok := g[key]; !ok {
				c.t.Errorf("%s has no key %s", at, key)
				continue
			}
			c.compare(at+"."+key, w[key], g[key])
		}
	case []any:
		g, _ := got.([]any)
		if len(g) != len(w) {
			c.t.Errorf("%s: %v instead of %v", at, got, want)
			return
		}
		for i := range w {
			c.compare(at+"."+strconv.Itoa(i), w[i], g[i])
		}
	default:
		text, _ := got.(string)
		switch {
		case want == "uuid" && (text == c.forward || c.forward == ""):
		case want == "tunnel-uuid" && uuid.MatchString(text), want == "connection-uuid" && uuid.MatchString(text):
		case want == "2024-01-01T00:00:00.000Z" && instant.MatchString(text):
		case want == got:
		default:
			c.t.Errorf("%s is %v instead of %v", at, got, want)
		}
	}
}

// created runs the example that creates the row which the others are about.
func (c *contract) created() {
	c.t.Helper()
	c.forward = ""
	c.forward = c.printed("create-local", 201).is(201)["id"].(string)
	if !uuid.MatchString(c.forward) {
		c.t.Errorf("id %s", c.forward)
	}
}

// sent demands that an answer holds the values of the request's body.
func (c *contract) sent(name string, got object, but ...string) {
	c.t.Helper()
	_, body, _ := strings.Cut(c.real(c.requests[name]), "-d '")
	body, _, _ = strings.Cut(body, "'")
	var want object
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	for _, key := range but {
		delete(want, key)
	}
	c.has(got, want)
}

// asTeam runs the examples of teams as a member of one, who may operate its
// forwards and no more, and those of single forwards on a team's.
func (c *contract) asTeam() {
	c.t.Helper()
	made := newTeam(&person{client: c.client}, "seed")
	c.team = made.id
	member := c.signUp("milo", object{"inviteCode": made.code})
	server := (&person{client: c.client}).addServer(made.query, c.ground.sshd)
	c.server = server
	var body object
	_, text, _ := strings.Cut(c.real(c.requests["create-local"]), "-d '")
	if err := json.Unmarshal([]byte(strings.TrimRight(text, "'\n")), &body); err != nil {
		c.t.Fatal(err)
	}
	c.forward = ""
	row := c.post("/port-forwards"+made.query, body).is(201)
	c.has(row, object{"namespace": made.id, "dataType": "team"})
	c.forward = row["id"].(string)

	c.token = member.token
	c.printedAs("list", "list-team", 200)
	if rows := c.run("list-team-active", 200).list(); len(rows) != 0 {
		c.t.Errorf("active before the start: %v", rows)
	}
	c.printed("get", 200)
	c.printed("start", 200)
	c.printed("status", 200)
	if rows := c.run("list-team-active", 200).list(); len(rows) != 1 || rows[0]["id"] != c.forward || rows[0]["status"] != "active" {
		c.t.Errorf("active after the start: %v", rows)
	}
	w := way{name: "local", dial: dialer("127.0.0.1:" + c.port)}
	w.carries(c.t, small)
	if rows := c.run("list", 200).list(); len(rows) != 0 {
		c.t.Errorf("the member's own: %v", rows)
	}
	c.printed("stop", 200)
	c.run("patch-partly", 403).fails(403, "forbidden")
	c.run("delete", 403).fails(403, "forbidden")
}

func TestTheContractsExamplesAnswerAsPrinted(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	c.created()
	c.printed("get", 200)
	c.printed("list", 200)
	if rows := c.run("list-active", 200).list(); len(rows) != 0 {
		t.Errorf("active before the start: %v", rows)
	}
	c.printed("start", 200)
	c.printed("status", 200)
	if rows := c.run("list-active", 200).list(); len(rows) != 1 || rows[0]["id"] != c.forward {
		t.Errorf("active after the start: %v", rows)
	}
	w := way{name: "local", dial: dialer("127.0.0.1:" + c.port)}
	if err := target.Echo(w.open(t), small); err != nil {
		t.Error(err)
	}
	c.printed("stop", 200)
	c.printed("delete", 200)

	c.created() // the localId is free again
	c.printed("patch", 200)
	row := c.run("patch-partly", 200).is(200)
	c.has(row, object{"name": "New Name", "localPort": 9090.0, "type": "remote", "remotePort": 3306.0})

	for _, name := range []string{"create-remote", "create-dynamic", "create-manual"} {
		a := c.run(name, 201)
		c.sent(name, a.is(201), "password")
		if strings.Contains(a.raw, "password123") {
			t.Errorf("%s shows its password: %s", name, a.raw)
		}
	}
	c.printed("sync", 200)
	c.compare("sync-one", object{"message": "Port forwards synced successfully", "syncedCount": 1.0}, c.run("sync-one", 200).is(200))
	c.has(c.get("/port-forwards/"+c.forward).is(200), object{"name": "Single Forward", "type": "local"})
	c.run("list-team", 403).fails(403, "forbidden")
	c.run("list-team-active", 403).fails(403, "forbidden")
	c.asTeam()

	for name := range c.requests {
		if !slices.Contains(c.ran, name) {
			t.Errorf("the example %s was not run", name)
		}
	}
	if len(c.requests) != 17 {
		t.Errorf("%d examples", len(c.requests))
	}
}
