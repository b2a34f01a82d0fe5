package httpapi_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/httpapi"
)

// bodied is an operation that takes a body, with one that it would take.
type bodied struct {
	step
	by    person
	body  object // of a sync: the one item
	sync  bool
	field map[string]*huma.Schema // of body
}

// send sends a body, of a sync as its only item.
func (b *bodied) send(body any) answer {
	if b.sync {
		body = []any{body}
	}
	return b.by.call(b.method, b.target(), body)
}

// bodied are all operations that take a body, each with somebody who may do it.
func (w *world) bodied() (list []bodied) {
	document := agreed().document
	for path, item := range document.Paths {
		if len(item.Servers) > 0 {
			continue
		}
		for _, op := range httpapi.Operations(item) {
			if op.RequestBody == nil {
				continue
			}
			by := w.owner
			actor := access.Actor{UserID: by.id, Teams: map[string]access.Role{w.team.ID: access.Owner}}
			if slices.Contains(op.Tags, "operators") || slices.Contains(op.Tags, "settings") {
				by = w.admin
				actor = access.Actor{UserID: by.id, Admin: true}
			}
			p := persona{person: by, actor: &actor}
			tries := plans[op.OperationID](w, p)
			try := tries[slices.IndexFunc(tries, func(a attempt) bool { status, _ := a.expects(p); return status == 0 })]
			if try.public {
				try.fresh(&try, nil)
			}
			one := bodied{step: step{try, op.OperationID, op.Method, path}, by: by}
			schema := op.RequestBody.Content["application/json"].Schema
			if schema.Items != nil {
				one.sync, schema = true, schema.Items
				one.body = try.body.([]any)[0].(object)
			} else {
				one.body = try.body.(object)
			}
			if schema.Ref != "" {
				schema = document.Components.Schemas.SchemaFromRef(schema.Ref)
			}
			one.field = schema.Properties
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b bodied) int { return strings.Compare(a.name, b.name) })
	return list
}

// refusedBody demands that a body was refused and told of as the contract has it.
func refusedBody(t *testing.T, b *bodied, what string, got answer) {
	t.Helper()
	if b.sync && got.status == http.StatusOK {
		has(t, got.is(200), object{"syncedCount": 0.0, "created": 0.0, "updated": 0.0})
		return
	}
	codes := map[int]string{400: "bad_request", 413: "too_large", 415: "unsupported_media"}
	code := codes[got.status]
	if code == "" {
		t.Errorf("%s, %s: %d %.300s", b.name, what, got.status, got.raw)
		return
	}
	if strings.Contains(got.raw, `"code":"invalid"`) {
		code = "invalid"
	}
	got.fails(got.status, code)
}

// misfits are values that are none for a field of a kind.
var misfits = map[string][]any{
	"string":  {1, true, []any{}, object{}, "nul\x00", strings.Repeat("ä", 70_000)},
	"integer": {"8080", 1.5, true, []any{}, object{}, -1, 1e30},
	"boolean": {"true", 1, []any{}, object{}},
	"array":   {"x", 1, true, object{}, []any{1}, []any{nil}, []any{"nul\x00"}, []any{[]any{}}},
}

func TestNoFieldTakesWhatItIsNotFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	teams := []string{w.team.ID, w.other.ID, w.third.ID}
	for _, b := range w.bodied() {
		before := w.stored(teams...)
		for _, name := range slices.Sorted(maps.Keys(b.field)) {
			kind := b.field[name].Type
			if len(misfits[kind]) == 0 {
				t.Errorf("%s: field %s is a %q", b.name, name, kind)
			}
			for _, value := range misfits[kind] {
				refusedBody(t, &b, name, b.send(with(b.body, object{name: value})))
			}
		}
		for _, name := range []string{"userId", "user_id", "namespace", "dataType", "status", "desired", "role", "isActive", "inviteCode", "zz", "__proto__", ""} {
			if b.field[name] == nil {
				refusedBody(t, &b, name, b.send(with(b.body, object{name: "x"})))
			}
		}
		refusedBody(t, &b, "id", b.send(with(b.body, object{"id": w.team.ID})))
		for name := range b.field {
			refusedBody(t, &b, "letter case", b.send(with(b.body, object{strings.ToUpper(name[:1]) + name[1:]: "x"})))
		}
		if after := w.stored(teams...); after != before {
			t.Errorf("%s: what was refused changed what is stored:\n%s", b.name, difference(before, after))
		}
	}
}

