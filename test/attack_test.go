package test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// loot is what the attacker wants: ids of rows that are not his.
type loot struct {
	query, server, key, forward string
}

// furnishWith makes one row of each noun.
func (p *person) furnishWith(query, secret string) loot {
	p.t.Helper()
	id := func(noun string, row object) string {
		return p.post(noun+query, with(row, object{"localId": "l" + noun[1:]})).is(201)["id"].(string)
	}
	return loot{
		query:   query,
		key:     id("/keys", object{"name": "k", "type": "password", "password": secret}),
		server:  id("/servers", with(serverRow("s"), object{"password": secret})),
		forward: id("/port-forwards", object{"name": "f", "type": "local", "serverAddress": "192.0.2.1", "password": secret}),
	}
}

// seen is all that somebody sees in a namespace.
func (p *person) seen(query string) string {
	p.t.Helper()
	return p.get("/keys"+query).raw + p.get("/servers"+query).raw + p.get("/port-forwards"+query).raw
}

func TestIDsOfOthersOpenNothing(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	his := newTeam(c.outsider, "warren")
	const secret = "pw-of-the-victim"
	personal, teams := c.developer.furnishWith("", secret), c.developer.furnishWith(made.query, secret)
	token, _ := c.developer.newToken("manage", "")
	before := c.developer.seen("") + c.developer.seen(made.query) + c.owner.get(made.path("")).raw
	attacker := c.outsider
	for _, l := range []loot{personal, teams} {
		attacker.tryRows(l)
		for _, query := range []string{"", his.query} {
			attacker.tryReferences(query, l)
		}
	}
	attacker.tryTeam(made, his, c)
	attacker.delete("/auth/tokens/"+token).fails(404, "not_found")
	for path, body := range map[string]object{"/users/" + c.owner.id: {"disabled": true}, "/users/" + attacker.id: {"role": "admin"}} {
		attacker.patch(path, body).fails(403, "forbidden")
	}
	attacker.get("/users").fails(403, "forbidden")
	attacker.get("/audit").fails(403, "forbidden")
	attacker.get("/audit"+made.query).fails(403, "forbidden")
	attacker.put("/settings", object{"registration": "open"}).fails(403, "forbidden")
	attacker.get("/settings").fails(403, "forbidden")

	if after := c.developer.seen("") + c.developer.seen(made.query) + c.owner.get(made.path("")).raw; after != before {
		t.Errorf("rows before: %s\nand after: %s", before, after)
	}
	if seen := attacker.seen("") + attacker.seen(his.query); seen != "[]\n[]\n[]\n[]\n[]\n[]\n" {
		t.Errorf("he has %s", seen)
	}
	for _, id := range []string{personal.server, personal.key, personal.forward, teams.server, teams.key, teams.forward} {
		if n := strings.Count(attacker.answers(), `"id":"`+id); n > 0 {
			t.Errorf("%d rows of others were shown", n)
		}
	}
}

// tryRows calls every route of single rows.
func (p *person) tryRows(l loot) {
	p.t.Helper()
	for _, id := range []string{"/servers/" + l.server, "/keys/" + l.key, "/port-forwards/" + l.forward, "/servers/lservers", "/keys/lkeys"} {
		for _, query := range []string{"", l.query} { // to name a namespace helps nobody
			p.get(id+query).fails(404, "not_found")
			p.patch(id+query, object{"name": "stolen"}).fails(404, "not_found")
			p.patch(id+query, object{}).fails(404, "not_found")
			p.delete(id+query).fails(404, "not_found")
		}
		if !strings.HasPrefix(id, "/keys") {
			p.put(id+"/host-key", object{"fingerprint": "SHA256:x"}).fails(404, "not_found")
			p.delete(id+"/host-key").fails(404, "not_found")
		}
	}
	for _, verb := range []string{"/start", "/stop"} {
		p.post("/port-forwards/"+l.forward+verb, nil).fails(404, "not_found")
	}
	p.get("/port-forwards/"+l.forward+"/status").fails(404, "not_found")
}

