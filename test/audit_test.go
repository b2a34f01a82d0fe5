package test

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// told is one entry of the audit, as far as a story knows it before.
type told struct {
	who            *person // nil for nobody
	action, result string
	object         string // its name
	inTeam         bool
}

func (e told) String() string {
	name, address := "nobody", "198.51.100.9"
	if e.who != nil {
		name, address = e.who.email, e.who.from
	}
	return fmt.Sprintf("%s (%s) %s %q %s, team's: %t", name, address, e.action, e.object, e.result, e.inTeam)
}

// entries are what was told, the oldest first, as texts of the same form.
func (p *person) entries(query string, made *team) (lines []string, rows []object) {
	p.t.Helper()
	rows = p.get("/audit" + query).list()
	slices.Reverse(rows)
	for _, row := range rows {
		text := func(key string, otherwise string) string {
			if s, ok := row[key].(string); ok {
				return s
			}
			return otherwise
		}
		lines = append(lines, fmt.Sprintf("%s (%s) %s %q %s, team's: %t", text("actor", "nobody"), text("address", "none"),
			text("action", ""), text("object", ""), text("result", ""), row["namespace"] == made.id))
	}
	return lines, rows
}

// acts is a story that the audit tells of, with every kind of change in it.
func (c *crowd) acts() (made *team, want []told, since string) {
	c.t.Helper()
	since = c.operator.get("/health").is(200)["timestamp"].(string)
	t := c.t
	s, address := sshd.Start(t), target.Start(t)
	note := func(who *person, action, object string, inTeam bool, result string) {
		want = append(want, told{who, action, result, object, inTeam})
	}
	made = newTeam(c.owner, "burrow")
	note(c.owner, "create-team", "burrow", true, "ok")
	id := c.owner.post(made.path("/invite"), object{"email": c.developer.email, "role": "user"}).is(201)["id"].(string)
	note(c.owner, "add-member-2", c.developer.email, true, "ok")
	c.owner.patch(made.path("/members/"+id), object{"role": "developer"}).is(200)
	note(c.owner, "set-member-role", c.developer.email, true, "ok")
	c.user.post("/teams/join", object{"inviteCode": made.code}).is(201)
	note(c.user, "join-team", c.user.email, true, "ok")
	c.developer.addServer(made.query, s)
	note(c.developer, "create-key", "key", true, "ok")
	note(c.developer, "create-server", "site", true, "ok")
	path := c.developer.add(made.query, with(localTo(t, address, "site"), object{"name": "web"}))
	note(c.developer, "create-port-forward", "web", true, "ok")
	c.user.start(path)
	note(c.user, "start-port-forward", "web", true, "ok")
	c.user.get(path).is(200) // looks are not told
	c.user.patch(path, object{"name": "mine"}).fails(403, "forbidden")
	note(c.user, "update-port-forward", "web", true, "forbidden")
	c.outsider.delete(path).fails(404, "not_found") // nor what nobody was about to do
	c.developer.patch(path, object{"name": "web 2", "localPort": portOf(t, listen(t, func(net.Conn) {}))}).fails(409, "listen_in_use")
	note(c.developer, "update-port-forward", "web", true, "listen_in_use")
	c.user.post(path+"/stop", nil).is(200)
	note(c.user, "stop-port-forward", "web", true, "ok")
	c.developer.post("/keys/sync"+made.query, []object{{"localId": "w", "name": "w", "type": "password", "password": "pw-of-a-key"}}).is(200)
	note(c.developer, "sync-keys", "w", true, "ok")
	note(c.developer, "sync-keys", "1 rows", true, "ok")
	c.developer.delete(path).is(200)
	note(c.developer, "delete-port-forward", "web", true, "ok")

	token := c.user.post("/auth/tokens", object{"name": "robot", "scope": "read"}).is(201)
	note(c.user, "create-token", "robot", false, "ok")
	c.user.delete("/auth/tokens/" + token["id"].(string)).is(200)
	note(c.user, "delete-token", "robot", false, "ok")
	c.set(object{"maxActive": 7})
	note(c.operator, "set-settings", "", false, "ok")
	c.outsider.put("/settings", object{}).fails(403, "forbidden")
	note(c.outsider, "set-settings", "", false, "forbidden")
	c.operator.patch("/users/"+c.outsider.id, object{"disabled": true}).is(200)
	note(c.operator, "update-user", c.outsider.email, false, "ok")
	c.owner.delete(made.path("/members/" + id)).is(200)
	note(c.owner, "remove-member", c.developer.email, true, "ok")
	c.owner.post(made.path("/invite-code"), nil).is(201)
	note(c.owner, "rotate-invite-code", "burrow", true, "ok")
	return made, want, since
}

