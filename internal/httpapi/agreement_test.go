package httpapi_test

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/internal/httpapi"
)

func init() { huma.ValidateStrictCasing = true }

// agreement holds requests and answers against the document.
type agreement struct {
	document *huma.OpenAPI
	mux      *http.ServeMux // finds the operation of a request
	ops      map[string]*huma.Operation
}

var agreed = sync.OnceValue(func() *agreement {
	document, _ := httpapi.Described()
	a := &agreement{document: document, mux: http.NewServeMux(), ops: map[string]*huma.Operation{}}
	for path, item := range document.Paths {
		if len(item.Servers) > 0 {
			continue // another listener's
		}
		for _, op := range httpapi.Operations(item) {
			pattern := op.Method + " " + path
			a.ops[pattern] = op
			a.mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
		}
	}
	return a
})

// operation finds a request's, nil when it has none. Only the path counts: it
// may not be as the client sent it, as net/http has it.
func (a *agreement) operation(r *http.Request) *huma.Operation {
	u := *r.URL
	if len(u.Path) > 1 {
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
	}
	_, pattern := a.mux.Handler(&http.Request{Method: r.Method, URL: &u, Host: r.Host})
	return a.ops[pattern]
}

// check says what of an exchange is not in the document.
func (a *agreement) check(r *http.Request, sent string, status int, header http.Header, body string) []string {
	op := a.operation(r)
	if op == nil {
		if r.Method == http.MethodOptions && status == http.StatusNoContent {
			return nil // a preflight, which is the Fetch standard's
		}
		if status < 400 {
			return []string{"it is not described"}
		}
		return a.validate(&huma.Schema{Ref: "#/components/schemas/Error"}, body)
	}
	response := op.Responses[strconv.Itoa(status)]
	if response == nil && status >= 400 {
		response = op.Responses["default"]
	}
	if response == nil {
		return []string{fmt.Sprintf("status %d is not described", status)}
	}
	if response.Ref != "" {
		response = a.document.Components.Responses[strings.TrimPrefix(response.Ref, "#/components/responses/")]
	}
	var problems []string
	for _, name := range []string{"X-Request-Id", "X-Total-Count", "Retry-After", "WWW-Authenticate"} {
		if header.Get(name) != "" && response.Headers[name] == nil {
			problems = append(problems, "header "+name+" is not described")
		}
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	content := response.Content[media]
	switch {
	case content == nil:
		return append(problems, "content type "+media+" is not described")
	case media == "application/json" && r.Method != http.MethodHead:
		problems = append(problems, a.validate(content.Schema, body)...)
	}
	if status < 400 && op.RequestBody != nil && !strings.HasSuffix(op.Path, "/sync") {
		// In a sync a bad item spoils only itself.
		problems = append(problems, a.checkRequest(op, sent)...)
	}
	return problems
}

// checkRequest says why the document would not have a body that was taken.
func (a *agreement) checkRequest(op *huma.Operation, sent string) []string {
	if strings.TrimSpace(sent) == "" {
		if op.RequestBody.Required {
			return []string{"the body, which is missing, is required"}
		}
		return nil
	}
	var body any
	if err := json.Unmarshal([]byte(sent), &body); err != nil {
		return []string{err.Error()}
	}
	schema := op.RequestBody.Content["application/json"].Schema
	if fields, ok := body.(map[string]any); ok {
		var required []string
		if schema.Ref != "" {
			required = a.document.Components.Schemas.SchemaFromRef(schema.Ref).Required
		}
		for name, value := range fields {
			if value == "" && !slices.Contains(required, name) {
				delete(fields, name) // an empty text is null, or in a change of a secret nothing
			}
		}
	}
	return a.validateValue(schema, body, huma.ModeWriteToServer)
}

func (a *agreement) validate(schema *huma.Schema, text string) []string {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return []string{err.Error()}
	}
	return a.validateValue(schema, value, huma.ModeReadFromServer)
}

func (a *agreement) validateValue(schema *huma.Schema, value any, mode huma.ValidateMode) (problems []string) {
	result := &huma.ValidateResult{}
	huma.Validate(a.document.Components.Schemas, schema, huma.NewPathBuffer(nil, 0), mode, value, result)
	for _, err := range result.Errors {
		problems = append(problems, err.Error())
	}
	return problems
}

// held reports what of an exchange is not in the document.
func held(t *testing.T, r *http.Request, sent string, a answer) {
	t.Helper()
	for _, problem := range agreed().check(r, sent, a.status, a.header, a.raw) {
		t.Errorf("%s %s, %d: against the document: %s\n%.500s", r.Method, r.URL, a.status, problem, a.raw)
	}
}
