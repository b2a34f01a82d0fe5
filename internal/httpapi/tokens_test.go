package httpapi_test

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/testx/postgres"
)

func TestAnAPITokenIsShownOnceAndKeptHashed(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	made := ada.post("/auth/tokens", object{"name": "ci", "scope": "manage", "expiresInDays": 7}).is(201)
	demandKeys(t, made, "id", "name", "scope", "namespace", "createdAt", "expiresAt", "lastUsedAt", "token")
	has(t, made, object{"name": "ci", "scope": "manage", "namespace": nil, "lastUsedAt": nil})
	token := made["token"].(string)
	created, _ := time.Parse(time.RFC3339, made["createdAt"].(string))
	expires, _ := time.Parse(time.RFC3339, made["expiresAt"].(string))
	if !strings.HasPrefix(token, "adit_") || len(token) < 40 || !expires.Equal(created.AddDate(0, 0, 7)) {
		t.Errorf("token %v", made)
	}
	by := ada.with(token)
	has(t, by.get("/auth/validate").is(200)["user"].(object), object{"id": ada.id})
	listed := ada.get("/auth/tokens")
	for limit := time.Now().Add(10 * time.Second); listed.list()[0]["lastUsedAt"] == nil && time.Now().Before(limit); {
		listed = ada.get("/auth/tokens") // it is recorded beside the answer
	}
	if row := listed.list()[0]; row["id"] != made["id"] || row["lastUsedAt"] == nil || row["token"] != nil {
		t.Errorf("%s", listed.raw)
	}
	if strings.Contains(listed.raw, token) {
		t.Error("the token is shown again")
	}
	tokens, err := f.store.APITokens(t.Context(), ada.id, time.Now())
	if err != nil || len(tokens) != 1 {
		t.Fatal(tokens, err)
	}
	if kept := fmt.Sprintf("%+v", tokens[0]); strings.Contains(kept, token) || len(tokens[0].Hash) != 32 || bytes.Contains([]byte(token), tokens[0].Hash) {
		t.Errorf("kept as %s", kept)
	}
	f.hide(strings.TrimPrefix(token, "adit_")[5:]) // and never logged
	f.mu.Lock()
	f.shown.Reset()
	f.mu.Unlock()
	by.get("/servers").list()

	for _, body := range []object{
		{"name": "x"},
		{"scope": "read"},
		{"name": "x", "scope": "all"},
		{"name": "x", "scope": "read", "expiresInDays": 0},
		{"name": "x", "scope": "read", "expiresInDays": 3651},
	} {
		ada.post("/auth/tokens", body).fails(400, "invalid")
	}
	ada.post("/auth/tokens", object{"name": "x", "scope": "read", "namespace": newID()}).fails(403, "forbidden")
	ada.delete("/auth/tokens/"+newID()).fails(404, "not_found")
	ada.delete("/auth/tokens/" + made["id"].(string)).is(200)
	by.get("/auth/validate").fails(401, "unauthorized")
	ada.delete("/auth/tokens/"+made["id"].(string)).fails(404, "not_found")
}

func TestAnAPITokenMayNeitherChangeThePasswordNorMakeTokens(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	id, token := f.apiToken(ada.id, "manage", "")
	by := ada.with(token)
	by.post("/auth/password", object{"currentPassword": password, "newPassword": "another-long-password"}).fails(403, "forbidden")
	by.post("/auth/tokens", object{"name": "x", "scope": "read"}).fails(403, "forbidden")
	by.get("/auth/tokens").fails(403, "forbidden")
	by.delete("/auth/tokens/"+id).fails(403, "forbidden")
	by.post("/auth/logout", nil).is(200)
	by.get("/auth/validate").fails(401, "unauthorized")
	ada.get("/auth/validate").is(200)
}

func TestATokenOfOneTeamIsGoodForThatTeamOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.owner.post("/auth/tokens", object{"name": "t", "scope": "manage", "namespace": w.team.ID}).is(201)
	has(t, made, object{"namespace": w.team.ID})
	by := w.owner.with(made["token"].(string))
	by.post("/servers?namespace="+w.team.ID, newServerBody()).is(201)
	by.post("/servers", newServerBody()).fails(403, "forbidden")
	by.get("/servers?namespace="+w.other.ID).fails(403, "forbidden")
	by.get("/teams/"+w.other.ID).fails(404, "not_found")
	by.get("/port-forwards/"+w.rows[access.Personal(w.owner.id)]["port-forwards"].id).fails(404, "not_found")
	by.post("/teams/create", object{"name": "mine"}).fails(403, "forbidden")
	by.get("/data/personal").fails(403, "forbidden")
	if teams := by.get("/teams/my").list(); len(teams) != 1 || teams[0]["id"] != w.team.ID {
		t.Errorf("teams %v", teams)
	}
	// It ends with the membership, and does not come back with it.
	made = w.developer.post("/auth/tokens", object{"name": "t", "scope": "read", "namespace": w.team.ID}).is(201)
	w.owner.delete("/teams/" + w.team.ID + "/members/" + w.places[w.developer.id]).is(200)
	w.joins(w.team.ID, w.developer.id, access.Developer)
	w.developer.with(made["token"].(string)).get("/auth/validate").fails(401, "unauthorized")
}

