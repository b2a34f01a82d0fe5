package httpapi

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/httpapi/relayapi"
)

const schemaPrefix = "#/components/schemas/"

// newRegistry makes schemas of types. What huma cannot see in them finishSchemas
// adds.
func newRegistry() huma.Registry {
	r := huma.NewMapRegistry(schemaPrefix, schemaName)
	r.RegisterTypeAlias(reflect.TypeFor[api.Opt[string]](), reflect.TypeFor[string]())
	r.RegisterTypeAlias(reflect.TypeFor[api.Opt[api.Secret]](), reflect.TypeFor[string]())
	r.RegisterTypeAlias(reflect.TypeFor[api.Opt[int]](), reflect.TypeFor[int]())
	r.RegisterTypeAlias(reflect.TypeFor[api.Opt[bool]](), reflect.TypeFor[bool]())
	r.RegisterTypeAlias(reflect.TypeFor[api.Opt[[]string]](), reflect.TypeFor[[]string]())
	r.RegisterTypeAlias(reflect.TypeFor[api.Time](), timeType)
	return r
}

// schemaName names a schema after its type. The relay's have a name of their
// own kind, since both APIs stand in one document.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[errorAnswer]():
		return "Error"
	case t.PkgPath() == reflect.TypeFor[relayapi.Options]().PkgPath() && !strings.HasPrefix(name, "Relay"):
		return "Relay" + name
	}
	return name
}

// requestSchema is a reference to the schema of a body of type t, which needs
// the fields whose tag says required and no others. A type that is an answer
// too needs them all there: it gets a second schema, for requests.
func requestSchema(r huma.Registry, t reflect.Type) *huma.Schema {
	ref := r.Schema(t, true, "")
	whole := r.SchemaFromRef(ref.Ref)
	var required []string
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("required") == "true" {
			required = append(required, jsonName(f))
		}
	}
	if len(required) == len(whole.Required) {
		return ref
	}
	name := strings.TrimPrefix(ref.Ref, schemaPrefix) + "Input"
	if r.Map()[name] == nil {
		request := *whole
		request.Required = required
		r.Map()[name] = &request
	}
	return &huma.Schema{Ref: schemaPrefix + name}
}

// changeSchema is a reference to the schema of a PATCH by a body of type t: all
// of it, none of it required, and the row's id may be repeated.
func changeSchema(r huma.Registry, t reflect.Type) *huma.Schema {
	ref := r.Schema(t, true, "")
	name := strings.TrimSuffix(strings.TrimPrefix(ref.Ref, schemaPrefix), "Input") + "Change"
	if r.Map()[name] == nil {
		change := *r.SchemaFromRef(ref.Ref)
		change.Required = nil
		change.Properties = maps.Clone(change.Properties)
		change.Properties["id"] = &huma.Schema{Type: huma.TypeString, Nullable: true, Description: "the same as in the path, if given"}
		r.Map()[name] = &change
	}
	return &huma.Schema{Ref: schemaPrefix + name}
}

// needed reports whether a body of this schema must be there: none at all is
// read as an empty object.
func needed(r huma.Registry, s *huma.Schema) bool {
	if s.Ref != "" {
		s = r.SchemaFromRef(s.Ref)
	}
	return s.Type != huma.TypeObject || len(s.Required) > 0
}

// finishSchemas adds what the struct tags of package api mean beyond huma's
// ideas of them: what may be null, what may not be empty, what is secret.
func finishSchemas(r huma.Registry) {
	for name, s := range r.Map() {
		if t := r.TypeFromRef(schemaPrefix + name); t != nil && t.PkgPath() == reflect.TypeFor[api.Error]().PkgPath() {
			finishSchema(s, t)
		}
	}
	if s := r.Map()["Error"]; s != nil {
		text := &huma.Schema{Type: huma.TypeString}
		s.Properties["message"].OneOf = []*huma.Schema{text, {Type: huma.TypeArray, Items: text}}
	}
	for _, name := range []string{"Error", "Failure"} {
		if s := r.Map()[name]; s != nil {
			s.Properties["code"].Enum = codes()
		}
	}
	for _, s := range r.Map() {
		s.PrecomputeMessages()
	}
}

// codes are those that an error can have.
func codes() (names []any) {
	for _, code := range slices.Sorted(maps.Keys(statuses)) {
		names = append(names, string(code))
	}
	return names
}

func finishSchema(s *huma.Schema, t reflect.Type) {
	for _, f := range reflect.VisibleFields(t) {
		property := s.Properties[jsonName(f)]
		if f.Anonymous || property == nil {
			continue
		}
		optional := strings.HasPrefix(f.Type.Name(), "Opt[")
		required := f.Tag.Get("required") == "true"
		switch f.Type {
		case reflect.TypeFor[api.Opt[api.Secret]](), reflect.TypeFor[api.Secret]():
			property.Format = "password"
			property.WriteOnly = optional || required // others are answered, once
		}
		if required && property.Type == huma.TypeString && property.MinLength == nil && property.Enum == nil {
			one := 1
			property.MinLength = &one
		}
		if optional && !required || f.Type.Kind() == reflect.Pointer && !strings.Contains(f.Tag.Get("json"), ",omit") {
			orNull(property)
		}
	}
}

// orNull makes a schema one of null too.
func orNull(s *huma.Schema) {
	if s.Ref != "" {
		// huma looks at no type called null when it validates, but at enum.
		*s = huma.Schema{Description: s.Description, AnyOf: []*huma.Schema{{Ref: s.Ref}, {Type: "null", Enum: []any{nil}}}}
		return
	}
	s.Nullable = true
	if s.Enum != nil {
		s.Enum = append(slices.Clip(s.Enum), nil)
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// refusals are the statuses that an operation may answer with beyond those
// that any request may meet.
func refusals(op *huma.Operation) []int {
	statuses := []int{http.StatusBadRequest}
	if op.Security == nil || len(op.Security) > 0 {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden)
		if op.Method != http.MethodGet {
			statuses = append(statuses, http.StatusConflict)
		}
	}
	if strings.Contains(op.Path, "{") {
		statuses = append(statuses, http.StatusNotFound)
	}
	if op.RequestBody != nil {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	more, _ := op.Metadata[refusesKey].([]int)
	return append(statuses, more...)
}