func TestNoOperationTakesWhatIsNoJSONObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	teams := []string{w.team.ID, w.other.ID, w.third.ID}
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for _, b := range w.bodied() {
		limit := api.MaxBody
		if b.sync {
			limit = api.MaxSyncBody
		}
		before := w.stored(teams...)
		for _, body := range []string{
			"{", "x", `{"name":"a"}{}`, `"text"`, "1", "null", "true", deep, `{"name":` + deep + "}", "\xef\xbb\xbf{}",
			"{\"name\":\"\xff\"}", "{\"name\":\"a\x00\"}", "\x00", `{"name":"\ud800"}`, `{"name":"a","name":"b"}`,
			strings.Repeat(" ", limit) + "{}",
		} {
			refusedBody(t, &b, "body "+body[:min(len(body), 20)], b.by.call(b.method, b.target(), body))
		}
		other := "[]"
		if b.sync {
			other = "{}"
		}
		refusedBody(t, &b, other, b.by.call(b.method, b.target(), other))
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "", "application/json; charset=latin1", "x"} {
			r := b.by.request(b.method, b.target(), b.attempt.body)
			r.Header.Set("Content-Type", kind)
			got := w.send(r)
			if got.status != http.StatusUnsupportedMediaType {
				t.Errorf("%s, %q: %d", b.name, kind, got.status)
			}
			refusedBody(t, &b, kind, got)
		}
		if after := w.stored(teams...); after != before {
			t.Errorf("%s: what was refused changed what is stored:\n%s", b.name, difference(before, after))
		}
	}
}

func TestNoPathOrQueryIsAFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := []string{
		"%00", "a%00b", "%ff", "%c3%28", "%ed%a0%80", strings.Repeat("x", 9000), "%F0%9F%92%A9", "..%2f..%2fetc", "'%20OR%201=1--",
		"%25", "-1", "null",
	}
	teams := []string{w.team.ID, w.other.ID, w.third.ID}
	before := w.stored(teams...)
	for path, item := range agreed().document.Paths {
		if len(item.Servers) > 0 {
			continue
		}
		for _, op := range httpapi.Operations(item) {
			try := plans[op.OperationID](w, persona{person: w.owner})[0]
			one := step{try, op.OperationID, op.Method, path}
			by := w.owner
			if strings.HasPrefix(path, "/users/") {
				by = w.admin
			}
			for _, value := range bad {
				if strings.Contains(path, "{id}") {
					target := strings.NewReplacer("{id}", value, "{memberId}", value).Replace(path)
					w.noFault(by.call(op.Method, target, one.body), target)
				}
				if strings.Contains(path, "{memberId}") {
					target := strings.NewReplacer("{id}", w.team.ID, "{memberId}", value).Replace(path)
					w.noFault(by.call(op.Method, target, one.body), target)
				}
			}
		}
	}
	for _, list := range []string{"/servers", "/keys", "/port-forwards", "/audit", "/users", "/teams/my", "/auth/tokens"} {
		for _, name := range []string{"namespace", "status", "page", "limit", "actor", "action", "object", "result", "from", "before", "x"} {
			for _, value := range []string{"%00", "%ff", bad[5], "'%20OR%201=1--", "-1"} {
				got := w.admin.get(list + "?" + name + "=" + value)
				if got.status >= 500 {
					t.Errorf("%s?%s=%.40s: %d %s", list, name, value, got.status, got.raw)
				}
			}
		}
	}
	if after := w.stored(teams...); after != before {
		t.Errorf("it changed what is stored:\n%s", difference(before, after))
	}
}

