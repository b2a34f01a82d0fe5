package client_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/client"
	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/server"
)

const apiKey, password = "k3y-of-the-relay", "correct horse battery"

// calls notes the requests that go through it.
type calls struct {
	mu   sync.Mutex // guards below
	made []string   // method and path
}

func (c *calls) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.made = append(c.made, r.Method+" "+r.URL.EscapedPath())
	c.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

// start runs an adit, and gives clients of both its APIs.
func start(t *testing.T, noted *calls) (*client.Client, *client.Relay, string) {
	t.Helper()
	cfg, err := config.Load(config.Input{
		Flags: map[string][]string{
			"data": {t.TempDir()}, "listen": {"127.0.0.1:0"}, "relay-listen": {"127.0.0.1:0"}, "api-key": {apiKey},
			"registration": {"open"}, "drain": {"0s"},
		},
		Env: func(string) string { return "" },
	})
	must(t, err)
	s, err := server.Open(t.Context(), cfg, slog.New(slog.DiscardHandler), io.Discard)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Serve(ctx, func() error { close(ready); return nil }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	through := &http.Client{Transport: noted, Timeout: time.Minute}
	c, err := client.New(s.URL(), through)
	must(t, err)
	r, err := client.NewRelay(strings.Replace(s.RelayURL(), "ws://", "http://", 1), apiKey, through)
	must(t, err)
	return c, r, s.URL()
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// wants the refusal of a call to have this code.
func wantCode(t *testing.T, code api.Code, err error) {
	t.Helper()
	if !client.IsCode(err, code) {
		t.Errorf("%v, want the code %s", err, code)
	}
}

func newKey(t *testing.T) api.Secret {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	return api.Secret(pem.EncodeToMemory(block))
}

func TestTheClientCoversEveryOperation(t *testing.T) {
	t.Parallel()
	noted := new(calls)
	c, relay, base := start(t, noted)
	ctx := t.Context()

	_, err := c.Health(ctx)
	must(t, err)
	ann, err := c.Register(ctx, api.Registration{Email: "ann@example.org", Username: "ann", Password: password})
	must(t, err)
	bob, err := c.Register(ctx, api.Registration{Email: "bob@example.org", Username: "bob", Password: password})
	must(t, err)
	session, err := c.Login(ctx, api.Credentials{Email: "ann@example.org", Password: password})
	must(t, err)
	c, asBob := c.WithToken(session.Token), c.WithToken(bob.Token)
	if who, err := c.Validate(ctx); err != nil || who.User.ID != ann.ID {
		t.Errorf("%+v, %v", who, err)
	}

	rows(t, c)
	forwards(t, c)
	teams(t, c, asBob, bob.ID)
	account(t, c, asBob, bob.ID)
	relayTokens(t, relay)

	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	answer, err := http.Get(base + "/openapi.json")
	must(t, err)
	defer answer.Body.Close()
	must(t, json.NewDecoder(answer.Body).Decode(&document))
	if len(document.Paths) < 30 {
		t.Fatalf("only %d paths", len(document.Paths))
	}
	parameter := regexp.MustCompile(`\\\{[a-zA-Z]+\\\}`)
	for path, item := range document.Paths {
		for method, text := range item {
			var op struct {
				OperationID string `json:"operationId"`
			}
			_ = json.Unmarshal(text, &op) // what is no operation is no object
			if op.OperationID == "" || slices.Contains(notCalled, op.OperationID) || strings.HasSuffix(op.OperationID, "-2") {
				continue // not an operation, or another spelling of one
			}
			pattern := regexp.MustCompile("^" + strings.ToUpper(method) + " " + parameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$")
			if !slices.ContainsFunc(noted.made, pattern.MatchString) {
				t.Errorf("the client has nothing for %s (%s %s)", op.OperationID, method, path)
			}
		}
	}
}

// notCalled are not for programs, or another way to do the same.
var notCalled = []string{"get-openapi", "get-docs", "get-relay-metrics", "remove-relay-token"}

func rows(t *testing.T, c *client.Client) {
	ctx := t.Context()
	key, err := c.CreateKey(ctx, "", api.KeyInput{Name: api.Some("k"), Type: api.Some("ed25519"), PrivateKey: api.Some(newKey(t))})
	must(t, err)
	web, err := c.CreateServer(ctx, "", api.ServerInput{
		LocalID: api.Some("a/b c"), Name: api.Some("web"), Host: api.Some("127.0.0.1"), Port: api.Some(1),
		Username: api.Some("u"), AuthType: api.Some("key"), KeyID: api.Some(key.ID),
	})
	must(t, err)
	if again, err := c.Server(ctx, "a/b c"); err != nil || again.ID != web.ID {
		t.Errorf("%+v, %v", again, err)
	}
	renamed, err := c.UpdateServer(ctx, web.ID, api.ServerInput{Name: api.Some("www")})
	if err != nil || renamed.Name != "www" || renamed.Host != "127.0.0.1" {
		t.Errorf("%+v, %v", renamed, err)
	}
	synced, err := c.SyncServers(ctx, "", []api.ServerInput{{Name: api.Some("incomplete")}})
	if err != nil || synced.SyncedCount != 0 || len(synced.Errors) != 1 {
		t.Errorf("%+v, %v", synced, err)
	}
	if list, err := c.Servers(ctx, "", client.Page{Number: 2, Limit: 1}); err != nil || list.Total != 1 || len(list.Rows) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	_, err = c.AcceptServerHostKey(ctx, web.ID, "nonsense")
	if err == nil {
		t.Error("a nonsense host key was accepted")
	}
	_, err = c.ForgetServerHostKey(ctx, web.ID)
	must(t, err)
	if _, err = c.Key(ctx, key.ID); err != nil {
		t.Error(err)
	}
	_, err = c.UpdateKey(ctx, key.ID, api.KeyInput{Description: api.Some("d")})
	must(t, err)
	_, err = c.SyncKeys(ctx, "", []api.KeyInput{{Name: api.Some("p"), Type: api.Some("password"), Passphrase: api.Some(api.Secret("s3cret"))}})
	must(t, err)
	if list, err := c.Keys(ctx, "", client.Page{}); err != nil || list.Total != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	must(t, c.DeleteServer(ctx, web.ID), c.DeleteKey(ctx, key.ID))
	wantCode(t, api.CodeNotFound, c.DeleteKey(ctx, key.ID))
}

func forwards(t *testing.T, c *client.Client) {
	ctx := t.Context()
	f, err := c.CreateForward(ctx, "", api.ForwardInput{
		Name: api.Some("f"), Type: api.Some("local"), RemotePort: api.Some(80), ServerAddress: api.Some("127.0.0.1:1"),
		Username: api.Some("u"), Password: api.Some(api.Secret("p4ss")),
	})
	must(t, err)
	_, err = c.StartForward(ctx, f.ID)
	wantCode(t, api.CodeConnectRefused, err)
	_, err = c.StopForward(ctx, f.ID)
	must(t, err)
	status, err := c.ForwardStatus(ctx, f.ID)
	if err != nil || status.IsActive || status.LastError == nil {
		t.Errorf("%+v, %v", status, err)
	}
	_, err = c.UpdateForward(ctx, f.ID, api.ForwardInput{Name: api.Some("g")})
	must(t, err)
	if one, err := c.Forward(ctx, f.ID); err != nil || one.Name != "g" {
		t.Errorf("%+v, %v", one, err)
	}
	_, err = c.SyncForwards(ctx, "", []api.ForwardInput{{Name: api.Some("h"), Type: api.Some("dynamic")}})
	must(t, err)
	if list, err := c.Forwards(ctx, "", api.StatusInactive, client.Page{Limit: 1}); err != nil || list.Total != 2 || len(list.Rows) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err = c.AcceptForwardHostKey(ctx, f.ID, "nonsense"); err == nil {
		t.Error("a nonsense host key was accepted")
	}
	_, err = c.ForgetForwardHostKey(ctx, f.ID)
	must(t, err)
	must(t, c.DeleteForward(ctx, f.ID, true))
	_, err = c.CreateForward(ctx, "", api.ForwardInput{Name: api.Some("x")})
	var told *api.Error
	if !errors.As(err, &told) || told.Code != api.CodeInvalid || len(told.Details) == 0 {
		t.Errorf("%v", err)
	}
}

func teams(t *testing.T, c, asBob *client.Client, bobID string) {
	ctx := t.Context()
	team, err := c.CreateTeam(ctx, api.TeamInput{Name: "builders"})
	must(t, err)
	if mine, err := c.Teams(ctx); err != nil || len(mine) != 1 || mine[0].Role != api.TeamOwner {
		t.Errorf("%+v, %v", mine, err)
	}
	code, err := c.RotateInviteCode(ctx, team.ID)
	must(t, err)
	_, err = asBob.JoinTeam(ctx, api.JoinInput{InviteCode: *team.InviteCode})
	wantCode(t, api.CodeNotFound, err)
	joined, err := asBob.JoinTeam(ctx, api.JoinInput(code))
	must(t, err)
	_, err = c.AddMember(ctx, team.ID, api.MemberInput{UserID: api.Some(bobID), Role: api.TeamUser})
	wantCode(t, api.CodeConflict, err)
	if m, err := c.SetMemberRole(ctx, team.ID, joined.ID, api.RoleInput{Role: api.TeamDeveloper}); err != nil || m.Role != api.TeamDeveloper {
		t.Errorf("%+v, %v", m, err)
	}
	_, err = asBob.CreateForward(ctx, client.In(team.ID), api.ForwardInput{Name: api.Some("f"), Type: api.Some("dynamic")})
	must(t, err)
	if members, err := c.Members(ctx, team.ID); err != nil || len(members) != 2 {
		t.Errorf("%+v, %v", members, err)
	}
	if whole, err := c.Team(ctx, team.ID); err != nil || len(whole.Members) != 2 {
		t.Errorf("%+v, %v", whole, err)
	}
	if data, err := c.TeamData(ctx, team.ID); err != nil || len(data.PortForwards) != 1 || data.Team.ID != team.ID {
		t.Errorf("%+v, %v", data, err)
	}
	if data, err := c.PersonalData(ctx); err != nil || len(data.PortForwards) != 1 {
		t.Errorf("%+v, %v", data, err)
	}
	_, err = c.PersonalServers(ctx)
	must(t, err, c.RemoveMember(ctx, team.ID, joined.ID), c.DissolveTeam(ctx, team.ID))
}

func account(t *testing.T, c, asBob *client.Client, bobID string) {
	ctx := t.Context()
	token, err := c.CreateToken(ctx, api.TokenInput{Name: "ci", Scope: api.ScopeRead})
	must(t, err)
	_, err = c.WithToken(token.Secret).CreateTeam(ctx, api.TeamInput{Name: "no"})
	wantCode(t, api.CodeForbidden, err)
	if tokens, err := c.Tokens(ctx); err != nil || len(tokens) != 1 || tokens[0].ID != token.ID {
		t.Errorf("%+v, %v", tokens, err)
	}
	must(t, c.DeleteToken(ctx, token.ID))
	_, err = c.WithToken(token.Secret).Validate(ctx)
	wantCode(t, api.CodeUnauthorized, err)

	settings, err := c.Settings(ctx)
	must(t, err)
	settings.MaxForwardsPerUser = api.Some(0)
	_, err = c.SetSettings(ctx, settings)
	must(t, err)
	_, err = asBob.CreateForward(ctx, "", api.ForwardInput{Name: api.Some("f"), Type: api.Some("dynamic")})
	wantCode(t, api.CodeLimitReached, err)
	if users, err := c.Users(ctx, client.Page{Limit: 1}); err != nil || users.Total != 2 || len(users.Rows) != 1 {
		t.Errorf("%+v, %v", users, err)
	}
	_, err = c.UpdateUser(ctx, bobID, api.AccountInput{Disabled: api.Some(true)})
	must(t, err)
	_, err = asBob.Validate(ctx)
	wantCode(t, api.CodeUnauthorized, err)
	done, err := c.Audit(ctx, client.AuditQuery{
		ObjectID: bobID, Action: "update-user", From: time.Now().Add(-time.Hour), Before: time.Now().Add(time.Hour), Page: client.Page{Limit: 5},
	})
	if err != nil || len(done.Rows) != 1 || done.Total != 1 || done.Rows[0].Result != api.ResultOK {
		t.Errorf("%+v, %v", done, err)
	}
	must(t, c.ChangePassword(ctx, api.PasswordChange{CurrentPassword: password, NewPassword: "another " + password}))
	must(t, c.Logout(ctx))
	_, err = c.Validate(ctx)
	wantCode(t, api.CodeUnauthorized, err)
}

func relayTokens(t *testing.T, r *client.Relay) {
	ctx := t.Context()
	added, err := r.Add(ctx, api.RelayTokenInput{Kind: api.RelayForward})
	must(t, err)
	if state, err := r.Status(ctx, false); err != nil || len(state.Tokens) != 1 || state.Tokens[0].Token != added.Token {
		t.Errorf("%+v, %v", state, err)
	}
	if state, err := r.Status(ctx, true); err != nil || state.Tokens[0].Token == added.Token {
		t.Errorf("%+v, %v", state, err)
	}
	must(t, r.Remove(ctx, added.Token))
	var refused *client.RelayError
	if err := r.Remove(ctx, added.Token); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("%v", err)
	}
}

func TestAnAnswerThatIsNotAditsIsToldAsThat(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>the cellar is flooded</html>", http.StatusBadGateway)
	}))
	defer proxy.Close()
	c, err := client.New(proxy.URL, nil)
	must(t, err)
	_, err = c.Health(t.Context())
	var status *client.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusBadGateway {
		t.Errorf("%v", err)
	}
}

func TestOnlyURLsOfServersAreTaken(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "localhost:3000", "ftp://h", "http://", "http://h?x=1", "http://h#x", "http://h:port"} {
		if _, err := client.New(base, nil); err == nil {
			t.Errorf("%q", base)
		}
	}
	if _, err := client.New("https://h/behind/a/proxy/", nil); err != nil {
		t.Error(err)
	}
}
