package httpapi_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// Ten members of different roles do everything at once with one forward of the
// team's: in the end the row, the tunnel and the listener agree.
func TestAStormOfAWholeTeamEndsInOneState(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ada := g.operator()
	roles := map[string]access.Role{}
	var people []person
	for i := range 10 {
		p := ada
		if i > 0 {
			p = g.person(string(rune('a'+i)) + "-member")
			roles[p.id] = []access.Role{access.User, access.Developer}[i%2]
		}
		people = append(people, p)
	}
	team, _ := g.fixture.team("storm", ada, roles)
	server := g.teamServer(ada, team.ID)
	for _, deleted := range []bool{false, true} {
		path := g.teamForward(ada, team.ID, server)
		ports := []float64{freePort(t), freePort(t), freePort(t)}
		calls := []func(person, int) answer{
			func(p person, _ int) answer { return p.post(path+"/start", nil) },
			func(p person, _ int) answer { return p.post(path+"/stop", nil) },
			func(p person, i int) answer { return p.patch(path, object{"localPort": ports[i%3]}) },
			func(p person, _ int) answer { return p.get(path + "/status") },
		}
		if deleted {
			calls = append(calls, func(p person, i int) answer {
				if i < 14 {
					return p.get(path)
				}
				return p.delete(path)
			})
		}
		var storm sync.WaitGroup
		for c, p := range people {
			storm.Go(func() {
				for i := range 8 {
					got := calls[(c+i)%len(calls)](p, c+i)
					allowed := []int{200, 409}
					if roles[p.id] == access.User {
						allowed = append(allowed, 403)
					}
					if deleted {
						allowed = append(allowed, 404)
					}
					if !slices.Contains(allowed, got.status) {
						t.Errorf("%s: %d %s", roles[p.id], got.status, got.raw)
					}
				}
			})
		}
		storm.Wait()
		row, err := g.store.Forward(t.Context(), strings.TrimPrefix(path, "/port-forwards/"))
		if deleted && err != nil {
			for _, port := range ports {
				refuses(t, net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
			}
			ada.get(path).fails(404, "not_found")
			continue
		}
		shown := ada.get(path).is(200)
		if wanted := shown["desired"] == "active"; wanted != row.Wanted || wanted != (shown["state"] == "active") || (shown["tunnelId"] != nil) != wanted {
			t.Errorf("wanted %t, shown %v", row.Wanted, shown)
		}
		if shown["state"] == "active" {
			g.echoes(g.dial(bound(shown)), "calm")
		}
		ada.post(path+"/stop", nil).is(200)
		for _, port := range ports {
			refuses(t, net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
		}
		if n, err := g.store.CountAudit(t.Context(), store.AuditFilter{Result: "internal"}); err != nil || n != 0 {
			t.Errorf("%d faults, %v", n, err)
		}
		ada.delete(path).is(200)
	}
}
