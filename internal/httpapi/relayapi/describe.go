package relayapi

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/api"
)

// Tag is what the operations stand under in an OpenAPI document.
const (
	Tag            = "relay"
	TagDescription = "The relay's tokens. This API is served by the relay's listener, where --api-key gives it a key, and has its own form of errors."
)

const (
	apiKey   = "apiKey" // the security scheme's name in the document
	jsonType = "application/json"
)

// Describe adds the API's operations to a document, with the server that they
// are at and what they authenticate by.
func Describe(document *huma.OpenAPI) {
	c := document.Components
	if c.SecuritySchemes == nil {
		c.SecuritySchemes = map[string]*huma.SecurityScheme{}
	}
	c.SecuritySchemes[apiKey] = &huma.SecurityScheme{Type: "apiKey", In: "header", Name: "X-API-Key", Description: "The relay's --api-key."}
	if c.Responses == nil {
		c.Responses = map[string]*huma.Response{}
	}
	for status, description := range refusals {
		c.Responses[refusalName(status)] = &huma.Response{Description: description, Content: content(schemaOf[refused](document))}
	}
	for _, op := range []*huma.Operation{
		statusOperation(document), metricsOperation(), addOperation(document), removeOperation(document), removeByBodyOperation(document),
	} {
		op.Tags, op.Security = []string{Tag}, []map[string][]string{{apiKey: {}}}
		document.AddOperation(op)
		document.Paths[op.Path].Servers = []*huma.Server{{
			URL: "http://{relay}", Description: "the relay's listener",
			Variables: map[string]*huma.ServerVariable{"relay": {Default: "localhost:8765", Description: "host:port, as --relay-listen says"}},
		}}
	}
}

// refusals are the statuses of what is refused; 0 stands for all others.
var refusals = map[int]string{
	0:                                "Any other refusal.",
	http.StatusBadRequest:            "The body is malformed, or asks for what cannot be.",
	http.StatusUnauthorized:          "The key is missing or wrong.",
	http.StatusNotFound:              "There is no such token.",
	http.StatusConflict:              "The token is there already, or its port is taken.",
	http.StatusRequestEntityTooLarge: "The body is larger than 64 KiB.",
}

func refusalName(status int) string {
	if status == 0 {
		return "RelayAnyRefusal"
	}
	return "Relay" + strings.ReplaceAll(http.StatusText(status), " ", "")
}

// responses are an operation's: what it answers, and the refusals that it has
// beside those of any.
func responses(ok *huma.Response, statuses ...int) map[string]*huma.Response {
	all := map[string]*huma.Response{"200": ok, "default": {Ref: "#/components/responses/" + refusalName(0)}}
	for _, status := range append(statuses, http.StatusUnauthorized) {
		all[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + refusalName(status)}
	}
	return all
}

func schemaOf[T any](document *huma.OpenAPI) *huma.Schema {
	return document.Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

func content(schema *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{jsonType: {Schema: schema}}
}

func body(schema *huma.Schema) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: content(schema)}
}

func statusOperation(document *huma.OpenAPI) *huma.Operation {
	return &huma.Operation{
		Method: http.MethodGet, Path: statusPath, OperationID: "get-relay-status", Summary: "The relay's version and tokens",
		Parameters: []*huma.Param{{
			Name: "redact", In: "query", Description: "shortens the tokens, unless it is false or 0",
			Schema: &huma.Schema{Type: huma.TypeString},
		}},
		Responses: responses(&huma.Response{Description: "OK", Content: content(schemaOf[api.RelayState](document))}),
	}
}

func metricsOperation() *huma.Operation {
	return &huma.Operation{
		Method: http.MethodGet, Path: metricsPath, OperationID: "get-relay-metrics", Summary: "The relay's figures, for Prometheus",
		Responses: responses(&huma.Response{Description: "OK", Content: map[string]*huma.MediaType{
			"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}},
		}}),
	}
}

func addOperation(document *huma.OpenAPI) *huma.Operation {
	return &huma.Operation{
		Method: http.MethodPost, Path: tokenPath, OperationID: "add-relay-token", Summary: "Add a token",
		Description: "A connector token that its reverse token has already is no error.",
		RequestBody: body(schemaOf[tokenInput](document)),
		Responses: responses(&huma.Response{Description: "OK", Content: content(schemaOf[api.RelayToken](document))},
			http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge),
	}
}

func removeOperation(document *huma.OpenAPI) *huma.Operation {
	return &huma.Operation{
		Method: http.MethodDelete, Path: tokenPath + "/{token}", OperationID: "remove-relay-token", Summary: "Remove a token",
		Parameters: []*huma.Param{{
			Name: "token", In: "path", Required: true, Description: "the token; slashes in it may stand as they are",
			Schema: &huma.Schema{Type: huma.TypeString},
		}},
		Responses: responses(&huma.Response{Description: "OK", Content: content(schemaOf[api.RelayToken](document))}, http.StatusNotFound),
	}
}

func removeByBodyOperation(document *huma.OpenAPI) *huma.Operation {
	return &huma.Operation{
		Method: http.MethodDelete, Path: tokenPath, OperationID: "remove-relay-token-by-body", Summary: "Remove the token in the body",
		RequestBody: body(schemaOf[tokenChoice](document)),
		Responses: responses(&huma.Response{Description: "OK", Content: content(schemaOf[api.RelayToken](document))},
			http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge),
	}
}