func TestTheAuditTellsWhoDidWhatFromWhere(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--trusted-proxy", "127.0.0.0/8")
	for i, p := range c.everybody() {
		p.from = fmt.Sprintf("203.0.113.%d", i+1)
	}
	made, want, since := c.acts()
	var all, ofTeam []string
	for _, e := range want {
		all = append(all, e.String())
		if e.inTeam {
			ofTeam = append(ofTeam, e.String())
		}
	}
	got, rows := c.operator.entries("?from="+since, made)
	if !slices.Equal(got, all) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(all, "\n"))
	}
	if got, _ := c.owner.entries(made.query, made); !slices.Equal(got, ofTeam) {
		t.Errorf("told of the team:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(ofTeam, "\n"))
	}
	for _, row := range rows {
		if id, _ := row["requestId"].(string); id == "" || !instant.MatchString(row["at"].(string)) || !uuid.MatchString(row["id"].(string)) {
			t.Errorf("entry %v", row)
		}
	}
	c.filters(made, rows, since)
	for _, p := range []*person{c.owner, c.user} {
		p.get("/audit").fails(403, "forbidden")
	}
	c.user.get("/audit"+made.query).fails(403, "forbidden")
	c.developer.get("/audit"+made.query).fails(403, "forbidden")

	// It is there to be read and for nothing else.
	before := c.operator.get("/audit?from=" + since).raw
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		c.operator.call(method, "/audit", object{}).fails(405, "method_not_allowed")
		c.operator.call(method, "/audit/"+rows[0]["id"].(string), object{}).fails(404, "not_found")
	}
	c.operator.put("/settings", object{"auditDays": 1}).is(200)
	c.restarted(c.kill, nil)
	if after := c.operator.get("/audit?from=" + since).raw; !strings.HasSuffix(after, before[1:]) {
		t.Errorf("before %s, after %s", before, after)
	}
}

// filters asks for parts of what was told.
func (c *crowd) filters(made *team, rows []object, since string) {
	c.t.Helper()
	from := "?from=" + since
	count := func(ok func(object) bool) (n int) {
		for _, row := range rows {
			if ok(row) {
				n++
			}
		}
		return n
	}
	for query, ok := range map[string]func(object) bool{
		"&actor=" + c.user.id:                                func(row object) bool { return row["actorId"] == c.user.id },
		"&action=create-server":                              func(row object) bool { return row["action"] == "create-server" },
		"&result=forbidden":                                  func(row object) bool { return row["result"] == "forbidden" },
		"&object=" + made.id:                                 func(row object) bool { return row["objectId"] == made.id },
		"&namespace=" + made.id:                              func(row object) bool { return row["namespace"] == made.id },
		"&action=no-such-action":                             func(object) bool { return false },
		"&before=" + since:                                   func(object) bool { return false },
		"&result=ok&action=health":                           func(object) bool { return false },
		"&before=" + url.QueryEscape(rows[3]["at"].(string)): func(row object) bool { return row["at"].(string) < rows[3]["at"].(string) },
	} {
		if got, want := len(c.operator.get("/audit"+from+query).list()), count(ok); got != want {
			c.t.Errorf("%s: %d entries instead of %d", query, got, want)
		}
	}
	a, header := c.operator.raw("GET", "/audit"+from+"&limit=3&page=2", "", nil)
	if page := a.list(); len(page) != 3 || page[0]["id"] != rows[len(rows)-4]["id"] || header.Get("X-Total-Count") != fmt.Sprint(len(rows)) {
		c.t.Errorf("page 2: %s, %v", a.raw, header)
	}
	for _, query := range []string{"?from=yesterday", "?before=1", "?limit=1000", "?page=0"} {
		if a := c.operator.get("/audit" + query); a.status != 400 || !strings.Contains(a.raw, `"message":[`) {
			c.t.Errorf("%s: %d %s", query, a.status, a.raw)
		}
	}
}
