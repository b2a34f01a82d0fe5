package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/internal/httpapi/relayapi"
)

var timeType = reflect.TypeFor[time.Time]()

const (
	bearer     = "bearer"   // the security scheme's name in the document
	refusesKey = "refuses"  // of an operation's metadata
	anyError   = "AnyError" // the answer of the document that stands for all errors not told apart
)

// tags are all that operations may have, in the order of the document.
var tags = []*huma.Tag{
	{Name: "health", Description: "Whether the server serves."},
	{Name: "users", Description: "Accounts and their sessions."},
	{Name: "tokens", Description: "API tokens: for programs, beside the tokens that a login gives to people."},
	{Name: "servers", Description: "SSH servers that port forwards go through."},
	{Name: "keys", Description: "Keys and passwords for SSH servers. No answer ever holds a secret."},
	{Name: "port forwards", Description: "What listens where and delivers where, and whether it runs."},
	{Name: "teams", Description: "Teams share servers, keys and port forwards. Their id is the `namespace` of lists, creations and syncs."},
	{Name: "data", Description: "All rows of a person or a team at once."},
	{Name: "audit", Description: "Who did what, when, from where, with what result."},
	{Name: "settings", Description: "What operators set at run time, within what the server's flags allow."},
	{Name: "operators", Description: "Users, as operators see them."},
	{Name: relayapi.Tag, Description: relayapi.TagDescription},
	{Name: "documentation", Description: "This description."},
}

const description = `The HTTP API of an adit server: port forwards through SSH servers, and the tokens of its relay.

JSON in camelCase, UTF-8. Instants are ISO-8601 in UTC with milliseconds. What is unset is there and null; in a request an empty text is null too, where null is allowed. Lists are newest first, and whole unless page or limit is given.

A body is application/json, 1 MiB at most (8 MiB for a sync); a property that is not described is an error. Every error has the form of Error: code is for programs, message and hint are for people. X-Request-Id names the request in the server's log.

An id in a path is a row's id or its localId. What the caller may not see is 404; what he sees and may not do is 403.`

// newDocument is the document before any operation is in it.
func newDocument(version string) *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "adit", Version: version, Description: description,
			License: &huma.License{Name: "MIT", Identifier: "MIT"},
		},
		Servers: []*huma.Server{{URL: "/", Description: "this server's control API"}},
		Components: &huma.Components{
			Schemas: newRegistry(),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				bearer: {Type: "http", Scheme: "bearer", Description: "A login's token, which is a JWT, or an API token."},
			},
			Headers: map[string]*huma.Header{
				"X-Request-Id": {Description: "names the request in the server's log", Schema: &huma.Schema{Type: huma.TypeString}},
			},
			Responses: map[string]*huma.Response{},
		},
		Security: []map[string][]string{{bearer: {}}},
	}
}

// finish makes the document whole, once all operations are in it.
func (h *routes) finish() *huma.OpenAPI {
	document := h.api.OpenAPI()
	c := document.Components
	problem := c.Schemas.Schema(reflect.TypeFor[errorAnswer](), true, "")
	c.Responses[anyError] = errorResponse("Any other error.", problem)
	used := map[string]bool{}
	for _, item := range document.Paths {
		for _, op := range operations(item) {
			delete(op.Responses, "default")
			for _, r := range op.Responses {
				finishResponse(r)
			}
			for _, status := range refusals(op) {
				name := strings.ReplaceAll(http.StatusText(status), " ", "")
				if c.Responses[name] == nil {
					c.Responses[name] = errorResponse(errorDescriptions[status], problem)
				}
				op.Responses[strconv.Itoa(status)] = responseRef(name)
			}
			op.Responses["default"] = responseRef(anyError)
			used[op.Tags[0]] = true
		}
	}
	if r := c.Responses["Unauthorized"]; r != nil {
		r.Headers["WWW-Authenticate"] = &huma.Header{Description: "how to authenticate (RFC 6750)", Schema: &huma.Schema{Type: huma.TypeString}}
	}
	if r := c.Responses["TooManyRequests"]; r != nil {
		r.Headers["Retry-After"] = &huma.Header{Description: "seconds until another try is looked at", Schema: &huma.Schema{Type: huma.TypeInteger}}
	}
	relayapi.Describe(document)
	used[relayapi.Tag] = true
	for _, tag := range tags {
		if used[tag.Name] {
			document.Tags = append(document.Tags, tag)
		}
	}
	finishSchemas(c.Schemas)
	return document
}