// Who looks for his role when it is the token that is in the way looks in vain.
func TestARefusalSaysThatTheTokenIsInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := "?namespace=" + w.team.ID
	server := "/servers/" + w.owner.post("/servers"+in, newServerBody()).is(201)["id"].(string)
	token := func(of person, scope, team string) person {
		_, token := w.apiToken(of.id, scope, team)
		return of.with(token)
	}
	tooLittle, elsewhere := `This API token's scope "read" does not allow this`, "This API token is for the team "+w.team.ID+" alone"
	notHis := "Your role in the team does not allow this"
	for name, got := range map[string]struct {
		answer answer
		want   string
	}{
		"a row":             {token(w.owner, "read", "").patch(server, object{"name": "x"}), tooLittle},
		"a new row":         {token(w.owner, "read", w.team.ID).post("/servers"+in, newServerBody()), tooLittle},
		"a team":            {token(w.owner, "read", "").post("/teams/"+w.team.ID+"/invite-code", nil), tooLittle},
		"the users":         {token(w.admin, "read", "").patch("/users/"+w.member.id, object{"disabled": true}), tooLittle},
		"one's own rows":    {token(w.owner, "read", w.team.ID).get("/servers"), elsewhere},
		"the installation":  {token(w.admin, "manage", w.team.ID).get("/users"), elsewhere},
		"the team's audit":  {token(w.owner, "read", w.team.ID).get("/audit"), "You may not read this audit"},
		"a user's row":      {w.member.patch(server, object{"name": "x"}), notHis},
		"a user with token": {token(w.member, "read", "").patch(server, object{"name": "x"}), notHis},
	} {
		if said := got.answer.fails(403, "forbidden"); said[0] != got.want {
			t.Errorf("%s: %s, want %s", name, said, got.want)
		}
	}
}

func TestAnAPITokenExpires(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	_, old := f.apiToken(ada.id, "manage", "", func(t *store.APIToken) { t.ExpiresAt = present().Add(-time.Millisecond) })
	_, young := f.apiToken(ada.id, "manage", "", func(t *store.APIToken) { t.ExpiresAt = present().Add(time.Minute) })
	ada.with(old).get("/auth/validate").fails(401, "unauthorized")
	ada.with(young).get("/auth/validate").is(200)
	if list := ada.get("/auth/tokens").list(); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

func TestAUserHasAHundredTokensAtMost(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	for range 100 {
		f.apiToken(ada.id, "read", "")
	}
	if m := ada.post("/auth/tokens", object{"name": "x", "scope": "read"}).fails(403, "limit_reached"); !strings.Contains(m[0], "100") {
		t.Errorf("%q", m)
	}
}

// Ten failures of one account, and not even the right password is looked at.
func TestGuessingAPasswordIsSlowed(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	bob := f.person("bob")
	login := func(email, password string) answer {
		return person{f: f}.post("/auth/login", object{"email": email, "password": password})
	}
	change := func(current string) answer {
		return bob.post("/auth/password", object{"currentPassword": current, "newPassword": "another-long-password"})
	}
	for i := range 5 {
		login(strings.ToUpper(bob.email), "wrong-passw0rd").fails(401, "unauthorized")
		if m := change("wrong-passw0rd").fails(400, "invalid"); m[0] != "currentPassword is wrong" {
			t.Errorf("%d: %q", i, m)
		}
	}
	for _, got := range []answer{login(bob.email, password), change(password)} {
		got.fails(429, "too_many_requests")
		if wait, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || wait < 1 || wait > 15*60 {
			t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
		}
	}
	login(email, password).is(200)
	bob.get("/auth/validate").is(200)
	for range 10 {
		login("nobody@example.com", "wrong-passw0rd").fails(401, "unauthorized")
	}
	login("nobody@example.com", password).fails(429, "too_many_requests")
	login(email, password).is(200)
}

func TestANewPasswordEndsAllOtherSessionsAndTokens(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	bob := f.person("bob")
	_, token := f.apiToken(bob.id, "read", "")
	other, mine := bob.with(f.session(bob.id, bob.email)), f.operator()
	bob.post("/auth/password", object{"currentPassword": password, "newPassword": "another-long-password"}).is(200)
	bob.get("/auth/validate").is(200)
	mine.get("/auth/validate").is(200)
	other.get("/auth/validate").fails(401, "unauthorized")
	bob.with(token).get("/auth/validate").fails(401, "unauthorized")
	bob.post("/auth/login", object{"email": bob.email, "password": password}).fails(401, "unauthorized")
	bob.post("/auth/login", object{"email": bob.email, "password": "another-long-password"}).is(200)
}

// A login that began before the password was changed is no way around that.
func TestALoginThatAPasswordChangeOvertakesFails(t *testing.T) {
	t.Parallel()
	for _, change := range []string{"password_hash = '-'", "disabled = TRUE"} {
		f := signedUp(t)
		bob := f.person("bob")
		f.write(func(tx *store.Tx) error {
			return tx.CreateSession(t.Context(), store.Session{
				ID: newID(), UserID: bob.id, CreatedAt: present().Add(-time.Hour), ExpiresAt: present().Add(-time.Minute),
			})
		})
		// A login takes out the sessions that have ended: after it has looked at
		// the password, and before it adds its own.
		f.trigger("AFTER DELETE ON sessions", "UPDATE users SET "+change, "")
		person{f: f}.post("/auth/login", object{"email": bob.email, "password": password}).fails(401, "unauthorized")
	}
}

// trigger makes the database do something by itself: what it does is one
// statement, or on PostgreSQL another one where that is given.
func (f *fixture) trigger(when, do, onPostgres string) {
	f.t.Helper()
	if !postgres.Wanted() {
		f.execute("CREATE TRIGGER done " + when + " BEGIN " + do + "; END")
		return
	}
	f.execute("CREATE FUNCTION done() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + cmp.Or(onPostgres, do) + "; RETURN NULL; END $$;" +
		"CREATE TRIGGER done " + when + " FOR EACH ROW EXECUTE FUNCTION done()")
}
