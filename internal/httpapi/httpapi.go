// Package httpapi is the control API on HTTP: routes, decoding, one use case of
// package app each, encoding, and errors to statuses. It decides nothing.
//
// Routes are registered with huma, which describes them for the OpenAPI
// document, matches parameters and encodes answers. Bodies are read by package
// strictjson and errors are written here, since huma's own ways of both are
// not the contract's.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/httpapi/strictjson"
)

// Options are what a handler can be told.
type Options struct {
	Logger *slog.Logger // nil for slog.Default
}

// New makes the handler of the control API.
func New(a *app.App, o Options) http.Handler {
	logger := o.Logger
	if logger == nil {
		logger = slog.Default()
	}
	mux := http.NewServeMux()
	h := &routes{logger: logger, app: a}
	h.api = humago.New(mux, h.config())
	h.api.UseMiddleware(h.authenticate, h.readBody)
	h.registerHealth()
	h.registerUsers()
	h.registerServers()
	h.registerKeys()
	h.registerForwards()
	return &frame{mux: mux, logger: logger}
}

// routes registers operations.
type routes struct {
	logger *slog.Logger
	app    *app.App
	api    huma.API
	added  *huma.Operation // the one that was registered last, in the document
}

// config is huma without its defaults, which add $schema to bodies, Link
// headers and routes of its own.
func (h *routes) config() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[api.Opt[string]](), reflect.TypeFor[*string]())
	registry.RegisterTypeAlias(reflect.TypeFor[api.Opt[api.Secret]](), reflect.TypeFor[*string]())
	registry.RegisterTypeAlias(reflect.TypeFor[api.Opt[int]](), reflect.TypeFor[*int]())
	registry.RegisterTypeAlias(reflect.TypeFor[api.Time](), reflect.TypeFor[time.Time]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "adit", Version: "1", Description: "The control API of an adit server."},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					bearer: {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
				},
			},
			Security:       []map[string][]string{{bearer: {}}},
			OnAddOperation: []huma.AddOpFunc{func(_ *huma.OpenAPI, op *huma.Operation) { h.added = op }},
		},
		Formats:       map[string]huma.Format{jsonType: {Marshal: marshal, Unmarshal: json.Unmarshal}},
		DefaultFormat: jsonType,
	}
}

const (
	bearer   = "bearer" // the security scheme's name in the document
	jsonType = "application/json"
)

// marshal writes v, or nothing when it cannot be encoded. That the client has
// gone is no error: huma would panic.
func marshal(w io.Writer, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, _ = w.Write(buf.Bytes())
	return nil
}

// An operation is described by its method, path and what it does; it answers
// 200 and needs a token unless it says otherwise.
func operation(method, path, id, summary string, change ...func(*huma.Operation)) huma.Operation {
	op := huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary,
		DefaultStatus: http.StatusOK, MaxBodyBytes: api.MaxBody,
		SkipValidateParams: true, // huma's messages are not the contract's
	}
	for _, fn := range change {
		fn(&op)
	}
	return op
}

// public needs no token.
func public(op *huma.Operation) { op.Security = []map[string][]string{} }

// creates answers 201.
func creates(op *huma.Operation) { op.DefaultStatus = http.StatusCreated }

func tagged(tag string) func(*huma.Operation) {
	return func(op *huma.Operation) { op.Tags = []string{tag} }
}

// handle registers an operation whose body, if one is sent, does not matter.
func handle[I, O any](h *routes, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	huma.Register(h.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, toldFrom(ctx, h.logger, err)
		}
		return out, nil
	})
}

// handleBody registers an operation with a body of type B. rules find what is
// wrong with it beyond its struct tags.
func handleBody[B, I, O any](h *routes, op huma.Operation, fn func(context.Context, *I, *B) (*O, error), rules ...func(*B) []string) {
	handle(h, op, func(ctx context.Context, in *I) (*O, error) {
		body := new(B)
		err := strictjson.Object(requestFrom(ctx).body, strictjson.Whole, body)
		for _, rule := range rules {
			err = strictjson.Also(err, rule(body)...)
		}
		if err != nil {
			return nil, err
		}
		return fn(ctx, in, body)
	})
	h.describe(h.schema(reflect.TypeFor[B]()))
}

// handlePatch registers a PATCH of a row by a body of type B. A body may repeat
// the row's id.
func handlePatch[B, I, O any](h *routes, op huma.Operation, fn func(context.Context, *I, string, *B) (*O, error)) {
	handle(h, op, func(ctx context.Context, in *I) (*O, error) {
		body := new(B)
		var row struct {
			ID api.Opt[string] `json:"id"`
		}
		if err := strictjson.Object(requestFrom(ctx).body, strictjson.Patch, body, &row); err != nil {
			return nil, err
		}
		id, _ := row.ID.Get()
		return fn(ctx, in, id, body)
	})
	// All of B, and none of it required.
	partial := *h.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), false, "")
	partial.Required = nil
	h.describe(&partial)
}

// schema is a reference to the schema of t.
func (h *routes) schema(t reflect.Type) *huma.Schema {
	return h.api.OpenAPI().Components.Schemas.Schema(t, true, "")
}

// describe documents the body of the operation registered last. Told before,
// huma would read the body itself.
func (h *routes) describe(schema *huma.Schema) {
	h.added.RequestBody = &huma.RequestBody{
		Required: true,
		Content:  map[string]*huma.MediaType{jsonType: {Schema: schema}},
	}
}
