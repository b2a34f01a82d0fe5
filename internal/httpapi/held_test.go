package httpapi_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// heldBack is a body that comes once something has been done, which is when its
// request has been let in.
type heldBack struct {
	do   func()
	text io.Reader
}

func (h *heldBack) Read(p []byte) (int, error) {
	if h.do != nil {
		h.do()
		h.do = nil
	}
	return h.text.Read(p)
}

// held makes a call whose body comes when do is done.
func (p person) held(method, target string, body any, do func()) answer {
	p.f.t.Helper()
	r := p.request(method, target, body)
	r.Body = io.NopCloser(&heldBack{do, strings.NewReader(textOf(p.f.t, body))})
	w := httptest.NewRecorder()
	p.f.handler.ServeHTTP(w, r)
	return answer{p.f.t, w.Code, w.Result().Header, w.Body.String()}
}

func TestAChangeIsNotMadeWithRightsThatAreGone(t *testing.T) {
	t.Parallel()
	newForward := object{"name": "f", "type": "local"}
	for name, try := range map[string]func(f *fixture, ada, bob person, team store.Team, membership string) (answer, int){
		"an operator who is disabled lets himself in again": func(f *fixture, ada, bob person, _ store.Team, _ string) (answer, int) {
			ada.patch("/users/"+bob.id, object{"role": "admin"}).is(200)
			return bob.held("PATCH", "/users/"+bob.id, object{"disabled": false, "role": "admin"}, func() {
				ada.patch("/users/"+bob.id, object{"disabled": true}).is(200)
			}), 401
		},
		"an operator who is one no more": func(f *fixture, ada, bob person, _ store.Team, _ string) (answer, int) {
			ada.patch("/users/"+bob.id, object{"role": "admin"}).is(200)
			return bob.held("PATCH", "/users/"+bob.id, object{"role": "admin"}, func() {
				ada.patch("/users/"+bob.id, object{"role": "user"}).is(200)
			}), 403
		},
		"a token made by a session that has ended": func(f *fixture, _, bob person, _ store.Team, _ string) (answer, int) {
			return bob.held("POST", "/auth/tokens", object{"name": "t", "scope": "manage"}, func() { bob.post("/auth/logout", nil).is(200) }), 401
		},
		"a removed developer's new forward": func(f *fixture, ada, bob person, team store.Team, membership string) (answer, int) {
			return bob.held("POST", "/port-forwards?namespace="+team.ID, newForward, func() {
				ada.delete("/teams/" + team.ID + "/members/" + membership).is(200)
			}), 403
		},
		"a removed developer's forward": func(f *fixture, ada, bob person, team store.Team, membership string) (answer, int) {
			made := ada.post("/port-forwards?namespace="+team.ID, newForward).is(201)
			return bob.held("PATCH", "/port-forwards/"+made["id"].(string), object{"name": "his"}, func() {
				ada.delete("/teams/" + team.ID + "/members/" + membership).is(200)
			}), 404
		},
		"a developer who is a user now": func(f *fixture, ada, bob person, team store.Team, membership string) (answer, int) {
			return bob.held("POST", "/port-forwards?namespace="+team.ID, newForward, func() {
				ada.patch("/teams/"+team.ID+"/members/"+membership, object{"role": "user"}).is(200)
			}), 403
		},
		"a forward of a team that is no more": func(f *fixture, ada, bob person, team store.Team, _ string) (answer, int) {
			return bob.held("POST", "/port-forwards?namespace="+team.ID, newForward, func() {
				ada.delete("/teams/" + team.ID).is(200)
			}), 403
		},
		"a sync into a team that is no more": func(f *fixture, ada, bob person, team store.Team, _ string) (answer, int) {
			return bob.held("POST", "/port-forwards/sync?namespace="+team.ID, []object{newForward}, func() {
				ada.delete("/teams/" + team.ID).is(200)
			}), 403
		},
		"a token for a team that is no more": func(f *fixture, ada, bob person, team store.Team, _ string) (answer, int) {
			return bob.held("POST", "/auth/tokens", object{"name": "t", "scope": "read", "namespace": team.ID}, func() {
				ada.delete("/teams/" + team.ID).is(200)
			}), 404
		},
		"a revoked API token": func(f *fixture, ada, _ person, team store.Team, _ string) (answer, int) {
			id, token := f.apiToken(ada.id, "manage", "")
			return ada.with(token).held("POST", "/port-forwards", newForward, func() {
				ada.delete("/auth/tokens/" + id).is(200)
			}), 401
		},
		"a look with a body": func(f *fixture, _, bob person, _ store.Team, _ string) (answer, int) {
			return bob.held("GET", "/data/personal", object{}, func() { bob.post("/auth/logout", nil).is(200) }), 401
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := signedUp(t)
			ada, bob := f.operator(), f.person("bob")
			team, members := f.team("builders", ada, map[string]access.Role{bob.id: access.Developer})
			got, want := try(f, ada, bob, team, members[bob.id])
			if got.status != want {
				t.Errorf("status %d, want %d: %s", got.status, want, got.raw)
			}
		})
	}
}

func TestOfManyPasswordChangesFromOnePasswordOneSucceeds(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	ada := f.operator()
	var done atomic.Int32
	var group sync.WaitGroup
	for i := range 8 { // fewer than lock the account
		group.Go(func() {
			change := object{"currentPassword": password, "newPassword": fmt.Sprintf("the password of client %d", i)}
			if ada.post("/auth/password", change).status == 200 {
				done.Add(1)
			}
		})
	}
	group.Wait()
	if done.Load() != 1 {
		t.Errorf("%d changes succeeded", done.Load())
	}
}
