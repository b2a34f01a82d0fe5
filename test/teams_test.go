package test

import "testing"

// Rows of one team do not get into another, even for who owns both.
func TestATeamsRowsAreNamedInThatTeamAlone(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	one, two := newTeam(c.owner, "burrow"), newTeam(c.owner, "warren")
	theirs := c.owner.furnishWith(one.query, "pw-of-burrow")
	for _, query := range []string{two.query, ""} {
		c.owner.tryReferences(query, theirs)
		path := c.owner.add(query, object{"name": "f", "type": "local"})
		c.owner.patch(path, object{"serverId": theirs.server}).fails(400, "bad_request")
		c.owner.patch(path, object{"serverId": "lservers"}).fails(400, "bad_request")
		c.has(c.owner.get(path).is(200), object{"serverId": nil, "name": "f"})
	}
	own := c.owner.post("/servers", serverRow("mine")).is(201)
	for _, ref := range []string{"mine", own["id"].(string)} { // one's own may be used in a team, and is echoed as it was sent
		row := c.owner.post("/port-forwards"+two.query, object{"name": "f", "type": "local", "serverId": ref}).is(201)
		c.has(row, object{"serverId": ref, "namespace": two.id, "dataType": "team"})
	}

	// A localId that means rows of two teams means none; one's own comes first.
	c.owner.get("/servers/lservers").is(200)
	c.owner.furnishWith(two.query, "pw-of-warren")
	for _, path := range []string{"/servers/lservers", "/keys/lkeys", "/port-forwards/lport-forwards"} {
		c.owner.get(path).fails(404, "not_found")
		c.owner.delete(path).fails(404, "not_found")
	}
	mine := c.owner.furnishWith("", "pw-of-her-own")
	c.has(c.owner.get("/servers/lservers").is(200), object{"id": mine.server, "namespace": nil})
	c.has(c.owner.get("/servers/"+theirs.server).is(200), object{"localId": "lservers", "namespace": one.id})
	c.has(c.owner.post("/servers"+two.query, serverRow("lservers")).is(409), object{"code": "conflict"})
}

func TestAMemberMayLeaveAndTheOwnerStays(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	ownersRow := ""
	for _, m := range c.owner.get(made.path("/members")).list() {
		if m["role"] == "owner" {
			ownersRow = made.path("/members/" + m["id"].(string))
		}
	}
	for _, p := range []*person{c.owner, c.developer, c.user} {
		p.delete(ownersRow).fails(403, "forbidden")
		p.patch(ownersRow, object{"role": "user"}).fails(403, "forbidden")
	}
	c.user.delete(made.path("/members/"+made.members[c.developer])).fails(403, "forbidden")
	c.user.delete(made.path("/members/" + made.members[c.user])).is(200)
	c.user.get(made.path("")).fails(404, "not_found")
	c.user.delete(made.path("/members/"+made.members[c.user])).fails(404, "not_found")
	c.user.post("/teams/join", object{"inviteCode": made.code}).is(201) // and come back
	c.has(c.owner.get(made.path("")).is(200), object{"name": "burrow", "ownerId": c.owner.id, "role": "owner", "inviteCode": made.code})
	if n := len(c.owner.get(made.path("")).is(200)["members"].([]any)); n != 3 {
		t.Errorf("%d members", n)
	}
}

// A key of a member's own opens a team's server while he is in the team.
func TestAKeyOfAMemberOpensTheTeamsServerWhileHeIsInIt(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := c.team("burrow")
	c.developer.post("/keys", object{"localId": "own", "name": "k", "type": "password", "password": "pw-of-a-key"}).is(201)
	c.developer.post("/servers"+made.query, with(serverRow("box"), object{"host": "127.0.0.1", "port": 1, "authType": "key", "keyId": "own"})).is(201)
	path := c.owner.add(made.query, object{"name": "f", "type": "local", "remotePort": 80, "serverId": "box"})
	c.user.post(path+"/start", nil).fails(502, "connect_refused") // so far it gets
	c.user.get("/keys/own").fails(404, "not_found")
	c.developer.delete(made.path("/members/" + made.members[c.developer])).is(200)
	c.user.post(path+"/start", nil).fails(400, "credentials_missing")
	c.developer.get("/keys/own").is(200)
}
