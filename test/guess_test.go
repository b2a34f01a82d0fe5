package test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

// window is how long a wrong guess counts, in seconds.
const window = 15 * 60

// slowed demands 429 and that it says how long to wait.
func slowed(t *testing.T, a answer, header http.Header) {
	t.Helper()
	a.fails(429, "too_many_requests")
	wait, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || wait < window-120 || wait > window {
		t.Errorf("Retry-After: %q", header.Get("Retry-After"))
	}
}

func TestGuessingAPasswordIsSlowedForThatAccountAlone(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	try := func(email, word string) (answer, http.Header) {
		return c.raw("POST", "/auth/login", jsonText(object{"email": email, "password": word}), map[string]string{"Authorization": ""})
	}
	for i := range 10 {
		// Other spellings of an address are no other account, and no header is
		// believed that anybody can send.
		email := []string{c.user.email, "UGO@example.com"}[i%2]
		a, _ := c.raw("POST", "/auth/login", jsonText(object{"email": email, "password": fmt.Sprint("guess-", i)}),
			map[string]string{"X-Forwarded-For": fmt.Sprintf("203.0.113.%d", i), "Forwarded": "for=203.0.113.9"})
		if m := a.fails(401, "unauthorized"); m != "Invalid credentials" {
			t.Errorf("guess %d: %q", i, m)
		}
	}
	for _, word := range []string{"guess-10", password} {
		a, header := try(c.user.email, word)
		slowed(t, a, header)
	}
	a, header := c.user.raw("POST", "/auth/password", jsonText(object{"currentPassword": password, "newPassword": "another-password"}), nil)
	slowed(t, a, header)
	c.user.get("/auth/validate").is(200) // who is in stays in

	a, _ = try(c.outsider.email, password)
	a.is(200)
	a, _ = try("nobody@example.com", password)
	if m := a.fails(401, "unauthorized"); m != "Invalid credentials" {
		t.Errorf("no such account: %q", m)
	}
}

// Invite codes can be guessed without an account of somebody, and cost no hash:
// what is counted is the address.
func TestGuessesCountForTheAddressThatTheyComeFrom(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	made := newTeam(c.owner, "burrow")
	c.guess(50, func(i int) string { return fmt.Sprintf("198.51.100.%d", i) })
	for i := range 2 { // nothing that anybody can send makes him another
		a, header := c.join(made.code, fmt.Sprintf("203.0.113.%d", i))
		slowed(t, a, header)
	}
	c.owner.get("/auth/validate").is(200)
}

func TestATrustedProxyTellsWhoGuesses(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "10.0.0.0/8")
	made := newTeam(c.owner, "burrow")
	// What the client itself wrote stands before what the proxies add.
	c.guess(50, func(i int) string { return fmt.Sprintf("198.51.100.%d, 203.0.113.7, 10.0.0.%d", i, i) })
	a, header := c.join(made.code, "192.0.2.1, 203.0.113.7")
	slowed(t, a, header)
	a, _ = c.join(made.code, "203.0.113.7, 203.0.113.8")
	a.is(201)
}

// guess tries wrong codes; each claims to come from an address.
func (c *crowd) guess(n int, from func(i int) string) {
	c.t.Helper()
	for i := range n {
		a, _ := c.join(fmt.Sprintf("WRONG%03d", i), from(i))
		a.fails(404, "not_found")
	}
}

// join has the outsider join a team.
func (c *crowd) join(code, forwardedFor string) (answer, http.Header) {
	c.t.Helper()
	return c.outsider.raw("POST", "/teams/join", jsonText(object{"inviteCode": code}), map[string]string{"X-Forwarded-For": forwardedFor})
}
