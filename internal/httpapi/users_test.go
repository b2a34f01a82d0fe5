package httpapi_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/redact"
)

func TestRegistrationAnswersAccountAndToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := f.registered()
	want := []string{"access_token", "createdAt", "email", "id", "token", "user", "username"}
	if keys := keysOf(got); !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
	instant(t, got["createdAt"])
	user := got["user"].(object)
	if got["token"] != got["access_token"] || got["email"] != email || got["username"] != "ada" || user["role"] != "admin" ||
		user["id"] != got["id"] || user["email"] != email || user["username"] != "ada" || len(user) != 4 {
		t.Errorf("answer %v", got)
	}
	if v := f.get("/auth/validate").is(200); v["valid"] != true || v["user"].(object)["id"] != got["id"] {
		t.Errorf("validate: %v", v)
	}
}

func TestATakenEmailIsToldWhateverItsCase(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	again := object{"email": strings.ToUpper(email), "username": "bob", "password": password}
	if m := f.post("/auth/register", again).fails(400, "bad_request"); m[0] != "Email already exists" {
		t.Errorf("message %q", m)
	}
}

func TestOnlyTheFirstAccountCanBeMade(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	other := object{"email": "bob@example.com", "username": "bob", "password": password}
	if m := f.post("/auth/register", other).fails(403, "forbidden"); m[0] != "Registration is closed" {
		t.Errorf("message %q", m)
	}
	other["inviteCode"] = "ABCD1234"
	f.post("/auth/register", other).fails(404, "not_found")
	other["inviteCode"] = ""
	f.post("/auth/register", other).fails(403, "forbidden")
}

func TestFirstRegistrationNeedsTheSetupCodeWhereThereIsOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *app.Options) { o.SetupCode = redact.New("let-me-in-please") })
	f.hide("let-me-in-please")
	in := object{"email": email, "username": "ada", "password": password}
	f.post("/auth/register", in).fails(403, "forbidden")
	in["setupCode"] = "let-me-in"
	f.post("/auth/register", in).fails(403, "forbidden")
	in["setupCode"] = "let-me-in-please"
	f.post("/auth/register", in).is(201)
}

func TestRegistrationTellsAllThatIsWrongAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := f.post("/auth/register", object{"email": "ada", "username": "ad", "password": "short", "role": "admin"}).fails(400, "invalid")
	want := []string{
		"property role should not exist", "email must be an email",
		"username must be longer than or equal to 3 characters", "password must be longer than or equal to 8 characters",
	}
	if !slices.Equal(got, want) {
		t.Errorf("messages %q", got)
	}
	got = f.post("/auth/register", nil).fails(400, "invalid")
	for _, field := range []string{"email", "username", "password"} {
		if !slices.Contains(got, field+" should not be empty") || !slices.Contains(got, field+" must be a string") {
			t.Errorf("%s: messages %q", field, got)
		}
	}
}

func TestLoginIgnoresTheCaseOfTheEmail(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	got := f.post("/auth/login", object{"email": strings.ToUpper(email), "password": password}).is(200)
	if keys := keysOf(got); !slices.Equal(keys, []string{"access_token", "token", "user"}) || got["token"] != got["access_token"] {
		t.Errorf("answer %v", got)
	}
	f.token = got["token"].(string)
	f.get("/auth/validate").is(200)
}

func TestLoginDoesNotSayWhatWasWrong(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	for _, in := range []object{
		{"email": email, "password": "not-the-password"},
		{"email": "nobody@example.com", "password": password},
	} {
		if m := f.post("/auth/login", in).fails(401, "unauthorized"); m[0] != "Invalid credentials" {
			t.Errorf("message %q", m)
		}
	}
}

func TestLogoutEndsOneTokenAndPasswordChangeAllOthers(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	login := func() string {
		return f.post("/auth/login", object{"email": email, "password": password}).is(200)["token"].(string)
	}
	first, second, third := f.token, login(), login()
	f.token = second
	f.post("/auth/logout", nil).is(200)
	f.get("/auth/validate").fails(401, "unauthorized")

	f.token = third
	changed := "another-long-password"
	f.hide(changed)
	f.post("/auth/password", object{"currentPassword": password, "newPassword": changed}).is(200)
	f.get("/auth/validate").is(200)
	f.token = first
	f.get("/auth/validate").fails(401, "unauthorized")
	f.post("/auth/login", object{"email": email, "password": password}).fails(401, "unauthorized")
	f.post("/auth/login", object{"email": email, "password": changed}).is(200)
}

func TestPasswordChangeNeedsTheCurrentOneAndALongOne(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	f.hide("wrong-password-here", "tiny-pw")
	got := f.post("/auth/password", object{"currentPassword": "wrong-password-here", "newPassword": "long-enough-now"}).fails(400, "invalid")
	if !slices.Equal(got, []string{"currentPassword is wrong"}) {
		t.Errorf("messages %q", got)
	}
	got = f.post("/auth/password", object{"currentPassword": password, "newPassword": "tiny-pw"}).fails(400, "invalid")
	if !slices.Equal(got, []string{"newPassword must be longer than or equal to 8 characters"}) {
		t.Errorf("messages %q", got)
	}
}

func keysOf(o object) []string {
	var keys []string
	for k := range o {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A page whose name was made to point to this machine must not become its operator.
func TestTheFirstAccountIsNotRegisteredByAName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := `{"email":"ada@example.org","username":"ada","password":"` + password + `"}`
	register := func(host string) answer {
		r := f.request("POST", "/auth/register", body)
		r.Host = host
		return f.send(r)
	}
	for _, host := range []string{"evil.example.org", "evil.example.org:3000", "localhost.evil.example.org:3000", "127.0.0.1.evil.example.org", ""} {
		register(host).fails(403, "forbidden")
	}
	register("[::1]:3000").is(201)
	body = `{"email":"bob@example.org","username":"bob","password":"` + password + `"}`
	if got := register("adit.example.org").fails(403, "forbidden"); got[0] != "Registration is closed" {
		t.Errorf("%q", got)
	}
}
