package test

import (
	"net"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// noSettings is what GET /settings answers when nothing was set.
var noSettings = object{
	"registration": nil, "maxForwardsPerUser": nil, "maxActivePerUser": nil, "maxActive": nil, "allowedBinds": nil, "allowedDestinations": nil, "auditDays": nil,
}

func (c *crowd) set(settings object) {
	c.t.Helper()
	got := c.operator.put("/settings", settings).is(200)
	for name, value := range settings {
		if jsonText(got[name]) != jsonText(value) {
			c.t.Errorf("%s is %v instead of %v", name, got[name], value)
		}
	}
}

func TestForwardsAUserMayHaveAreLimitedByTheSetting(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	c.has(c.operator.get("/settings").is(200), noSettings)
	row := object{"name": "f", "type": "local"}
	kept := c.developer.add("", row)
	c.developer.add(made.query, row)
	c.set(object{"maxForwardsPerUser": 2})
	for _, query := range []string{"", made.query} { // the team's that he made count, too
		says(t, c.developer.post("/port-forwards"+query, row).fails(403, "limit_reached"), "maxForwardsPerUser", "2 port forwards")
		got := c.developer.post("/port-forwards/sync"+query, []object{row, row}).is(200)
		c.has(got, object{"syncedCount": 0.0})
		says(t, got["errors"].([]any)[0].(object)["message"].(string), "maxForwardsPerUser")
	}
	c.developer.patch(kept, object{"name": "renamed"}).is(200)
	c.owner.add("", row) // others have room
	c.restarted(c.kill, nil)
	c.developer.post("/port-forwards", row).fails(403, "limit_reached")
	c.developer.delete(kept).is(200)
	c.developer.add("", row)
	c.set(object{}) // replaces all
	c.has(c.operator.get("/settings").is(200), noSettings)
	c.developer.add("", row)
}

func TestWhatRunsIsLimitedByTheSettings(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	s, address := sshd.Start(t), target.Start(t)
	c.developer.addServer(made.query, s)
	c.developer.addServer("", s)
	first := c.developer.add(made.query, localTo(t, address, "site"))
	second := c.developer.add("", localTo(t, address, "site"))
	c.user.addServer("", s)
	third := c.user.add("", localTo(t, address, "site"))
	c.user.start(first) // who starts it does not matter, who made it does
	c.set(object{"maxActivePerUser": 1, "maxActive": 2})
	says(t, c.developer.post(second+"/start", nil).fails(409, "too_many_active"), "maxActivePerUser", "1 active")
	c.has(c.developer.get(second).is(200), object{"status": "inactive", "desired": "inactive"})
	c.developer.start(first) // it runs, and stays so
	c.user.start(third)
	c.set(object{"maxActive": 2})
	says(t, c.developer.post(second+"/start", nil).fails(409, "too_many_active"), "maxActive ", "2 active")
	c.user.post(third+"/stop", nil).is(200)
	c.developer.start(second)
	c.restarted(c.kill, nil)
	c.user.post(third+"/start", nil).fails(409, "too_many_active")
	c.developer.reaches(first, "active", restoreLimit)
	c.developer.reaches(second, "active", restoreLimit)
	c.set(object{"maxActive": 0}) // ends nothing that runs
	c.has(c.developer.get(first).is(200), object{"status": "active"})
}

func TestSettingsNarrowWhereToListenAndDeliver(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--allow-bind", "127.0.0.0/8", "--deny", "127.9.9.9")
	s, address := sshd.Start(t), target.Start(t)
	p := c.developer
	p.addServer("", s)
	path := p.add("", localTo(t, address, "site"))
	door := bound(p.start(path))
	c.set(object{"allowedBinds": []string{"127.0.0.1"}, "allowedDestinations": []string{address}})
	p.start(path)
	w := way{name: "allowed", dial: dialer(door)}
	w.carries(t, small)

	elsewhere := p.add("", with(localTo(t, address, "site"), object{"bindAddress": "127.0.0.2"}))
	says(t, p.post(elsewhere+"/start", nil).fails(409, "listen_denied"), "127.0.0.2", "allowedBinds")
	other := p.add("", localTo(t, "127.0.0.1:1", "site"))
	says(t, p.post(other+"/start", nil).fails(409, "target_denied"), "127.0.0.1:1", "allowedDestinations")

	// What runs is held to it too, from the next connection on.
	c.set(object{"allowedDestinations": []string{"10.0.0.0/8"}})
	refusesTraffic(t, door)
	c.restarted(c.kill, nil, "--allow-bind", "127.0.0.0/8", "--deny", "127.9.9.9")
	c.has(p.reaches(path, "failed", restoreLimit)["lastError"].(object), object{"code": "target_denied"})

	// A setting opens nothing that a flag has closed.
	c.set(object{"allowedBinds": []string{"*"}, "allowedDestinations": []string{"*"}})
	p.start(path)
	w.dial = dialer(bound(p.get(path).is(200)))
	w.carries(t, small)
	p.patch(elsewhere, object{"bindAddress": "0.0.0.0"}).is(200)
	says(t, p.post(elsewhere+"/start", nil).fails(409, "listen_denied"), "0.0.0.0")
	p.patch(other, object{"remoteHost": "127.9.9.9"}).is(200)
	p.post(other+"/start", nil).fails(409, "target_denied")
	for name, body := range map[string]string{
		"no rule": `{"allowedBinds":["x y"]}`, "no list": `{"allowedDestinations":"*"}`, "no number": `{"maxActive":"1"}`, "negative": `{"maxActive":-1}`,
		"unknown": `{"maxactive":1}`, "no such": `{"registration":"public"}`, "no days": `{"auditDays":0}`, "number": `{"allowedBinds":[1]}`,
	} {
		if a := c.operator.put("/settings", body); a.status != 400 || !strings.Contains(a.raw, `"message":[`) {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if got := c.operator.get("/settings").is(200); jsonText(got["allowedBinds"]) != `["*"]` {
		t.Errorf("after what was refused: %v", got)
	}
}

// refusesTraffic demands that nothing comes through a door, be it open or not.
func refusesTraffic(t *testing.T, door string) {
	t.Helper()
	conn, err := net.Dial("tcp", door)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	if target.Echo(conn, 1) == nil {
		t.Errorf("%s carries what is not allowed", door)
	}
}

func TestRegistrationIsWhatTheFlagSaysOrLess(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--registration", "open")
	code := newTeam(c.owner, "burrow").code
	tries := 0
	// try registers somebody, with a code and without; only its failure is cheap.
	try := func(plain, invited int) {
		t.Helper()
		for extra, status := range map[string]int{"": plain, code: invited} {
			tries++
			body := object{"email": "n" + jsonText(tries) + "@example.com", "username": "nnn", "password": password}
			if extra != "" {
				body["inviteCode"] = extra
			}
			if status == 201 {
				body["password"] = "short" // so far it comes, then
				if a := newClient(t, c.url).post("/auth/register", body); a.status != 400 || !strings.Contains(a.raw, "password must be longer") {
					t.Errorf("%d %s", a.status, a.raw)
				}
				continue
			}
			if m := newClient(t, c.url).post("/auth/register", body).fails(status, "forbidden"); m != "Registration is closed" {
				t.Errorf("%q", m)
			}
		}
	}
	const yes, no = 201, 403
	try(yes, yes)
	c.set(object{"registration": "invite"})
	try(no, yes)
	c.set(object{"registration": "closed"})
	try(no, no)
	c.restarted(c.kill, nil, "--registration", "open")
	try(no, no)
	c.set(object{"registration": "open"})
	c.signUp("anna", object{})
	c.restarted(c.kill, nil, "--registration", "invite") // the setting says open
	try(no, yes)
	nina := c.signUp("nina", object{"inviteCode": code})
	if got := nina.get("/teams/my").list(); len(got) != 1 || got[0]["role"] != "user" {
		t.Errorf("teams %v", got)
	}
	c.restarted(c.kill, nil, "--registration", "closed")
	try(no, no)
	c.owner.post("/auth/login", object{"email": c.owner.email, "password": password}).is(200)
}
