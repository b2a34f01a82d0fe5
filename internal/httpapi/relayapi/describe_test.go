package relayapi

import (
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/internal/redact"
)

var described = sync.OnceValue(func() *huma.OpenAPI {
	document := &huma.OpenAPI{Components: &huma.Components{
		Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
	}}
	Describe(document)
	for _, s := range document.Components.Schemas.Map() {
		s.PrecomputeMessages()
	}
	return document
})

// operationsOf gives those of a path by method.
func operationsOf(item *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}
	for method, op := range all {
		if op == nil {
			delete(all, method)
		}
	}
	return all
}

func TestTheDescriptionHasTheRoutesAndNoOthers(t *testing.T) {
	t.Parallel()
	h := New(Options{Tokens: seeded(), Key: redact.New(testKey), Metrics: http.NotFoundHandler()}).(*handler)
	for path, item := range described().Paths {
		var methods []string
		for method, op := range operationsOf(item) {
			methods = append(methods, method)
			if op.Summary == "" || op.OperationID == "" || !slices.Equal(op.Tags, []string{Tag}) || op.Responses["401"] == nil || op.Responses["default"] == nil {
				t.Errorf("%s %s: %+v", method, path, op)
			}
		}
		var routed []string
		for _, m := range h.route(strings.ReplaceAll(path, "{token}", "x")) {
			// HEAD is GET's, and a POST to a token's path is one to /api/token/.
			if m.name != http.MethodHead && (m.name != http.MethodPost || path != tokenPath+"/{token}") {
				routed = append(routed, m.name)
			}
		}
		slices.Sort(methods)
		slices.Sort(routed)
		if !slices.Equal(methods, routed) {
			t.Errorf("%s: described %q, routed %q", path, methods, routed)
		}
	}
	var paths []string
	for path := range described().Paths {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if want := []string{metricsPath, statusPath, tokenPath, tokenPath + "/{token}"}; !slices.Equal(paths, want) {
		t.Errorf("paths %q, want %q", paths, want)
	}
}

// held holds an exchange with the API against its description.
func held(t *testing.T, method, path, sent string, got reply) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	if strings.HasPrefix(path, tokenPath+"/") {
		if path = tokenPath + "/{token}"; method == http.MethodPost || sent != "" {
			path = tokenPath
		}
	}
	item := described().Paths[path]
	if item == nil || operationsOf(item)[method] == nil {
		if got.status < 400 && method != http.MethodHead {
			t.Errorf("%s %s, %d, is not described", method, path, got.status)
		}
		return
	}
	op := operationsOf(item)[method]
	response := op.Responses[strconv.Itoa(got.status)]
	if response == nil && got.status >= 400 {
		response = op.Responses["default"]
	}
	if got.status == http.StatusNotFound && path == metricsPath {
		return // a relay without figures has no such path, as it has not any other
	}
	if response == nil {
		t.Errorf("%s %s: status %d is not described", method, path, got.status)
		return
	}
	if response.Ref != "" {
		response = described().Components.Responses[strings.TrimPrefix(response.Ref, "#/components/responses/")]
	}
	media, _, _ := mime.ParseMediaType(got.header.Get("Content-Type"))
	content := response.Content[media]
	switch {
	case content == nil:
		t.Errorf("%s %s: content type %q is not described", method, path, media)
		return
	case media != jsonType:
		return
	}
	problems := validate(content.Schema, got.body)
	if op.RequestBody != nil && got.status < 400 {
		if strings.Contains(sent, `"type":"forward"`) {
			sent = strings.ReplaceAll(sent, `"port":99999999999999999999`, `"port":0`) // it is no matter there
		}
		problems = append(problems, validate(op.RequestBody.Content[jsonType].Schema, sent)...)
	}
	for _, problem := range problems {
		t.Errorf("%s %s %.200s: against the description: %s in %.200s", method, path, sent, problem, got.body)
	}
}

func validate(schema *huma.Schema, text string) (problems []string) {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return []string{err.Error()}
	}
	result := &huma.ValidateResult{}
	huma.Validate(described().Components.Schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, value, result)
	for _, err := range result.Errors {
		problems = append(problems, err.Error())
	}
	return problems
}
