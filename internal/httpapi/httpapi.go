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
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/httpapi/strictjson"
)

// Options are what a handler can be told.
type Options struct {
	Logger         *slog.Logger   // nil for slog.Default
	Version        string         // of the build, as the document tells it; empty for "dev"
	Origins        []string       // web origins that may call the API, exactly as browsers send them; "null" too
	TrustedProxies []netip.Prefix // whose word on the client's address counts; masked, IPv4 unmapped
}

// New makes the handler of the control API.
func New(a *app.App, o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	mux := http.NewServeMux()
	newRoutes(mux, a, o)
	return &frame{mux: mux, logger: o.Logger, origins: o.Origins, proxies: o.TrustedProxies}
}

// newRoutes registers all that there is with mux.
func newRoutes(mux humago.Mux, a *app.App, o Options) *routes {
	h := &routes{logger: o.Logger, app: a, version: cmp.Or(o.Version, "dev")}
	h.api = humago.New(mux, h.config())
	h.api.UseMiddleware(h.authenticate, h.readBody)
	h.registerHealth()
	h.registerUsers()
	h.registerServers()
	h.registerKeys()
	h.registerForwards()
	h.registerTeams()
	h.registerData()
	h.registerTokens()
	h.registerOperators()
	h.registerDocs()
	return h
}

// routes registers operations.
type routes struct {
	logger  *slog.Logger
	app     *app.App
	version string
	api     huma.API
	added   *huma.Operation // the one that was registered last, in the document

	document func() *huma.OpenAPI // the whole document, once all operations are registered
}

// config is huma without its defaults, which add $schema to bodies, Link
// headers and routes of its own.
func (h *routes) config() huma.Config {
	document := newDocument(h.version)
	document.OnAddOperation = []huma.AddOpFunc{func(_ *huma.OpenAPI, op *huma.Operation) { h.added = op }}
	return huma.Config{
		OpenAPI:       document,
		Formats:       map[string]huma.Format{jsonType: {Marshal: marshal, Unmarshal: json.Unmarshal}},
		DefaultFormat: jsonType,
	}
}

const jsonType = "application/json"

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

// refuses documents statuses that the rules in refusals do not know of.
func refuses(statuses ...int) func(*huma.Operation) {
	return func(op *huma.Operation) {
		if op.Metadata == nil {
			op.Metadata = map[string]any{}
		}
		op.Metadata[refusesKey] = statuses
	}
}

// tagged says under which of the document's tags an operation stands.
func tagged(tag string) func(*huma.Operation) {
	return func(op *huma.Operation) { op.Tags = []string{tag} }
}

// handle registers an operation whose body, if one is sent, does not matter.
// What is more than a look is an act, of which the audit tells.
func handle[I, O any](h *routes, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	huma.Register(h.api, op, func(ctx context.Context, in *I) (*O, error) {
		ctx, record := h.act(ctx, op)
		out, err := fn(ctx, in)
		record(err)
		if err != nil {
			return nil, toldFrom(ctx, h.logger, err)
		}
		return out, nil
	})
}

// act makes an operation that changes something one that the audit tells of;
// record tells its end.
func (h *routes) act(ctx context.Context, op huma.Operation) (_ context.Context, record func(error)) {
	if op.Method == http.MethodGet || h.app == nil {
		return ctx, func(error) {}
	}
	r := requestFrom(ctx)
	who := audit.Actor{UserID: r.caller.UserID, Email: r.caller.User.Email, TokenID: r.caller.TokenID}
	ctx = audit.With(ctx, &audit.Act{Action: op.OperationID, Actor: who, Address: r.address, Request: r.id})
	return app.WithCaller(ctx, r.caller), func(err error) { h.app.Record(ctx, err) }
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
	h.describe(changeSchema(h.api.OpenAPI().Components.Schemas, reflect.TypeFor[B]()))
}

// schema is a reference to the schema of a body of type t.
func (h *routes) schema(t reflect.Type) *huma.Schema {
	return requestSchema(h.api.OpenAPI().Components.Schemas, t)
}

// describe documents the body of the operation registered last. Told before,
// huma would read the body itself.
func (h *routes) describe(schema *huma.Schema) {
	h.added.RequestBody = &huma.RequestBody{
		Required: needed(h.api.OpenAPI().Components.Schemas, schema),
		Content:  map[string]*huma.MediaType{jsonType: {Schema: schema}},
	}
}