func (w *world) noFault(got answer, target string) {
	w.t.Helper()
	if got.status != http.StatusNotFound && got.status != http.StatusBadRequest {
		w.t.Errorf("%.80s: %d %s", target, got.status, got.raw)
	}
}

// What belongs to others cannot be named in a body either.
func TestRowsOfOthersCannotBeReferredTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	teams := []string{w.team.ID, w.other.ID, w.third.ID}
	foreign := func(noun string, scope access.Scope) []string {
		row := w.rows[scope][noun]
		return []string{row.id, row.localID}
	}
	before := w.stored(teams...)
	for _, c := range []struct {
		by    person
		query string
		of    access.Scope // whose rows are named
	}{
		{w.developer, "", access.Personal(w.loner.id)},
		{w.developer, "?namespace=" + w.team.ID, access.Personal(w.loner.id)},
		{w.developer, "?namespace=" + w.team.ID, access.Personal(w.owner.id)}, // of a member of the same team
		{w.developer, "", access.Team(w.team.ID)},                             // his team's, in a row of his own
		{w.owner, "?namespace=" + w.other.ID, access.Team(w.team.ID)},         // one team's in another's
		{w.owner, "?namespace=" + w.team.ID, access.Team(w.other.ID)},
		{w.admin, "", access.Team(w.team.ID)},
		{w.admin, "", access.Personal(w.owner.id)},
	} {
		for _, id := range foreign("servers", c.of) {
			in := object{"name": "f", "type": "local", "serverId": id}
			if m := c.by.post("/port-forwards"+c.query, in).fails(400, "bad_request"); !contains(m, "Server with id ") {
				t.Errorf("%q", m)
			}
			has(t, c.by.post("/port-forwards/sync"+c.query, []any{in}).is(200), object{"syncedCount": 0.0})
		}
		for _, id := range foreign("keys", c.of) {
			in := with(fullServer(), object{"keyId": id})
			c.by.post("/servers"+c.query, in).fails(400, "bad_request")
			has(t, c.by.post("/servers/sync"+c.query, []any{in}).is(200), object{"syncedCount": 0.0})
		}
	}
	mine := w.rows[access.Personal(w.developer.id)]
	for _, id := range foreign("servers", access.Personal(w.loner.id)) {
		w.developer.patch("/port-forwards/"+mine["port-forwards"].id, object{"serverId": id}).fails(400, "bad_request")
	}
	for _, id := range foreign("keys", access.Personal(w.loner.id)) {
		w.developer.patch("/servers/"+mine["servers"].id, object{"keyId": id}).fails(400, "bad_request")
	}
	for noun, row := range mine {
		w.developer.patch("/"+noun+"/"+row.id, object{"id": w.rows[access.Personal(w.loner.id)][noun].id, "name": "n"}).fails(400, "invalid")
	}
	if after := w.stored(teams...); after != before {
		t.Errorf("it changed what is stored:\n%s", difference(before, after))
	}
	// A localId of somebody else's is one's own to take, and changes nothing of his.
	taken := foreign("servers", access.Personal(w.loner.id))[1]
	has(t, w.developer.post("/servers/sync", []any{with(fullServer(), object{"localId": taken})}).is(200), object{"created": 1.0})
	has(t, w.loner.get("/servers/"+taken).is(200), object{"name": "s"})
}

// A token for one team must not reach, by way of a reference, what is its
// user's own.
func TestATokenOfATeamDoesNotReachItsUsersOwnRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.apiToken(w.owner.id, "manage", w.team.ID)
	bound, own := w.owner.with(token), w.rows[access.Personal(w.owner.id)]
	in := object{"name": "f", "type": "local", "serverId": own["servers"].id}
	bound.post("/port-forwards?namespace="+w.team.ID, in).fails(400, "bad_request")
	has(t, bound.post("/port-forwards/sync?namespace="+w.team.ID, []any{in}).is(200), object{"syncedCount": 0.0})
	bound.post("/servers?namespace="+w.team.ID, with(fullServer(), object{"keyId": own["keys"].id})).fails(400, "bad_request")
	w.owner.post("/port-forwards?namespace="+w.team.ID, in).is(201)
}
