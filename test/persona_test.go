package test

import (
	"net"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// story is a team from its first day to its last, and those who meet it.
type story struct {
	*crowd
	*team
	newcomer *person // who came by an invite code
	sshd     *sshd.Server
	target   string

	shared, own string // paths of forwards: through the team's server, and the developer's own
	address     string // where the shared one listens
}

func (s *story) flows(address string) {
	s.t.Helper()
	w := way{name: address, dial: dialer(address)}
	w.carries(s.t, small)
}

// begins: a team is made, and people join it in each of the ways.
func (s *story) begins() {
	c := s.crowd
	s.team = newTeam(c.owner, "burrow")
	c.outsider.post("/teams/create", object{"name": "burrow"}).fails(409, "conflict")

	nobody := newClient(s.t, c.url)
	body := object{"email": "nina@example.com", "username": "nina", "password": password}
	if m := nobody.post("/auth/register", body).fails(403, "forbidden"); m != "Registration is closed" {
		s.t.Errorf("without a code: %q", m)
	}
	nobody.post("/auth/register", with(body, object{"inviteCode": "AAAA0000"})).fails(404, "not_found")
	s.newcomer = c.signUp("nina", object{"inviteCode": strings.ToLower(s.code)})
	mine := s.newcomer.get("/teams/my").list()
	if len(mine) != 1 || mine[0]["role"] != "user" || mine[0]["name"] != "burrow" || mine[0]["inviteCode"] != nil {
		s.t.Errorf("the newcomer's teams: %v", mine)
	}

	joined := c.developer.post("/teams/join", object{"inviteCode": s.code}).is(201)
	c.has(joined, object{"teamId": s.id, "userId": c.developer.id, "role": "user", "name": "burrow", "ownerId": c.owner.id, "inviteCode": s.code})
	c.has(joined["team"].(object), object{"id": s.id, "name": "burrow"})
	c.developer.post("/teams/join", object{"inviteCode": s.code}).fails(403, "forbidden")
	s.members[c.developer] = joined["id"].(string)
	role := s.path("/members/" + s.members[c.developer])
	c.developer.patch(role, object{"role": "developer"}).fails(403, "forbidden") // not by himself
	c.has(c.owner.patch(role+"/role", object{"role": "developer", "memberId": s.members[c.developer]}).is(200), object{"role": "developer"})
	invited := c.owner.post(s.path("/invite"), object{"email": strings.ToUpper(c.user.email), "role": "user"}).is(201)
	s.members[c.user] = invited["id"].(string)
	c.owner.post(s.path("/members"), object{"userId": c.user.id, "role": "user"}).fails(409, "conflict")
	if n := len(c.user.get(s.path("/members")).list()); n != 4 {
		s.t.Errorf("%d members", n)
	}
}

// works: the developer builds, the user operates, and nobody more than that.
func (s *story) works() {
	c := s.crowd
	c.developer.addServer(s.query, s.sshd)
	c.developer.patch("/servers/site", object{"description": s.sshd.User + "@burrow"}).is(200)
	s.shared = c.developer.add(s.query, with(localTo(s.t, s.target, "site"), object{"localId": "shared"}))
	s.address = bound(c.developer.start(s.shared))
	s.flows(s.address)

	for _, p := range []*person{c.user, s.newcomer} {
		p.start(s.shared)
		p.get(s.shared + "/status").is(200)
		p.get("/port-forwards/shared").is(200) // by the team's localId
		if n := len(p.get("/port-forwards" + s.query + "&status=active").list()); n != 1 {
			s.t.Errorf("%s sees %d", p.name, n)
		}
		p.patch(s.shared, object{"name": "mine"}).fails(403, "forbidden")
		p.delete(s.shared).fails(403, "forbidden")
		p.post("/port-forwards"+s.query, object{"name": "n", "type": "local"}).fails(403, "forbidden")
		p.post("/port-forwards/sync"+s.query, "[]").fails(403, "forbidden")
		p.patch("/servers/site", object{"name": "mine"}).fails(403, "forbidden")
		p.delete("/keys/key").fails(403, "forbidden")
		p.delete("/servers/site/host-key").fails(403, "forbidden")
		p.delete(s.path("")).fails(403, "forbidden")
		p.post(s.path("/invite-code"), nil).fails(403, "forbidden")
	}
	c.user.post(s.shared+"/stop", nil).is(200)
	closed(s.t, s.address)
	if again := bound(c.user.start(s.shared)); again != s.address {
		s.t.Errorf("listens at %s after a restart, at %s before", again, s.address)
	}
	s.flows(s.address)
	s.strangers()
}

// strangers see nothing of it, an operator no more than others.
func (s *story) strangers() {
	s.t.Helper()
	server := s.crowd.user.get("/servers/site").is(200)["id"].(string)
	key := s.crowd.user.get("/keys/key").is(200)["id"].(string)
	for _, p := range []*person{s.outsider, s.operator} {
		for _, path := range []string{s.shared, s.shared + "/status", "/servers/" + server, "/keys/" + key, "/servers/site", s.path(""), s.path("/members"), s.path("/data"), "/data" + s.path("")} {
			p.get(path).fails(404, "not_found")
		}
		for _, path := range []string{s.shared + "/start", s.shared + "/stop", s.path("/invite-code")} {
			p.post(path, nil).fails(404, "not_found")
		}
		for _, noun := range []string{"/port-forwards", "/servers", "/keys"} {
			p.get(noun+s.query).fails(403, "forbidden")
		}
		p.post("/port-forwards"+s.query, object{"name": "n", "type": "local"}).fails(403, "forbidden")
		p.patch(s.shared, object{"name": "n"}).fails(404, "not_found")
		p.delete(s.shared+"?force=true").fails(404, "not_found")
		p.delete(s.path("/dissolve")).fails(404, "not_found")
		p.delete(s.path("/members/"+s.members[s.crowd.user])).fails(404, "not_found")
		p.post("/port-forwards", localTo(s.t, s.target, server)).fails(400, "bad_request")
	}
}

// leaves: the developer is removed while all that he started runs.
func (s *story) leaves() {
	c, dev := s.crowd, s.crowd.developer
	mine := dev.addServer("", s.sshd)
	s.own = dev.add(s.query, localTo(s.t, s.target, mine))
	ownAddress := bound(dev.start(s.own))
	s.flows(ownAddress)
	stream, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	if err := target.Echo(stream, small); err != nil {
		s.t.Fatal(err)
	}

	said := c.owner.delete(s.path("/members/" + s.members[dev])).is(200)
	c.has(said, object{"message": "Member removed successfully"})
	dev.get(s.shared).fails(404, "not_found")
	dev.post(s.shared+"/stop", nil).fails(404, "not_found")
	dev.get("/port-forwards"+s.query).fails(403, "forbidden")
	dev.get(s.path("")).fails(404, "not_found")
	dev.get("/servers/site").is(200) // his own of that name
	if n := len(dev.get("/teams/my").list()); n != 0 {
		s.t.Errorf("he is in %d teams", n)
	}
	if err := target.EchoMore(stream, small); err != nil {
		s.t.Errorf("what was open when he left: %v", err)
	}
	s.flows(s.address)
	closed(s.t, ownAddress)
	c.has(c.user.get(s.own).is(200), object{"status": "inactive", "desired": "inactive", "tunnelId": nil})
	c.user.post(s.own+"/start", nil).fails(400, "server_missing")
}

// survives: what is so before a crash is so after it.
func (s *story) survives() {
	s.t.Helper()
	others := []*person{s.newcomer}
	s.restarted(s.kill, others)
	s.crowd.user.reaches(s.shared, "active", restoreLimit)
	s.flows(s.address)
	s.crowd.developer.get(s.shared).fails(404, "not_found")
	s.crowd.user.post(s.own+"/start", nil).fails(400, "server_missing")
	s.newcomer.get(s.path("")).is(200)
}

// ends: the owner changes the code and dissolves the team.
func (s *story) ends() {
	c := s.crowd
	fresh := c.owner.post(s.path("/invite-code"), nil).is(201)["inviteCode"].(string)
	if fresh == s.code || len(fresh) != 8 {
		s.t.Errorf("the new code is %q", fresh)
	}
	c.outsider.post("/teams/join", object{"inviteCode": s.code}).fails(404, "not_found")
	c.outsider.post("/teams/join", object{"inviteCode": fresh}).is(201)

	c.owner.delete(s.path("")).is(200)
	closed(s.t, s.address)
	for _, p := range []*person{c.owner, c.user, s.newcomer, c.outsider} {
		p.get(s.path("")).fails(404, "not_found")
		p.get(s.shared).fails(404, "not_found")
		p.get("/port-forwards"+s.query).fails(403, "forbidden")
		p.get("/keys/key").fails(404, "not_found")
		if n := len(p.get("/teams/my").list()); n != 0 {
			s.t.Errorf("%s is in %d teams", p.name, n)
		}
	}
	c.outsider.post("/teams/join", object{"inviteCode": fresh}).fails(404, "not_found")
	newTeam(c.outsider, "burrow") // the name is free
	s.restarted(s.kill, []*person{s.newcomer})
	closed(s.t, s.address)
	c.owner.get(s.shared).fails(404, "not_found")
	c.stop()
	if strings.Contains(string(c.database()), s.sshd.User+"@burrow") {
		s.t.Error("the team's rows are still in the database's file")
	}
}

func TestATeamsLifeFromItsFirstMemberToItsEnd(t *testing.T) {
	t.Parallel()
	s := &story{crowd: newCrowd(t, "--registration", "invite"), sshd: sshd.Start(t), target: target.Start(t)}
	s.begins()
	s.works()
	s.leaves()
	s.survives()
	s.ends()
}
