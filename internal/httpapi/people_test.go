package httpapi_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
)

// person is somebody who calls the API with a token.
type person struct {
	f     *fixture
	id    string // of the account
	email string
	token string // empty for nobody
}

// operator is who registered first.
func (f *fixture) operator() person {
	f.t.Helper()
	user := f.get("/auth/validate").is(200)["user"].(object)
	return person{f, user["id"].(string), email, f.token}
}

// person makes an account behind the API's back and logs it in.
func (f *fixture) person(name string) person {
	f.t.Helper()
	p := f.account(name)
	p.token = f.session(p.id, p.email)
	return p
}

// account makes an account that has no session.
func (f *fixture) account(name string) person {
	f.t.Helper()
	hash, err := f.hasher.Hash(f.t.Context(), redact.New(password))
	if err != nil {
		f.t.Fatal(err)
	}
	user := store.User{
		ID: newID(), Email: name + "@example.com", Username: name, PasswordHash: hash, Role: store.Member,
		CreatedAt: present(), UpdatedAt: present(),
	}
	f.write(func(tx *store.Tx) error { return tx.CreateUser(f.t.Context(), user) })
	return person{f, user.ID, user.Email, ""}
}

// session makes a token of a session for an account.
func (f *fixture) session(userID, email string) string {
	f.t.Helper()
	token, claims, err := f.tokens.Issue(userID, email)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(func(tx *store.Tx) error {
		return tx.CreateSession(f.t.Context(), store.Session{
			ID: claims.SessionID, UserID: userID, CreatedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt,
		})
	})
	return token.Reveal()
}

// apiToken makes an API token for an account; change may alter it.
func (f *fixture) apiToken(userID, level, namespace string, change ...func(*store.APIToken)) (id, token string) {
	f.t.Helper()
	token = "adit_" + newID()
	hash := sha256.Sum256([]byte(token))
	t := store.APIToken{
		ID: newID(), UserID: userID, Name: level + " token", Level: level, Namespace: namespace, Hash: hash[:],
		CreatedAt: present(), ExpiresAt: present().Add(time.Hour),
	}
	for _, fn := range change {
		fn(&t)
	}
	f.write(func(tx *store.Tx) error { return tx.CreateAPIToken(f.t.Context(), t) })
	return t.ID, token
}

// team makes a team behind the API's back, and gives the ids of its
// memberships, the owner's first.
func (f *fixture) team(name string, owner person, others map[string]access.Role) (team store.Team, members map[string]string) {
	f.t.Helper()
	team = store.Team{
		ID: newID(), Name: name, OwnerID: owner.id, InviteCode: strings.ToUpper(newID()[28:]), CreatedAt: present(), UpdatedAt: present(),
	}
	f.write(func(tx *store.Tx) error { return tx.CreateTeam(f.t.Context(), team) })
	members = map[string]string{owner.id: f.joins(team.ID, owner.id, access.Owner)}
	for id, role := range others {
		members[id] = f.joins(team.ID, id, role)
	}
	return team, members
}

// joins makes somebody a member.
func (f *fixture) joins(teamID, userID string, role access.Role) (membership string) {
	f.t.Helper()
	m := store.Membership{ID: newID(), TeamID: teamID, UserID: userID, Role: role, CreatedAt: present()}
	f.write(func(tx *store.Tx) error { return tx.AddMember(f.t.Context(), m) })
	return m.ID
}

func (f *fixture) write(fn func(*store.Tx) error) {
	f.t.Helper()
	if err := f.store.Write(f.t.Context(), fn); err != nil {
		f.t.Fatal(err)
	}
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func present() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// with is the same person with another token.
func (p person) with(token string) person { p.token = token; return p }

// request is one call of his, to be changed before it is sent.
func (p person) request(method, target string, body any) *http.Request {
	p.f.t.Helper()
	r := p.f.request(method, target, textOf(p.f.t, body))
	r.Header.Del("Authorization")
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	return r
}

func (p person) call(method, target string, body any) answer {
	p.f.t.Helper()
	return p.f.send(p.request(method, target, body))
}

func (p person) get(target string) answer { p.f.t.Helper(); return p.call("GET", target, nil) }
func (p person) post(target string, body any) answer {
	p.f.t.Helper()
	return p.call("POST", target, body)
}

func (p person) patch(target string, body any) answer {
	p.f.t.Helper()
	return p.call("PATCH", target, body)
}

func (p person) put(target string, body any) answer {
	p.f.t.Helper()
	return p.call("PUT", target, body)
}
func (p person) delete(target string) answer { p.f.t.Helper(); return p.call("DELETE", target, nil) }

// textOf is a JSON text as it is, or of a value.
func textOf(t *testing.T, body any) string {
	t.Helper()
	switch b := body.(type) {
	case nil:
		return ""
	case string:
		return b
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// stored is all that is stored for these people and teams, the audit aside, as
// a text to be compared.
func (f *fixture) stored(teams ...string) string {
	f.t.Helper()
	ctx := f.t.Context()
	var all strings.Builder
	add := func(what string, value any, err error) {
		if err != nil {
			f.t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s: %+v\n", what, value)
	}
	err := f.store.Read(ctx, func(r *store.Reader) error {
		users, err := r.Users(ctx, store.Page{})
		add("users", users, err)
		var scopes []access.Scope
		for _, u := range users {
			fmt.Fprintln(&all, u.PasswordHash.Reveal())
			tokens, err := r.APITokens(ctx, u.ID, time.Time{})
			for i := range tokens {
				tokens[i].LastUsedAt = time.Time{} // it changes with every use
			}
			add("tokens", tokens, err)
			in, err := r.TeamsOf(ctx, u.ID)
			add("teams", in, err)
			scopes = append(scopes, access.Personal(u.ID))
		}
		for _, id := range teams {
			members, err := r.Members(ctx, id)
			add("members", members, err)
			scopes = append(scopes, access.Team(id))
		}
		for _, scope := range scopes {
			servers, err := r.Servers(ctx, scope, store.Page{})
			add("servers", servers, err)
			keys, err := r.Keys(ctx, scope, store.Page{})
			add("keys", keys, err)
			forwards, err := r.Forwards(ctx, scope, store.Page{})
			add("forwards", forwards, err)
			hosts, err := r.HostKeys(ctx, scope)
			add("host keys", hosts, err)
		}
		settings, _ := r.Meta(ctx, "settings")
		add("settings", settings, nil)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return all.String()
}