// tryReferences names rows of others in bodies.
func (p *person) tryReferences(query string, l loot) {
	p.t.Helper()
	for _, ref := range []string{l.server, "lservers"} {
		forward := object{"name": "f", "type": "local", "serverId": ref}
		p.post("/port-forwards"+query, forward).fails(400, "bad_request")
		got := p.post("/port-forwards/sync"+query, []object{forward}).is(200)
		p.has(got, object{"syncedCount": 0.0, "created": 0.0})
	}
	for _, ref := range []string{l.key, "lkeys"} {
		server := with(serverRow("s"), object{"keyId": ref, "authType": "key"})
		p.post("/servers"+query, server).fails(400, "bad_request")
		p.has(p.post("/servers/sync"+query, []object{server}).is(200), object{"syncedCount": 0.0})
	}
	for _, field := range []string{"userId", "namespace", "dataType", "id"} {
		p.post("/port-forwards"+query, object{"name": "f", "type": "local", field: l.forward}).is(400)
		got := p.post("/port-forwards/sync"+query, []object{{"name": "f", "type": "local", field: l.forward}}).is(200)
		p.has(got, object{"syncedCount": 0.0})
	}
}

// tryTeam does to a team of others what he may do to his own.
func (p *person) tryTeam(theirs, his *team, c *crowd) {
	p.t.Helper()
	member := theirs.members[c.user]
	for _, path := range []string{theirs.path("/members/" + member), his.path("/members/" + member)} {
		p.patch(path, object{"role": "developer"}).fails(404, "not_found")
		p.patch(path+"/role", object{"role": "developer"}).fails(404, "not_found")
		p.delete(path).fails(404, "not_found")
	}
	for _, path := range []string{"/members", "/invite"} {
		p.post(theirs.path(path), object{"userId": p.id, "role": "developer"}).fails(404, "not_found")
	}
	p.post(theirs.path("/invite-code"), nil).fails(404, "not_found")
	p.delete(theirs.path("")).fails(404, "not_found")
	p.delete(theirs.path("/dissolve")).fails(404, "not_found")
	p.post("/auth/tokens", object{"name": "n", "scope": "read", "namespace": theirs.id}).fails(403, "forbidden")
	p.post("/teams/create", object{"name": "third", "id": theirs.id}).is(400)
	p.post("/teams/create", object{"name": "third", "ownerId": c.owner.id}).is(400)
	for _, noun := range []string{"/servers", "/keys", "/port-forwards"} {
		p.get(noun+theirs.query).fails(403, "forbidden")
		p.post(noun+"/sync"+theirs.query, "[]").fails(403, "forbidden")
		p.post(noun+"/sync"+theirs.query+"&namespace="+his.id, "[]").fails(403, "forbidden")
	}
}

