package strictjson

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
)

// sample has a field of every kind.
type sample struct {
	Email    string              `json:"email" required:"true" format:"email"`
	Secret   api.Secret          `json:"secret" required:"true" maxLength:"5"`
	Name     api.Opt[string]     `json:"name,omitzero" required:"true" minLength:"2" maxLength:"4"`
	Kind     api.Opt[string]     `json:"kind,omitzero" enum:"a,b"`
	Port     api.Opt[int]        `json:"port,omitzero" minimum:"0" maximum:"65535" zero:"null"`
	Bind     api.Opt[int]        `json:"bind,omitzero" minimum:"1" maximum:"65535"`
	Password api.Opt[api.Secret] `json:"password,omitzero"`
}

func problems(err error) []string {
	var told *api.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &told):
		return []string{"not an api.Error: " + err.Error()}
	case told.Code == api.CodeInvalid:
		return told.Details
	}
	return []string{told.Message}
}

func TestListsAndBooleans(t *testing.T) {
	t.Parallel()
	type switches struct {
		On    api.Opt[bool]     `json:"on,omitzero"`
		Rules api.Opt[[]string] `json:"rules,omitzero" maxLength:"3"`
	}
	for body, want := range map[string][]string{
		`{}`:                           nil,
		`{"on":null,"rules":null}`:     nil,
		`{"on":true,"rules":[]}`:       nil,
		`{"on":false,"rules":["abc"]}`: nil,
		`{"on":"true"}`:                {"on must be a boolean value"},
		`{"on":1}`:                     {"on must be a boolean value"},
		`{"rules":"abc"}`:              {"rules must be an array of strings"},
		`{"rules":[1]}`:                {"rules must be an array of strings"},
		`{"rules":["a",null]}`:         {"rules must be an array of strings"},
		`{"rules":["a","abcd"]}`:       {"rules must be shorter than or equal to 3 characters"},
		`{"rules":["a\u0000"]}`:        {"rules must not contain NUL characters"},
		`{"rules":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`: {"rules must contain not more than 1000 elements"},
	} {
		if got := problems(Object([]byte(body), Patch, new(switches))); !slices.Equal(got, want) {
			t.Errorf("%.40s: %q, want %q", body, got, want)
		}
	}
	var got switches
	if err := Object([]byte(`{"on":true,"rules":["a","b"]}`), Whole, &got); err != nil {
		t.Error(err)
	}
	on, _ := got.On.Get()
	rules, _ := got.Rules.Get()
	if !on || !slices.Equal(rules, []string{"a", "b"}) {
		t.Errorf("%+v", got)
	}
}

