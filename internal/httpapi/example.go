package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// samples are values of properties in examples, by name, or by schema and name
// where a name means several things.
var samples = map[string]any{
	"name": "Web server", "host": "192.168.1.100", "port": 22, "username": "root", "serverId": "server-uuid",
	"localPort": 8080, "remoteHost": "192.168.1.100", "remotePort": 80, "bindAddress": "127.0.0.1",
	"email": "ada@example.org", "password": "a-passphrase-of-yours", "currentPassword": "a-passphrase-of-yours",
	"newPassword": "another-passphrase", "fingerprint": "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
	"inviteCode": "A1B2C3D4", "token": "my_token", "disabled": true,
	"ForwardInput.type": "local", "Registration.username": "ada", "TeamInput.name": "Team", "TeamChange.name": "Team", "TokenInput.name": "deploy",
}

// shown are properties that an example has though they are not required.
var shown = map[string][]string{
	"ForwardInput":    {"localPort", "remoteHost", "remotePort", "serverId"},
	"ServerInput":     {"password"},
	"KeyInput":        {"password"},
	"ForwardChange":   {"name", "localPort"},
	"MemberInput":     {"email"},
	"AccountChange":   {"disabled"},
	"RelayTokenInput": {"token"},
}

// curl is an example of an operation, for a shell.
func (d *docsBuilder) curl(item *huma.PathItem, op *huma.Operation) string {
	base := "http://localhost:3000"
	if len(item.Servers) > 0 {
		s := item.Servers[0]
		base = s.URL
		for name, variable := range s.Variables {
			base = strings.ReplaceAll(base, "{"+name+"}", variable.Default)
		}
	}
	path := op.Path
	for _, p := range op.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", strings.ToUpper(p.Name))
		}
	}
	text := "curl"
	if op.Method != http.MethodGet {
		text += " -X " + op.Method
	}
	text += fmt.Sprintf(" %q", base+path)
	if needs := d.needs(op); needs != "" {
		text += fmt.Sprintf(" \\\n  -H %q", needs)
	}
	if op.RequestBody != nil {
		text += fmt.Sprintf(" \\\n  -H %q \\\n  -d '%s'", "Content-Type: "+jsonType, d.example(op.RequestBody.Content[jsonType].Schema))
	}
	return text
}

// example is a body of a schema, as JSON.
func (d *docsBuilder) example(s *huma.Schema) string {
	switch {
	case s.Type == huma.TypeArray:
		return "[" + d.example(s.Items) + "]"
	case s.Ref == "":
		return inJSON(d.value("", "", s))
	}
	name := strings.TrimPrefix(s.Ref, schemaPrefix)
	schema, order := d.registry.SchemaFromRef(s.Ref), d.order(s.Ref)
	chosen := slices.Clone(order)
	chosen = slices.DeleteFunc(chosen, func(property string) bool {
		return !slices.Contains(schema.Required, property) && !slices.Contains(shown[name], property)
	})
	if len(chosen) == 0 && len(order) > 0 {
		chosen = order[:1]
		if slices.Contains(order, "name") {
			chosen = []string{"name"}
		}
	}
	var b strings.Builder
	for i, property := range chosen {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    %s: %s", inJSON(property), inJSON(d.value(name, property, schema.Properties[property])))
	}
	return "{" + b.String() + "\n  }"
}

func (d *docsBuilder) value(object, property string, s *huma.Schema) any {
	for _, key := range []string{object + "." + property, property} {
		if v, ok := samples[key]; ok {
			return v
		}
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type == huma.TypeInteger && s.Minimum != nil:
		return max(1, *s.Minimum)
	case s.Type == huma.TypeInteger:
		return 1
	case s.Type == huma.TypeBoolean:
		return true
	case s.Type == huma.TypeArray:
		return []any{}
	case s.Type == huma.TypeObject:
		return map[string]any{}
	}
	return "text"
}

func inJSON(v any) string {
	text, _ := json.Marshal(v) // a text, a number or the like: it can be encoded
	return string(text)
}