// hostile are bodies that nobody means well with.
func hostile() map[string]string {
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	return map[string]string{
		"too big": `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, "deep": deep, "deep lists": strings.Repeat("[", 500_000),
		"NUL": `{"name":"a\u0000","email":"a\u0000@x.yz","type":"local"}`, "not UTF-8": "{\"name\":\"\xff\xfe\"}", "raw NUL": "{\"name\":\"\x00\"}",
		"lone surrogate": `{"name":"\ud800","type":"x"}`, "twice": `{"name":"a","name":"b"}`, "list": `[]`, "text": `"x"`, "null": `null`, "number": `1e999999`,
		"cut": `{"name":`, "two": `{} {}`, "prototype": `{"__proto__":{"role":"admin"}}`, "case": `{"NAME":"a","Type":"local"}`, "nothing": "",
		"huge number": `{"localPort":1` + strings.Repeat("0", 5000) + `,"name":"a","type":"local"}`, "wrong types": `{"name":{},"type":[],"email":1,"password":{},"role":7}`,
	}
}

// Every route that takes a body takes none of these, and says so in the shape
// of errors.
func TestHostileBodiesAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	member := made.path("/members/" + made.members[c.user])
	routes := []string{
		"POST /auth/register", "POST /auth/login", "POST /auth/password", "POST /auth/tokens", "POST /servers", "POST /keys", "POST /port-forwards",
		"POST /servers/sync", "POST /keys/sync", "POST /port-forwards/sync", "POST /teams/create", "POST /teams/join", "PUT /settings",
		"POST " + made.path("/members"), "POST " + made.path("/invite"), "PATCH " + member, "PATCH " + member + "/role", "PATCH /users/" + c.user.id,
	}
	mayBeEmpty := map[string]bool{"PUT /settings": true, "PATCH /users/" + c.user.id: true}
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		caller := c.owner
		if mayBeEmpty[route] {
			caller = c.operator
		}
		for name, body := range hostile() {
			if (name == "nothing") && mayBeEmpty[route] || strings.HasSuffix(path, "/sync") && name == "list" {
				continue
			}
			a := caller.call(method, path, body)
			o := decode[object](a)
			if a.status < 400 || a.status >= 500 || o["statusCode"] != float64(a.status) || o["error"] != http.StatusText(a.status) || o["message"] == nil {
				t.Errorf("%s, %s: %d %.300s", route, name, a.status, a.raw)
			}
			if len(a.raw) > 4096 {
				t.Errorf("%s, %s: %d bytes of answer", route, name, len(a.raw))
			}
		}
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/jsonp", ""} {
			a, _ := caller.raw(method, path, `{"name":"a","type":"local"}`, map[string]string{"Content-Type": kind})
			a.fails(415, "unsupported_media")
		}
	}
	if seen := c.owner.seen("") + c.owner.seen(made.query); seen != "[]\n[]\n[]\n[]\n[]\n[]\n" {
		t.Errorf("stored: %s", seen)
	}
}

func TestNoRequestOfADisabledUserSucceedsAfterTheAnswer(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	s, address := sshd.Start(t), target.Start(t)
	c.developer.addServer("", s)
	c.developer.addServer(made.query, s)
	own := c.developer.add("", localTo(t, address, "site"))
	shared := c.developer.add(made.query, localTo(t, address, "site"))
	ownAddress, sharedAddress := bound(c.developer.start(own)), bound(c.developer.start(shared))
	_, api := c.developer.newToken("manage", "")

	server := c.developer.get("/servers/site").is(200)["id"].(string)
	floods(t, []*person{c.developer, api}, "/servers/"+server, func() {
		c.has(c.operator.patch("/users/"+c.developer.id, object{"disabled": true}).is(200), object{"disabled": true})
	})
	c.developer.lockedOut()
	api.lockedOut()
	c.developer.post("/auth/login", object{"email": c.developer.email, "password": password}).fails(401, "unauthorized")
	closed(t, ownAddress)
	w := way{name: "the team's", dial: dialer(sharedAddress)}
	w.carries(t, small)
	c.has(c.owner.get(shared).is(200), object{"status": "active"})

	c.operator.patch("/users/"+c.developer.id, object{"disabled": false}).is(200)
	c.developer.lockedOut() // what was ended stays so
	back := c.developer.post("/auth/login", object{"email": c.developer.email, "password": password}).is(200)["token"].(string)
	c.has(c.developer.as(back).get(own).is(200), object{"status": "inactive", "desired": "inactive"})
	c.operator.patch("/users/"+c.operator.id, object{"disabled": true}).fails(409, "conflict")
	c.operator.patch("/users/"+c.operator.id, object{"role": "user"}).fails(409, "conflict")
}

// floods has 200 clients of these people call at once, again and again, while
// end ends what they may do. What is sent after that must not succeed.
func floods(t *testing.T, people []*person, path string, end func()) {
	t.Helper()
	const clients = 200
	var ended atomic.Bool
	var served atomic.Int64
	started := make(chan struct{}, clients)
	var flood sync.WaitGroup
	for i := range clients {
		p := people[i%len(people)]
		flood.Go(func() {
			for last := false; !last; {
				last = ended.Load()
				method := "GET"
				if i%10 < len(people) { // each person writes, too; writes take turns
					method = "PATCH"
				}
				a, err := p.send(method, path, object{"name": fmt.Sprint("n", i)})
				switch {
				case err != nil:
					t.Error(err)
				case a.status == 200 && last:
					t.Error("a request succeeded after the end")
				case a.status == 200:
					served.Add(1)
				case a.status != 401:
					t.Errorf("%d %s", a.status, a.raw)
				}
				select {
				case started <- struct{}{}:
				default:
				}
				last = last || err != nil
			}
		})
	}
	for range clients / 4 {
		<-started
	}
	end()
	ended.Store(true)
	flood.Wait()
	if served.Load() < clients/4 {
		t.Errorf("only %d requests were served before", served.Load())
	}
}
