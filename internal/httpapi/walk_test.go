package httpapi_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/httpapi"
)

// attempt is one call of one operation, and what package access is to be asked
// about it.
type attempt struct {
	do  access.Action  // 0: whoever is logged in may
	in  []access.Scope // it is enough to be allowed in one
	cap access.Verdict // what he gets at most, for reasons that access does not know; 0: no cap

	public       bool // nobody needs a token
	absent       bool // there is no such thing, which everybody learns who is let in
	id, memberID string
	query        string
	body         any
	fresh        func(*attempt, *person) // makes what an allowed call uses up, or says by whom it is made
	after        func(answer)            // undoes an allowed call
}

// hidden as a cap; the zero value is none.
const hidden = access.Verdict(-1)

// expects is the status of a refusal, and its code; 0 when the call is allowed.
func (a *attempt) expects(p persona) (status int, code string) {
	if a.public {
		return 0, ""
	}
	if p.actor == nil {
		return http.StatusUnauthorized, "unauthorized"
	}
	if a.absent {
		return http.StatusNotFound, "not_found"
	}
	verdict := access.Hidden
	if a.do == 0 {
		verdict = access.Allowed
	}
	for _, scope := range a.in {
		verdict = max(verdict, access.May(*p.actor, a.do, scope))
	}
	if verdict == access.Allowed && a.cap != 0 {
		verdict = max(a.cap, access.Hidden)
	}
	switch verdict {
	case access.Allowed:
		return 0, ""
	case access.Forbidden:
		return http.StatusForbidden, "forbidden"
	}
	return http.StatusNotFound, "not_found"
}

// step is an attempt at an operation.
type step struct {
	attempt
	name, method, path string
}

func (s *step) target() string {
	return strings.NewReplacer("{id}", url.PathEscape(s.id), "{memberId}", url.PathEscape(s.memberID)).Replace(s.path) + s.query
}

// steps are all attempts of a persona's at all operations that there are.
func (w *world) steps(p persona) (steps []step) {
	document, _ := httpapi.Described()
	known := 0
	for path, item := range document.Paths {
		if len(item.Servers) > 0 {
			continue // another listener's
		}
		for _, op := range httpapi.Operations(item) {
			plan := plans[op.OperationID]
			if plan == nil {
				w.t.Fatalf("nothing says who may %s: add it to plans", op.OperationID)
			}
			known++
			tries := plan(w, p)
			if p.actor == nil {
				tries = tries[:1] // he is not let in to anything
			}
			for _, a := range tries {
				steps = append(steps, step{a, op.OperationID, op.Method, path})
			}
		}
	}
	if known != len(plans) {
		w.t.Fatalf("there are %d operations, and plans for %d", known, len(plans))
	}
	slices.SortFunc(steps, func(a, b step) int { return strings.Compare(a.name, b.name) })
	return steps
}

// Whoever calls what: the answer is as package access has it, and a call that is
// refused leaves no trace.
func TestEveryOperationAsksWhoCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	teams := []string{w.team.ID, w.other.ID, w.third.ID}
	for _, p := range w.personas() {
		var refused, allowed []step
		for _, s := range w.steps(p) {
			if status, _ := s.expects(p); status != 0 {
				refused = append(refused, s)
			} else {
				allowed = append(allowed, s)
			}
		}
		before := w.stored(teams...)
		for _, s := range refused {
			status, code := s.expects(p)
			got := p.call(s.method, s.target(), s.body)
			if got.status != status {
				t.Errorf("%s: %s %s: %d instead of %d: %s", p.name, s.name, s.target(), got.status, status, got.raw)
				continue
			}
			got.fails(status, code)
		}
		if after := w.stored(teams...); after != before {
			t.Errorf("%s: refused calls changed what is stored:\n%s", p.name, difference(before, after))
		}
		for _, s := range allowed {
			w.allowed(p, s)
		}
	}
}

func (w *world) allowed(p persona, s step) {
	by := p.person
	if s.fresh != nil {
		s.fresh(&s.attempt, &by)
	}
	got := by.call(s.method, s.target(), s.body)
	switch got.status {
	case 200, 201, 400, 409:
	default:
		w.t.Errorf("%s: %s %s: %d instead of being allowed: %s", p.name, s.name, s.target(), got.status, got.raw)
		return
	}
	if s.after != nil {
		s.after(got)
	}
}

// difference is the first line that two texts differ in.
func difference(before, after string) string {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "- " + a[i] + "\n+ " + b[i]
		}
	}
	return "one is longer"
}