func TestPatchesAreValidatedFieldByField(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][]string{
		``:                                nil,
		` {} `:                            nil,
		`{"name":"ab"}`:                   nil,
		`{"name":"äöüß"}`:                 nil,
		`{"name":"a"}`:                    {"name must be longer than or equal to 2 characters"},
		`{"name":"abcde"}`:                {"name must be shorter than or equal to 4 characters"},
		`{"name":""}`:                     {"name should not be empty"},
		`{"name":null}`:                   {"name should not be empty", "name must be a string"},
		`{"name":{"a":[1]}}`:              {"name must be a string"},
		`{"name":"ab","name":"cd"}`:       {"property name should not be repeated"},
		`{"n\u0061me":"ab","name":"cd"}`:  {"property name should not be repeated"},
		`{"NAME":"ab"}`:                   {"property NAME should not exist"},
		`{"":1}`:                          {"property  should not exist"},
		`{"name":"a\u0000"}`:              {"name must not contain NUL characters"},
		`{"name":"\ud83e\udd87x"}`:        nil,
		`{"name":"\ud83ex"}`:              {"The body is not valid Unicode"},
		`{"name":"\udd87x"}`:              {"The body is not valid Unicode"},
		`{"name":"\ud83e\ud83e"}`:         {"The body is not valid Unicode"},
		`{"name":"\\ud83e"}`:              {"name must be shorter than or equal to 4 characters"},
		`{"kind":""}`:                     nil,
		`{"kind":"c"}`:                    {"kind must be one of the following values: a, b"},
		`{"port":0}`:                      nil,
		`{"port":-0}`:                     nil,
		`{"port":0.0}`:                    nil,
		`{"port":-1}`:                     {"port must not be less than 0"},
		`{"port":65536}`:                  {"port must not be greater than 65535"},
		`{"port":99999999999999999999}`:   {"port must be an integer number"},
		`{"port":1e400}`:                  {"port must be an integer number"},
		`{"port":1.5}`:                    {"port must be an integer number"},
		`{"port":"1"}`:                    {"port must be an integer number"},
		`{"port":[1]}`:                    {"port must be an integer number"},
		`{"bind":0}`:                      {"bind must not be less than 1"},
		`{"bind":null}`:                   nil,
		`{"password":""}`:                 nil,
		`{"email":"Ada <ada@x.y>"}`:       {"email must be an email"},
		`{"email":"ada@x.y "}`:            {"email must be an email"},
		`{"a":1,"port":"x","kind":"c"}`:   {"property a should not exist", "kind must be one of the following values: a, b", "port must be an integer number"},
		`{"name":"ab"}{}`:                 {"The body is not valid JSON"},
		`{"name":"ab",}`:                  {"The body is not valid JSON"},
		`{name:"ab"}`:                     {"The body is not valid JSON"},
		"\ufeff{}":                        {"The body is not valid JSON"},
		"{\"name\":\"a\xc3\"}":            {"The body is not valid UTF-8"},
		`[{}]`:                            {"The body must be a JSON object"},
		`null`:                            {"The body must be a JSON object"},
		strings.Repeat(`{"a":`, 1_000_00): {"The body is not valid JSON"},
	} {
		var s sample
		if got := problems(Object([]byte(body), Patch, &s)); !slices.Equal(got, want) {
			t.Errorf("%.60s: %q, want %q", body, got, want)
		}
	}
}

