package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The page at /docs. It needs no script and nothing from any other host.
var (
	//go:embed docs/page.html
	docsHTML string
	//go:embed docs/style.css
	docsStyle string

	docsTemplate = template.Must(template.New("docs").Parse(docsHTML))
	docsPolicy   = "default-src 'none'; style-src 'sha256-" + styleHash() + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

func styleHash() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// What the page shows.
type (
	docsView struct {
		Title, Version string
		Description    []string // paragraphs
		Style          template.CSS
		Groups         []docsGroup
		Objects        []docsObject
	}
	docsGroup struct {
		ID, Name, Description string
		Operations            []docsOperation
	}
	docsOperation struct {
		ID, Method, Path, Summary, Description string
		Needs                                  string // the header that authenticates; empty for none
		Parameters                             []docsField
		Body                                   *docsBody
		Answers, Errors                        []docsAnswer
		Curl                                   string
	}
	docsBody struct {
		docsType
		Required bool
		Fields   []docsField
	}
	docsAnswer struct {
		docsType
		Status, Description string
		Headers             []docsField
	}
	docsField struct {
		docsType
		Name, In, Doc string
		Required      bool
	}
	// A type in words, as "array of " Forward " or null".
	docsType   struct{ Before, Object, After, Limits string }
	docsObject struct {
		Name   string
		Fields []docsField
	}
)

// docsPage makes the page of a document.
func docsPage(document *huma.OpenAPI) ([]byte, error) {
	d := &docsBuilder{document: document, registry: document.Components.Schemas, objects: map[string]bool{}}
	view := docsView{
		Title: document.Info.Title, Version: document.Info.Version,
		Description: strings.Split(document.Info.Description, "\n\n"), Style: template.CSS(docsStyle), //nolint:gosec // our own
	}
	for _, tag := range document.Tags {
		view.Groups = append(view.Groups, d.group(tag))
	}
	view.Objects = d.linked()
	var buf bytes.Buffer
	if err := docsTemplate.Execute(&buf, view); err != nil {
		return nil, fmt.Errorf("make the page of the document: %w", err)
	}
	return buf.Bytes(), nil
}

// docsBuilder goes through a document.
type docsBuilder struct {
	document *huma.OpenAPI
	registry huma.Registry
	objects  map[string]bool // that something refers to
}

func (d *docsBuilder) group(tag *huma.Tag) docsGroup {
	g := docsGroup{ID: strings.ReplaceAll(tag.Name, " ", "-"), Name: tag.Name, Description: strings.ReplaceAll(tag.Description, "`", "")}
	for _, path := range slices.Sorted(maps.Keys(d.document.Paths)) {
		item := d.document.Paths[path]
		for _, op := range operations(item) {
			if op.Tags[0] == tag.Name {
				g.Operations = append(g.Operations, d.operation(item, op))
			}
		}
	}
	return g
}

func (d *docsBuilder) operation(item *huma.PathItem, op *huma.Operation) docsOperation {
	o := docsOperation{
		ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description,
		Needs: d.needs(op), Curl: d.curl(item, op),
	}
	for _, p := range op.Parameters {
		o.Parameters = append(o.Parameters, docsField{
			docsType: d.typeOf(p.Schema), Name: p.Name, In: p.In, Doc: p.Description, Required: p.Required,
		})
	}
	if op.RequestBody != nil {
		schema := op.RequestBody.Content[jsonType].Schema
		o.Body = &docsBody{Required: op.RequestBody.Required}
		if schema.Ref != "" {
			o.Body.Fields = d.fields(schema.Ref)
		} else {
			o.Body.docsType = d.typeOf(schema)
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		a := d.answer(status, op.Responses[status])
		if status < "400" {
			o.Answers = append(o.Answers, a)
		} else {
			o.Errors = append(o.Errors, a)
		}
	}
	return o
}

// needs is the header that authenticates.
func (d *docsBuilder) needs(op *huma.Operation) string {
	security := op.Security
	if security == nil {
		security = d.document.Security
	}
	for _, schemes := range security {
		for name := range schemes {
			if scheme := d.document.Components.SecuritySchemes[name]; scheme.Type == "apiKey" {
				return scheme.Name + ": YOUR_API_KEY"
			}
			return "Authorization: Bearer YOUR_JWT_TOKEN"
		}
	}
	return ""
}

func (d *docsBuilder) answer(status string, r *huma.Response) docsAnswer {
	if r.Ref != "" {
		r = d.document.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]
	}
	a := docsAnswer{Status: strings.Replace(status, "default", "others", 1), Description: r.Description}
	for contentType, media := range r.Content {
		a.docsType = d.typeOf(media.Schema)
		if contentType != jsonType {
			a.docsType = docsType{Before: contentType}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if header := r.Headers[name]; name != "X-Request-Id" && header.Ref == "" {
			a.Headers = append(a.Headers, docsField{docsType: d.typeOf(header.Schema), Name: name, Doc: header.Description})
		}
	}
	return a
}

// linked are the objects that something refers to, and those that they refer
// to in turn.
func (d *docsBuilder) linked() (objects []docsObject) {
	shown := map[string]bool{}
	for len(shown) < len(d.objects) {
		for _, name := range slices.Sorted(maps.Keys(d.objects)) {
			if !shown[name] {
				shown[name] = true
				objects = append(objects, docsObject{name, d.fields(schemaPrefix + name)})
			}
		}
	}
	slices.SortFunc(objects, func(a, b docsObject) int { return strings.Compare(a.Name, b.Name) })
	return objects
}

func (d *docsBuilder) fields(ref string) (fields []docsField) {
	schema := d.registry.SchemaFromRef(ref)
	for _, name := range d.order(ref) {
		property := schema.Properties[name]
		fields = append(fields, docsField{
			docsType: d.typeOf(property), Name: name, Doc: property.Description, Required: slices.Contains(schema.Required, name),
		})
	}
	return fields
}

// order is that in which package api has the fields; a schema keeps none.
func (d *docsBuilder) order(ref string) (names []string) {
	schema := d.registry.SchemaFromRef(ref)
	base := strings.TrimSuffix(ref, "Change")
	for _, candidate := range []string{ref, base + "Input", base, strings.TrimSuffix(ref, "Input")} {
		t := d.registry.TypeFromRef(candidate)
		if t == nil {
			continue
		}
		for _, f := range reflect.VisibleFields(t) {
			name := jsonName(f)
			if schema.Properties[name] != nil && !f.Anonymous && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		break
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// typeOf describes a schema in words.
func (d *docsBuilder) typeOf(s *huma.Schema) docsType {
	switch {
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, schemaPrefix)
		d.objects[name] = true
		return docsType{Object: name}
	case s.AnyOf != nil:
		t := d.typeOf(s.AnyOf[0])
		t.After = " or null"
		return t
	case s.OneOf != nil:
		return docsType{Before: d.typeOf(s.OneOf[0]).Before + " or " + d.typeOf(s.OneOf[1]).Before}
	}
	t := docsType{Before: s.Type, Limits: limits(s)}
	if s.Type == huma.TypeArray {
		items := d.typeOf(s.Items)
		t.Before, t.Object = "array of "+items.Before, items.Object
	}
	switch s.Format {
	case "", "int64", "int32", "double":
	case "date-time":
		t.Before = "instant"
	default:
		t.Before += " (" + s.Format + ")"
	}
	if s.Nullable {
		t.After = " or null"
	}
	return t
}

// limits says what values a schema takes.
func limits(s *huma.Schema) string {
	var parts []string
	if s.Enum != nil {
		var values []string
		for _, v := range s.Enum {
			if v != nil {
				values = append(values, fmt.Sprint(v))
			}
		}
		parts = append(parts, strings.Join(values, ", "))
	}
	parts = append(parts, span(s.Minimum, s.Maximum, ""), span(s.MinLength, s.MaxLength, " characters"), span(s.MinItems, s.MaxItems, " items"))
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}

func span[T int | float64](least, most *T, unit string) string {
	switch {
	case least != nil && most != nil:
		return fmt.Sprintf("%v to %v%s", int64(*least), int64(*most), unit)
	case least != nil:
		return fmt.Sprintf("%v at least%s", int64(*least), unit)
	case most != nil:
		return fmt.Sprintf("%v%s at most", int64(*most), unit)
	}
	return ""
}
