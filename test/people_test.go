package test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
)

// person is somebody with an account, and what he calls the API with.
type person struct {
	*client
	name, id, email string
}

// as is the same person with another token.
func (p *person) as(token string) *person {
	q := *p
	q.client = newClient(p.t, p.url)
	q.token = token
	return &q
}

func (p *person) patch(path string, body any) answer {
	p.t.Helper()
	return p.call("PATCH", path, body)
}
func (p *person) put(path string, body any) answer { p.t.Helper(); return p.call("PUT", path, body) }
func (p *person) delete(path string) answer        { p.t.Helper(); return p.call("DELETE", path, nil) }

// lockedOut demands that his token opens nothing any more.
func (p *person) lockedOut() {
	p.t.Helper()
	for _, path := range []string{"/auth/validate", "/port-forwards", "/teams/my", "/data/personal"} {
		p.get(path).fails(401, "unauthorized")
	}
}

// crowd is a server where each of these has an account. Its own client is the
// operator's.
type crowd struct {
	*adit
	operator, owner, developer, user, outsider *person
}

// wellFormed looks at every answer that somebody got.
func (p *person) wellFormed() {
	p.t.Helper()
	for line := range strings.Lines(p.answers()) {
		var value any
		if json.Unmarshal([]byte(line), &value) != nil {
			continue // a page
		}
		if o, ok := value.(object); ok && o["statusCode"] != nil {
			p.errorFormed(o)
		} else if !ok || o["openapi"] == nil {
			p.formed("", value)
		}
	}
}

// errorFormed demands the contract's shape of errors.
func (p *person) errorFormed(o object) {
	p.t.Helper()
	status, _ := o["statusCode"].(float64)
	list, several := o["message"].([]any)
	one, _ := o["message"].(string)
	if o["error"] != http.StatusText(int(status)) || several != (o["code"] == "invalid") || several && len(list) == 0 || !several && one == "" {
		p.t.Errorf("an error of another shape: %v", o)
	}
	for key := range o {
		if !slices.Contains([]string{"statusCode", "message", "error", "code", "hint"}, key) {
			p.t.Errorf("an error has %s: %v", key, o)
		}
	}
}

