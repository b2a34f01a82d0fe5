package test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// atOnce makes n calls at the same time and counts their statuses, of which it
// demands that they are among these.
func atOnce(t *testing.T, n int, call func(i int) (answer, error), among ...int) map[int]int {
	t.Helper()
	var mu sync.Mutex
	counts := map[int]int{}
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() {
			a, err := call(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || !slices.Contains(among, a.status) {
				t.Errorf("%d %s %v", a.status, a.raw, err)
			}
			counts[a.status]++
		})
	}
	calls.Wait()
	return counts
}

func TestOfManyWhoWantTheSameOneGetsIt(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "--registration", "open")
	got := atOnce(t, 10, func(i int) (answer, error) {
		return []*person{c.owner, c.outsider}[i%2].send("POST", "/teams/create", object{"name": "burrow"})
	}, 201, 409)
	if got[201] != 1 {
		t.Errorf("teams: %v", got)
	}
	made := newTeam(c.owner, "warren")
	got = atOnce(t, 10, func(i int) (answer, error) {
		if i%2 == 0 {
			return c.user.send("POST", "/teams/join", object{"inviteCode": made.code})
		}
		return c.owner.send("POST", made.path("/members"), object{"userId": c.user.id, "role": "user"})
	}, 201, 403, 409)
	if members := c.owner.get(made.path("/members")).list(); got[201] != 1 || len(members) != 2 {
		t.Errorf("joined: %v, members %v", got, members)
	}
	nobody := newClient(t, c.url)
	got = atOnce(t, 3, func(i int) (answer, error) {
		return nobody.send("POST", "/auth/register", object{"email": fmt.Sprintf("%cina@example.com", "nN"[i%2]), "username": "nina", "password": password})
	}, 201, 400)
	if got[201] != 1 {
		t.Errorf("registered: %v", got)
	}
	c.set(object{"maxForwardsPerUser": 3})
	got = atOnce(t, 12, func(i int) (answer, error) {
		if i%2 == 0 {
			return c.owner.send("POST", "/port-forwards"+made.query, object{"name": "f", "type": "local"})
		}
		return c.owner.send("POST", "/port-forwards/sync", []object{{"name": "f", "type": "local"}})
	}, 201, 200, 403)
	if n := len(c.owner.get("/port-forwards").list()) + len(c.owner.get("/port-forwards"+made.query).list()); n != 3 {
		t.Errorf("%d forwards: %v", n, got)
	}
	got = atOnce(t, 104, func(int) (answer, error) {
		return c.user.send("POST", "/auth/tokens", object{"name": "n", "scope": "read"})
	}, 201, 403)
	if got[201] != 100 {
		t.Errorf("tokens: %v", got)
	}
}

func TestTheLastOperatorStaysWhoeverIsFaster(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.operator.patch("/users/"+c.owner.id, object{"role": "admin"}).is(200)
	changes := []object{{"role": "user"}, {"disabled": true}}
	got := atOnce(t, 8, func(i int) (answer, error) {
		by, of := c.operator, c.owner
		if i%2 == 0 {
			by, of = of, by
		}
		return by.send("PATCH", "/users/"+of.id, changes[i/2%2])
	}, 200, 401, 403, 409)
	left := 0
	for _, p := range []*person{c.operator, c.owner} {
		if p.get("/users").status == 200 {
			left++
		}
	}
	if left != 1 || got[200] == 0 {
		t.Errorf("%d operators are left: %v", left, got)
	}
}

// Whatever comes first, nothing of a team runs when its end was answered.
func TestNothingOfATeamRunsAfterItsEnd(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	s, address := sshd.Start(t), target.Start(t)
	for round := range 2 {
		made := newTeam(c.owner, fmt.Sprint("team ", round))
		c.owner.post(made.path("/members"), object{"userId": c.user.id, "role": "developer"}).is(201)
		c.owner.addServer(made.query, s)
		var paths, doors []string
		for range 4 {
			port := sshd.FreePort(t)
			paths = append(paths, c.owner.add(made.query, with(localTo(t, address, "site"), object{"localPort": port})))
			doors = append(doors, fmt.Sprint("127.0.0.1:", port))
		}
		c.user.start(paths[0])
		atOnce(t, 13, func(i int) (answer, error) {
			switch {
			case i == 6:
				return c.owner.send("DELETE", made.path(""), nil)
			case i%3 == 0:
				return c.user.send("PATCH", paths[i%4], object{"localPort": sshd.FreePort(t)})
			}
			return c.user.send("POST", paths[i%4]+"/start", nil)
		}, 200, 404, 409)
		for i, path := range paths {
			c.user.get(path).fails(404, "not_found")
			closed(t, doors[i])
		}
	}
	c.becomesQuiet()
}

// becomesQuiet waits until the server listens at nothing but its API.
func (c *crowd) becomesQuiet() {
	c.t.Helper()
	if now := listeners(c.t, c.cmd.Process.Pid); len(now) != 1 {
		c.t.Errorf("listens at %v", now)
	}
}
