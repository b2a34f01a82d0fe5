package httpapi_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/internal/httpapi"
)

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	document, patterns := httpapi.Described()
	var described []string
	for path, item := range document.Paths {
		for _, op := range httpapi.Operations(item) {
			if len(item.Servers) == 0 {
				described = append(described, op.Method+" "+path)
			} else if !strings.HasPrefix(path, "/api/") {
				t.Errorf("%s is said to be at %s", path, item.Servers[0].URL)
			}
		}
	}
	slices.Sort(patterns)
	slices.Sort(described)
	if !slices.Equal(patterns, described) {
		t.Errorf("routes      %q\ndescription %q", patterns, described)
	}
}

func TestEveryOperationIsDescribed(t *testing.T) {
	t.Parallel()
	document, _ := httpapi.Described()
	var tags []string
	for _, tag := range document.Tags {
		tags = append(tags, tag.Name)
	}
	variables := regexp.MustCompile(`\{(\w+)\}`)
	for path, item := range document.Paths {
		for _, op := range httpapi.Operations(item) {
			name := op.Method + " " + path
			if op.Summary == "" || strings.HasSuffix(op.Summary, ".") || op.OperationID == "" || len(op.Tags) != 1 || !slices.Contains(tags, op.Tags[0]) {
				t.Errorf("%s: summary %q, id %q, tags %q of %q", name, op.Summary, op.OperationID, op.Tags, tags)
			}
			for _, variable := range variables.FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "path" && p.Name == variable[1] && p.Required }) {
					t.Errorf("%s does not take %s", name, variable[1])
				}
			}
			for _, p := range op.Parameters {
				if p.Description == "" || p.Schema == nil || p.Schema.Type == "" {
					t.Errorf("%s: parameter %s is not described", name, p.Name)
				}
			}
			if op.Responses["default"] == nil || op.Responses["200"] == nil && op.Responses["201"] == nil {
				t.Errorf("%s: answers %v", name, op.Responses)
			}
			public := op.Security != nil && len(op.Security) == 0
			if (op.Responses["401"] == nil) != (public && op.OperationID != "login") {
				t.Errorf("%s: security %v, answers %v", name, op.Security, op.Responses)
			}
		}
	}
}

// servedDocument is the document as it is served.
func servedDocument(t *testing.T) object {
	t.Helper()
	f := newFixture(t)
	got := f.get("/openapi.json")
	if got.header.Get("Content-Type") != "application/json" {
		t.Errorf("header %v", got.header)
	}
	return got.is(200)
}

func TestReferencesInTheDocumentLeadSomewhere(t *testing.T) {
	t.Parallel()
	document := servedDocument(t)
	referred := map[string]bool{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(at, item)
			}
		case object:
			for key, item := range v {
				walk(at+"/"+key, item)
			}
			ref, ok := v["$ref"].(string)
			if !ok {
				return
			}
			referred[ref] = true
			target := any(document)
			for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
				o, _ := target.(object)
				target = o[part]
			}
			if target == nil {
				t.Errorf("%s refers to %s", at, ref)
			}
		}
	}
	walk("#", document)
	for kind, components := range document["components"].(object) {
		if kind == "securitySchemes" {
			continue
		}
		for name := range components.(object) {
			// What only a change is made of stands there for itself.
			ref := "#/components/" + kind + "/" + name
			if !referred[ref] && !referred[strings.TrimSuffix(ref, "Input")+"Change"] {
				t.Errorf("nothing refers to %s", ref)
			}
		}
	}
}

// dig goes down a JSON value.
func dig(v any, path ...string) any {
	for _, key := range path {
		o, _ := v.(object)
		v = o[key]
	}
	return v
}