var (
	camelCase = regexp.MustCompile(`^[a-z]+([A-Z][a-z0-9]+)*([A-Z]{2,})?$`)
	dated     = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]`)
)

// formed demands names in camelCase and instants in UTC with milliseconds.
func (p *person) formed(key string, value any) {
	p.t.Helper()
	switch v := value.(type) {
	case object:
		for key, value := range v {
			if !camelCase.MatchString(key) && key != "access_token" {
				p.t.Errorf("a field is called %s", key)
			}
			p.formed(key, value)
		}
	case []any:
		for _, value := range v {
			p.formed(key, value)
		}
	case string:
		if isInstant := strings.HasSuffix(key, "At") || key == "timestamp" || key == "lastUsed" || dated.MatchString(v); isInstant && !instant.MatchString(v) {
			p.t.Errorf("%s is %q", key, v)
		}
	}
}

// crowded is a data directory with all their accounts.
var crowded struct {
	mu     sync.Mutex // guards below
	left   *leftover
	people []person // without clients
	tokens []string
}

// crowdNames are in the order of crowd's fields. The operator is the account
// that every other test has.
var crowdNames = []string{"ada", "olga", "dora", "ugo", "otto"}

func newCrowd(t testing.TB, flags ...string) *crowd {
	t.Helper()
	data := newDir(t)
	people, tokens := gather(t, data)
	c := &crowd{adit: serve(t, data, flags...)}
	for i, field := range []**person{&c.operator, &c.owner, &c.developer, &c.user, &c.outsider} {
		p := people[i]
		p.client = newClient(t, c.url)
		p.token = tokens[i]
		*field = &p
	}
	c.token = c.operator.token
	c.blameless(c.adit)
	t.Cleanup(func() {
		for _, p := range c.everybody() {
			p.wellFormed()
		}
	})
	return c
}

// blameless demands that nothing which people do is a fault of the server's.
func (c *crowd) blameless(a *adit) {
	c.t.Cleanup(func() {
		for line := range strings.Lines(a.stderr.String()) {
			if strings.Contains(line, "level=ERROR") {
				c.t.Errorf("logged: %s", line)
			}
		}
	})
}

// gather makes a data directory that has everybody's account.
func gather(t testing.TB, data string) (people []person, tokens []string) {
	t.Helper()
	crowded.mu.Lock()
	defer crowded.mu.Unlock()
	if crowded.left == nil {
		first := newDir(t)
		token := furnish(t, first)
		a := serve(t, first, "--registration", "open")
		a.token = token
		user := a.get("/auth/validate").is(200)["user"].(object)
		crowded.people, crowded.tokens = []person{{name: "ada", id: user["id"].(string), email: email}}, []string{token}
		for _, name := range crowdNames[1:] {
			p := a.signUp(name, object{})
			crowded.tokens = append(crowded.tokens, p.token)
			p.client = nil
			crowded.people = append(crowded.people, *p)
		}
		crowded.left = a.leave()
	}
	crowded.left.copyTo(t, data)
	return crowded.people, crowded.tokens
}

// signUp registers somebody; extra is what the body has besides.
func (a *adit) signUp(name string, extra object) *person {
	a.t.Helper()
	p := &person{client: newClient(a.t, a.url), name: name, email: name + "@example.com"}
	got := p.post("/auth/register", with(object{"email": p.email, "username": name, "password": password}, extra)).is(201)
	p.id, p.token = got["id"].(string), got["token"].(string)
	return p
}

// everybody is all of them, and others who came later.
func (c *crowd) everybody(others ...*person) []*person {
	return append([]*person{c.operator, c.owner, c.developer, c.user, c.outsider}, others...)
}

// restarted is the crowd after its server was ended with how and started again.
func (c *crowd) restarted(how func(), others []*person, flags ...string) {
	c.t.Helper()
	c.adit = c.again(how, flags...)
	c.blameless(c.adit)
	for _, p := range c.everybody(others...) {
		p.url = c.url
	}
}

// team is a team, with what its members need to know of it.
type team struct {
	id, code, query string
	members         map[*person]string // the ids of memberships
}

func (t *team) path(rest string) string { return "/teams/" + t.id + rest }

// newTeam has owner make a team.
func newTeam(owner *person, name string) *team {
	owner.t.Helper()
	got := owner.post("/teams/create", object{"name": name}).is(201)
	id := got["id"].(string)
	return &team{id: id, code: got["inviteCode"].(string), query: "?namespace=" + id, members: map[*person]string{}}
}

// team makes a team of the owner's that the developer and the user are in.
func (c *crowd) team(name string) *team {
	c.t.Helper()
	t := newTeam(c.owner, name)
	for p, role := range map[*person]string{c.developer: "developer", c.user: "user"} {
		t.members[p] = c.owner.post(t.path("/members"), object{"userId": p.id, "role": role}).is(201)["id"].(string)
	}
	return t
}

// addServer adds an sshd as "site" and its key as "key", to a namespace's query or "".
func (p *person) addServer(query string, s *sshd.Server) (id string) {
	p.t.Helper()
	p.post("/keys"+query, object{"localId": "key", "name": "key", "type": "ed25519", "privateKey": string(s.ClientKeyPEM)}).is(201)
	return p.post("/servers"+query, object{
		"localId": "site", "name": "site", "host": s.Host, "port": s.Port, "username": s.User, "authType": "key", "keyId": "key",
	}).is(201)["id"].(string)
}

// localTo is a forward to address through a server.
func localTo(t testing.TB, address, server string) object {
	t.Helper()
	host, port := split(t, address)
	return object{"name": "to " + address, "type": "local", "remoteHost": host, "remotePort": port, "serverId": server}
}

// add adds a forward to a namespace's query or "" and gives its path.
func (p *person) add(query string, forward object) string {
	p.t.Helper()
	return "/port-forwards/" + p.post("/port-forwards"+query, forward).is(201)["id"].(string)
}

// raw makes a call whose headers the test decides; an empty
// one is left out. Its answer's headers are there too.
func (c *client) raw(method, path, body string, headers map[string]string) (answer, http.Header) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range headers {
		if value == "" {
			r.Header.Del(name)
			continue
		}
		r.Header.Set(name, value)
	}
	a, header, err := c.do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return a, header
}
