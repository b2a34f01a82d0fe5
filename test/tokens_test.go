package test

import (
	"strings"
	"testing"
)

// token makes an API token of a person's and gives its id and himself with it.
func (p *person) newToken(scope, namespace string) (id string, with *person) {
	p.t.Helper()
	body := object{"name": scope + " token", "scope": scope}
	if namespace != "" {
		body["namespace"] = namespace
	}
	got := p.post("/auth/tokens", body).is(201)
	text := got["token"].(string)
	p.has(got, object{"name": scope + " token", "scope": scope, "lastUsedAt": nil})
	if !strings.HasPrefix(text, "adit_") || !instant.MatchString(got["expiresAt"].(string)) {
		p.t.Errorf("token: %v", got)
	}
	return got["id"].(string), p.as(text)
}

// may is what a token of a scope gets: of reading, of starting, of changing.
type may struct{ read, operate, manage int }

var scopes = map[string]may{
	"read": {200, 403, 403}, "operate": {200, 400, 403}, "manage": {200, 400, 200}, // 400: it lacks a server, and was tried
}

func TestAnAPITokenOpensWhatItsScopeSays(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	for _, query := range []string{"", made.query} {
		forward := c.owner.add(query, object{"name": "f", "type": "local"})
		for scope, want := range scopes {
			_, p := c.owner.newToken(scope, "")
			for _, path := range []string{forward, forward + "/status", "/port-forwards" + query, "/data/personal", "/auth/validate", made.path(""), made.path("/data")} {
				p.get(path).gets(want.read)
			}
			p.post(forward+"/start", nil).gets(want.operate)
			p.patch(forward, object{"name": scope}).gets(want.manage)
			p.patch(made.path("/members/"+made.members[c.user]), object{"role": "user"}).gets(want.manage)
			p.put("/settings", object{}).fails(403, "forbidden") // its user is no operator
			p.onlyASession()
		}
		c.has(c.owner.get(forward).is(200), object{"name": "manage"})
	}
	for scope, want := range scopes {
		_, p := c.operator.newToken(scope, "")
		p.get("/users").gets(want.read)
		p.get("/audit").gets(want.read)
		p.put("/settings", object{}).gets(want.manage)
	}
}

// onlyASession does what no API token may, that nobody makes one of a stolen one.
func (p *person) onlyASession() {
	p.t.Helper()
	p.get("/auth/tokens").fails(403, "forbidden")
	p.post("/auth/tokens", object{"name": "n", "scope": "read"}).fails(403, "forbidden")
	p.delete("/auth/tokens/x").fails(403, "forbidden")
	p.post("/auth/password", object{"currentPassword": password, "newPassword": "another-password"}).fails(403, "forbidden")
}

// is2 demands a status and nothing of the body.
func (a answer) gets(status int) {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("status %d instead of %d: %s", a.status, status, a.raw)
	}
}

func TestATokenOfOneTeamOpensThatTeamAlone(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made, other := c.team("burrow"), newTeam(c.developer, "warren")
	mine := c.developer.add("", object{"name": "mine", "type": "local", "localId": "mine"})
	theirs := c.developer.add(other.query, object{"name": "theirs", "type": "local"})
	c.developer.post("/servers", serverRow("own")).is(201)
	_, p := c.developer.newToken("manage", made.id)

	forward := p.add(made.query, object{"name": "f", "type": "local"})
	p.patch(forward, object{"name": "g"}).is(200)
	p.get(made.path("")).is(200)
	if got := p.get("/teams/my").list(); len(got) != 1 || got[0]["id"] != made.id {
		t.Errorf("teams %v", got)
	}
	for _, path := range []string{mine, theirs, "/port-forwards/mine", "/servers/own", other.path(""), other.path("/data")} {
		p.get(path).fails(404, "not_found")
	}
	p.post(mine+"/start", nil).fails(404, "not_found")
	p.delete(theirs).fails(404, "not_found")
	for _, query := range []string{"", other.query} {
		p.get("/port-forwards"+query).fails(403, "forbidden")
		p.post("/port-forwards"+query, object{"name": "f", "type": "local"}).fails(403, "forbidden")
		p.post("/servers/sync"+query, "[]").fails(403, "forbidden")
	}
	p.get("/data/personal").fails(403, "forbidden")
	p.get("/servers/personal/data").fails(403, "forbidden")
	p.post(made.path("/invite-code"), nil).fails(403, "forbidden") // its user is no owner
	p.post("/teams/create", object{"name": "third"}).fails(403, "forbidden")
	p.post("/port-forwards"+made.query, object{"name": "f", "type": "local", "serverId": "own"}).fails(400, "bad_request")
	c.outsider.post("/auth/tokens", object{"name": "n", "scope": "read", "namespace": made.id}).fails(403, "forbidden")

	c.owner.delete(made.path("/members/" + made.members[c.developer])).is(200)
	p.lockedOut()
	c.developer.get("/auth/validate").is(200)
}

// serverRow is a server that nobody connects to.
func serverRow(localID string) object {
	return object{"localId": localID, "name": localID, "host": "192.0.2.1", "port": 22, "username": "mole", "authType": "password"}
}

func TestARevokedTokenIsWorthlessAtOnce(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	id, api := c.user.newToken("manage", "")
	gone, own := c.user.newToken("read", "")
	api.get("/auth/validate").is(200)
	rows := c.user.get("/auth/tokens").list()
	for len(rows) == 2 && rows[1]["lastUsedAt"] == nil { // it is recorded beside the answer
		rows = c.user.get("/auth/tokens").list()
	}
	if len(rows) != 2 || rows[0]["id"] != gone || rows[1]["lastUsedAt"] == nil {
		t.Errorf("tokens %v", rows)
	}
	c.outsider.delete("/auth/tokens/"+id).fails(404, "not_found")
	api.get("/auth/validate").is(200)
	c.user.delete("/auth/tokens/" + id).is(200)
	api.lockedOut()
	c.user.delete("/auth/tokens/"+id).fails(404, "not_found")
	own.post("/auth/logout", nil).is(200) // a token that ends itself
	own.lockedOut()

	session := c.user.post("/auth/login", object{"email": c.user.email, "password": password}).is(200)
	stolen := c.user.as(session["access_token"].(string))
	_, another := c.user.newToken("read", "")
	stolen.get("/auth/validate").is(200)
	c.user.post("/auth/password", object{"currentPassword": password, "newPassword": "battery-correct-horse"}).is(200)
	stolen.lockedOut()
	another.lockedOut()
	c.user.get("/auth/validate").is(200)
	c.restarted(c.kill, nil)
	for _, p := range []*person{api, own, stolen, another} {
		p.url = c.url
		p.lockedOut()
	}
	c.user.post("/auth/logout", nil).is(200)
	c.user.lockedOut()
	for _, token := range []string{"", "adit_", "adit_x", "x.y.z", c.owner.token + "x", "Bearer " + c.owner.token, strings.Repeat("a", 20000)} {
		c.owner.as(token).lockedOut()
	}
}