func TestTheDocumentSaysWhatTheTypesMean(t *testing.T) {
	t.Parallel()
	document := servedDocument(t)
	for path, want := range map[string]string{
		"openapi":                    `"3.1.0"`,
		"info version":               `"dev"`,
		"security":                   `[{"bearer":[]}]`,
		"paths /health get security": `[]`,
		"components schemas ForwardInput required":                                            `["name","type"]`,
		"components schemas ForwardInput additionalProperties":                                `false`,
		"components schemas ForwardInput properties name type":                                `"string"`,
		"components schemas ForwardInput properties name minLength":                           `1`,
		"components schemas ForwardInput properties name maxLength":                           `255`,
		"components schemas ForwardInput properties localPort type":                           `["integer","null"]`,
		"components schemas ForwardInput properties localPort maximum":                        `65535`,
		"components schemas ForwardInput properties authType enum":                            `["password","key","keyContent","keySelect",null]`,
		"components schemas ForwardInput properties password format":                          `"password"`,
		"components schemas ForwardInput properties password writeOnly":                       `true`,
		"components schemas ForwardChange required":                                           `null`,
		"components schemas ForwardChange properties id type":                                 `["string","null"]`,
		"components schemas ForwardChange properties name type":                               `"string"`,
		"components schemas Forward properties lastUsed type":                                 `["string","null"]`,
		"components schemas Forward properties lastUsed format":                               `"date-time"`,
		"components schemas Forward properties createdAt type":                                `"string"`,
		"components schemas Forward properties lastError anyOf":                               `[{"$ref":"#/components/schemas/Failure"},{"enum":[null],"type":"null"}]`,
		"components schemas Forward properties warnings type":                                 `"array"`,
		"components schemas Registration properties email format":                             `"email"`,
		"components schemas Registration required":                                            `["email","username","password"]`,
		"components schemas Session properties token format":                                  `"password"`,
		"components schemas Session properties token writeOnly":                               `null`,
		"components schemas Error required":                                                   `["statusCode","message","error"]`,
		"components schemas Error properties message oneOf":                                   `[{"type":"string"},{"items":{"type":"string"},"type":"array"}]`,
		"components responses NotFound content application/json schema $ref":                  `"#/components/schemas/Error"`,
		"components responses Unauthorized headers WWW-Authenticate schema type":              `"string"`,
		"paths /port-forwards post requestBody content application/json schema $ref":          `"#/components/schemas/ForwardInput"`,
		"paths /port-forwards post requestBody required":                                      `true`,
		"paths /port-forwards/{id} patch requestBody content application/json schema $ref":    `"#/components/schemas/ForwardChange"`,
		"paths /port-forwards/{id} patch requestBody required":                                `null`,
		"paths /port-forwards/sync post requestBody content application/json schema maxItems": `1000`,
		"paths /port-forwards/sync post responses 200 content application/json schema $ref":   `"#/components/schemas/SyncedForward"`,
		"paths /port-forwards get responses 200 headers X-Total-Count schema type":            `"integer"`,
		"paths /port-forwards get responses 404":                                              `null`,
		"paths /port-forwards/{id}/start post responses 409 $ref":                             `"#/components/responses/Conflict"`,
		"paths /api/status get servers":                                                       `null`,
		"paths /api/status servers":                                                           `[{"description":"the relay's listener","url":"http://{relay}","variables":{"relay":{"default":"localhost:8765","description":"host:port, as --relay-listen says"}}}]`,
		"paths /api/status get security":                                                      `[{"apiKey":[]}]`,
		"paths /api/token post responses default $ref":                                        `"#/components/responses/RelayAnyRefusal"`,
		"components responses RelayAnyRefusal content application/json schema $ref":           `"#/components/schemas/RelayRefused"`,
		"components schemas RelayTokenInput required":                                         `["type"]`,
		"components schemas RelayTokenInput additionalProperties":                             `true`,
		"components securitySchemes apiKey":                                                   `{"description":"The relay's --api-key.","in":"header","name":"X-API-Key","type":"apiKey"}`,
		"components securitySchemes bearer scheme":                                            `"bearer"`,
		"components schemas Settings required":                                                `["registration","maxForwardsPerUser","maxActivePerUser","maxActive","allowedBinds","allowedDestinations","auditDays"]`,
		"components schemas SettingsInput required":                                           `null`,
		"components schemas SettingsInput properties allowedBinds type":                       `["array","null"]`,
		"components schemas SettingsInput properties registration enum":                       `["invite","open","closed",null]`,
		"paths /settings put requestBody content application/json schema $ref":                `"#/components/schemas/SettingsInput"`,
	} {
		got, err := json.Marshal(dig(document, strings.Split(path, " ")...))
		if err != nil || string(got) != want {
			t.Errorf("%s is %s instead of %s", path, got, want)
		}
	}
	parameters, err := json.Marshal(dig(document, "paths", "/port-forwards", "get", "parameters"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name":"status","schema":{"description":"only those; empty is no filter","enum":["active","inactive"],"type":"string"}`,
		`"name":"namespace"`, `"maximum":100,"minimum":1,"type":"integer"`,
	} {
		if !strings.Contains(string(parameters), want) {
			t.Errorf("no %s in %s", want, parameters)
		}
	}
}

// The contract's examples are of the black-box tests, which run them. Its
// answers show the properties that it knows; ours have more, so that what is
// missing in them is no contradiction.
func TestTheContractsExamplesAreAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	a := agreed()
	var printed map[string]json.RawMessage
	text, err := os.ReadFile("../../test/testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &printed); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../../test/testdata/requests.sh")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`curl -X (\w+) "http://localhost:3000([^"]*)"`)
	examples := strings.Split(string(script), "\n#: ")[1:]
	for _, example := range examples {
		name, command, _ := strings.Cut(example, "\n")
		found := line.FindStringSubmatch(command)
		if found == nil {
			t.Errorf("%s: no curl in %s", name, command)
			continue
		}
		r := httptest.NewRequestWithContext(t.Context(), found[1], found[2], nil)
		op := a.operation(r)
		if op == nil {
			t.Errorf("%s: %s %s is not described", name, found[1], found[2])
			continue
		}
		for parameter := range r.URL.Query() {
			if !slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == parameter }) {
				t.Errorf("%s: parameter %s is not described", name, parameter)
			}
		}
		if _, body, ok := strings.Cut(command, "-d '"); ok {
			body, _, _ = strings.Cut(body, "'")
			for _, problem := range a.checkRequest(op, body) {
				t.Errorf("%s: %s", name, problem)
			}
		}
		if answer, ok := printed[name]; ok {
			delete(printed, name)
			status := "200"
			if op.Responses[status] == nil {
				status = "201"
			}
			for _, problem := range a.validate(op.Responses[status].Content["application/json"].Schema, string(answer)) {
				if !strings.Contains(problem, "expected required property") {
					t.Errorf("the answer of %s: %s", name, problem)
				}
			}
		}
	}
	if len(examples) != 17 || len(printed) != 0 {
		t.Errorf("%d examples, and answers of none of them: %v", len(examples), printed)
	}
}