func TestAWholeObjectHasItsRequiredFields(t *testing.T) {
	t.Parallel()
	var s sample
	want := []string{
		"email should not be empty", "email must be a string", "secret should not be empty", "secret must be a string",
		"name should not be empty", "name must be a string",
	}
	if got := problems(Object(nil, Whole, &s)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if err := Object([]byte(`{"email":"a@b.c","secret":"12345","name":"ab"}`), Whole, &s); err != nil || s.Secret != "12345" || s.Email != "a@b.c" {
		t.Errorf("%v, %v", s, err)
	}
}

func TestAbsentNullAndValueAreToldApart(t *testing.T) {
	t.Parallel()
	var s sample
	if err := Object([]byte(`{"kind":"","port":0,"bind":7,"password":""}`), Patch, &s); err != nil {
		t.Fatal(err)
	}
	if s.Name.Given() || !s.Kind.Given() || !s.Port.Given() || s.Bind.Or(0) != 7 {
		t.Errorf("%+v", s)
	}
	if _, ok := s.Kind.Get(); ok {
		t.Error("an empty text is not null")
	}
	if _, ok := s.Port.Get(); ok {
		t.Error("port 0 is not null")
	}
	if p, ok := s.Password.Get(); !ok || p != "" {
		t.Error("an empty secret must stay one: it keeps the old")
	}
}

func TestWhatIsRightIsReadBesideWhatIsWrong(t *testing.T) {
	t.Parallel()
	var s sample
	if err := Object([]byte(`{"name":"ab","port":"x"}`), Patch, &s); err == nil || s.Name.Or("") != "ab" {
		t.Errorf("%v, %v", s.Name, err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	var s sample
	body := `{` + strings.Repeat(`"`+strings.Repeat("ä", 1000)+`":1,`, 500) + `"z":1}`
	got := problems(Object([]byte(body), Patch, &s))
	if len(got) != maxProblems {
		t.Errorf("%d problems", len(got))
	}
	for _, p := range got {
		if utf8.RuneCountInString(p) > maxNameQuoted+50 {
			t.Fatalf("a problem of %d bytes", len(p))
		}
	}
}

func TestSeveralTargetsShareOneObject(t *testing.T) {
	t.Parallel()
	var s sample
	var id struct {
		ID api.Opt[string] `json:"id"`
	}
	if err := Object([]byte(`{"id":"x","name":"ab"}`), Patch, &s, &id); err != nil || id.ID.Or("") != "x" || s.Name.Or("") != "ab" {
		t.Errorf("%v %v %v", s, id, err)
	}
	if got := problems(Object([]byte(`{"id":5,"x":1}`), Patch, &s, &id)); !slices.Equal(got, []string{"property x should not exist", "id must be a string"}) {
		t.Errorf("%q", got)
	}
}

func TestArraysAreSplitAndBounded(t *testing.T) {
	t.Parallel()
	items, err := Array([]byte(` [ {"a":1} , 2,null ] `), 3)
	if err != nil || len(items) != 3 || string(items[0]) != `{"a":1}` {
		t.Errorf("%s, %v", items, err)
	}
	if items, err := Array([]byte(`[]`), 3); err != nil || items == nil || len(items) != 0 {
		t.Errorf("%v, %v", items, err)
	}
	for body, want := range map[string]string{
		``: "The body must be a JSON array", `{}`: "The body must be a JSON array", `[1,2,3,4]`: "The array must not hold more than 3 items",
		`[1`: "The body is not valid JSON", "[\"\xff\"]": "The body is not valid UTF-8",
	} {
		if _, err := Array([]byte(body), 3); !slices.Equal(problems(err), []string{want}) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestProblemsFoundElsewhereAreToldWithTheRest(t *testing.T) {
	t.Parallel()
	broken := bad("broken")
	for _, c := range []struct {
		err  error
		more []string
		want []string
	}{
		{nil, nil, nil},
		{nil, []string{"x"}, []string{"x"}},
		{api.Invalid("a"), []string{"x"}, []string{"a", "x"}},
		{api.Invalid("a"), nil, []string{"a"}},
		{broken, []string{"x"}, []string{"broken"}},
	} {
		if got := problems(Also(c.err, c.more...)); !slices.Equal(got, c.want) {
			t.Errorf("%v: %q", c, got)
		}
	}
}

// Every request type of package api must be one that the rules can read.
func TestTheRequestTypesOfTheAPIAreKnown(t *testing.T) {
	t.Parallel()
	for _, body := range []any{
		&api.Registration{}, &api.Credentials{}, &api.PasswordChange{}, &api.ServerInput{}, &api.KeyInput{}, &api.ForwardInput{}, &api.HostKeyInput{},
	} {
		if err := Object(nil, Patch, body); err != nil {
			t.Errorf("%T: %v", body, err)
		}
		if err := Object(nil, Whole, body); err == nil {
			t.Errorf("%T has no required field", body)
		}
	}
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"name":"ab","port":8080,"kind":null,"password":"x"}`, `{"name":"\ud83e\udd87"}`, `{"name":"\ud83e"}`, `{"port":8.08e3}`,
		`[{"a":1}]`, "{\"name\":\"\xff\"}", `{"a":{"a":{"a":[1,2,{"b":null}]}}}`, `{"name":"\\ud83e\u0041"}`, `{"name":"\`, `{"name":"\u`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		err := Object(data, Patch, &s)
		if told := new(api.Error); err != nil && (!errors.As(err, &told) || told.Message == "") {
			t.Fatalf("error %v", err)
		}
		if name, ok := s.Name.Get(); ok && (!utf8.ValidString(name) || strings.ContainsRune(name, 0) || name == "") {
			t.Fatalf("name %q was taken", name)
		}
		if port, ok := s.Port.Get(); ok && (port < 1 || port > 65535) {
			t.Fatalf("port %d was taken", port)
		}
		if err == nil {
			// What was taken survives being sent again.
			again, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var o map[string]any
			if err := json.Unmarshal(again, &o); err != nil {
				t.Fatal(err)
			}
		}
		if items, err := Array(data, 10); err == nil && len(items) > 10 {
			t.Fatal("too many items")
		}
	})
}