// errorDescriptions say when an error is answered.
var errorDescriptions = map[int]string{
	http.StatusBadRequest:            "The request is malformed, or message lists what is wrong with it.",
	http.StatusUnauthorized:          "There is no valid token.",
	http.StatusForbidden:             "The caller may not do this.",
	http.StatusNotFound:              "There is no such row, or none that the caller may see.",
	http.StatusConflict:              "It does not fit what is there: a name or an address that is taken, a state, a limit.",
	http.StatusRequestEntityTooLarge: "The body is too large.",
	http.StatusUnsupportedMediaType:  "The body is not application/json.",
	http.StatusTooManyRequests:       "Too many tries. Retry-After says when the next is looked at.",
	http.StatusBadGateway:            "The SSH server cannot be reached, or refuses.",
	http.StatusGatewayTimeout:        "The SSH server took too long.",
}

func errorResponse(description string, problem *huma.Schema) *huma.Response {
	r := &huma.Response{Description: description, Content: map[string]*huma.MediaType{jsonType: {Schema: problem}}}
	finishResponse(r)
	return r
}

// finishResponse adds what every answer has.
func finishResponse(r *huma.Response) {
	for _, header := range r.Headers {
		if header.Schema != nil {
			header.Description, header.Schema.Description, header.Schema.Nullable = header.Schema.Description, "", false
		}
	}
	if r.Headers == nil {
		r.Headers = map[string]*huma.Header{}
	}
	r.Headers["X-Request-Id"] = headerRef("X-Request-Id")
}

func responseRef(name string) *huma.Response {
	return &huma.Response{Ref: "#/components/responses/" + name}
}
func headerRef(name string) *huma.Header { return &huma.Header{Ref: "#/components/headers/" + name} }

// operations of a path, in the order in which one reads them.
func operations(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}

// written is an answer that is written as it is.
type written struct {
	ContentType           string `header:"Content-Type" hidden:"true"`
	ContentSecurityPolicy string `header:"Content-Security-Policy" hidden:"true"`
	Body                  []byte
}

// registerDocs registers the document and the page made of it. Both are made
// when somebody first asks.
func (h *routes) registerDocs() {
	whole := sync.OnceValue(h.finish)
	h.document = whole
	encoded := sync.OnceValues(func() ([]byte, error) {
		var buf bytes.Buffer
		err := marshal(&buf, whole())
		return buf.Bytes(), err
	})
	handle(h, operation(http.MethodGet, "/openapi.json", "get-openapi", "This API's description, OpenAPI 3.1", public, tagged("documentation"),
		answers(jsonType, &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true})),
		func(context.Context, *none) (*written, error) {
			body, err := encoded()
			return &written{ContentType: jsonType, Body: body}, err
		})
	page := sync.OnceValues(func() ([]byte, error) { return docsPage(whole()) })
	handle(h, operation(http.MethodGet, "/docs", "get-docs", "This API's description, for people", public, tagged("documentation"),
		answers("text/html", &huma.Schema{Type: huma.TypeString})),
		func(context.Context, *none) (*written, error) {
			body, err := page()
			return &written{ContentType: "text/html; charset=utf-8", ContentSecurityPolicy: docsPolicy, Body: body}, err
		})
}

// answers says what a successful answer is, where no type does.
func answers(contentType string, schema *huma.Schema) func(*huma.Operation) {
	return func(op *huma.Operation) {
		op.Responses = map[string]*huma.Response{strconv.Itoa(op.DefaultStatus): {
			Description: http.StatusText(op.DefaultStatus),
			Content:     map[string]*huma.MediaType{contentType: {Schema: schema}},
		}}
	}
}
