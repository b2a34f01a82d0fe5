package test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is an OpenAPI document as a client reads it.
type document struct {
	t    *testing.T
	root object
}

// ref follows a JSON pointer of the document itself (RFC 6901).
func (d *document) ref(pointer string) any {
	var at any = d.root
	rest, ok := strings.CutPrefix(pointer, "#/")
	if !ok {
		return nil
	}
	for _, step := range strings.Split(rest, "/") {
		o, _ := at.(object)
		at = o[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return at
}

// walk visits every object in the document.
func (d *document) walk(at string, v any, visit func(at string, o object)) {
	switch v := v.(type) {
	case object:
		visit(at, v)
		for key, value := range v {
			d.walk(at+"/"+key, value, visit)
		}
	case []any:
		for i, value := range v {
			d.walk(fmt.Sprint(at, "/", i), value, visit)
		}
	}
}

// operations are all, by method and path.
func (d *document) operations() map[string]object {
	all := map[string]object{}
	for path, item := range d.root["paths"].(object) {
		for method, op := range item.(object) {
			if slices.Contains([]string{"get", "put", "post", "patch", "delete", "head", "options"}, method) {
				all[strings.ToUpper(method)+" "+path] = op.(object)
			}
		}
	}
	return all
}

var inPath = regexp.MustCompile(`\{(\w+)\}`)

func TestTheOpenAPIDocumentIsWholeAndDescribesWhatIsThere(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	nobody := newClient(t, c.url)
	a := nobody.get("/openapi.json")
	d := &document{t: t}
	if err := json.Unmarshal([]byte(a.raw), &d.root); err != nil {
		t.Fatal(err)
	}
	if version, _ := d.root["openapi"].(string); !strings.HasPrefix(version, "3.1.") {
		t.Errorf("openapi: %q", version)
	}
	info, _ := d.root["info"].(object)
	if info["title"] == "" || info["version"] == "" || d.root["paths"] == nil {
		t.Errorf("info %v", info)
	}
	refs := 0
	d.walk("#", d.root, func(at string, o object) {
		if pointer, ok := o["$ref"].(string); ok {
			refs++
			if d.ref(pointer) == nil {
				t.Errorf("%s refers to %s", at, pointer)
			}
		}
		if o["nullable"] != nil {
			t.Errorf("%s is of OpenAPI 3.0", at)
		}
	})
	if refs < 100 {
		t.Errorf("%d references", refs)
	}
	ids := map[string]string{}
	for route, op := range d.operations() {
		id, _ := op["operationId"].(string)
		if id == "" || ids[id] != "" {
			t.Errorf("%s and %s are both %q", route, ids[id], id)
		}
		ids[id] = route
		d.checkOperation(route, op)
	}
	c.asDescribed(d)
}

// checkOperation looks for what every operation must have.
func (d *document) checkOperation(route string, op object) {
	d.t.Helper()
	var named, wanted []string
	parameters, _ := op["parameters"].([]any)
	for _, p := range parameters {
		if o := p.(object); o["in"] == "path" {
			named = append(named, o["name"].(string))
			if o["required"] != true {
				d.t.Errorf("%s: %v is not required", route, o["name"])
			}
		}
	}
	for _, m := range inPath.FindAllStringSubmatch(route, -1) {
		wanted = append(wanted, m[1])
	}
	slices.Sort(named)
	slices.Sort(wanted)
	if !slices.Equal(named, wanted) {
		d.t.Errorf("%s: path parameters %v, described %v", route, wanted, named)
	}
	responses, _ := op["responses"].(object)
	good := 0
	for status, response := range responses {
		if strings.HasPrefix(status, "2") {
			good++
		}
		o := response.(object)
		if pointer, ok := o["$ref"].(string); ok {
			o, _ = d.ref(pointer).(object)
		}
		if text, _ := o["description"].(string); text == "" {
			d.t.Errorf("%s, %s: no description", route, status)
		}
	}
	if good == 0 {
		d.t.Errorf("%s: no success among %v", route, responses)
	}
}

// asDescribed calls everything that is described, with ids of nothing: there
// is no route that is not there, and none is open that should not be.
func (c *crowd) asDescribed(d *document) {
	c.t.Helper()
	nobody := newClient(c.t, c.url)
	public := []string{"POST /auth/register", "POST /auth/login", "GET /health", "GET /openapi.json", "GET /docs"}
	paths, _ := d.root["paths"].(object)
	for route, op := range d.operations() {
		method, path, _ := strings.Cut(route, " ")
		if item := paths[path].(object); item["servers"] != nil || op["servers"] != nil {
			continue // the relay's, on another listener
		}
		path = inPath.ReplaceAllString(path, "00000000-0000-7000-8000-000000000000")
		a := nobody.call(method, path, nil)
		if open := slices.Contains(public, route); (a.status == 401) == open {
			c.t.Errorf("%s: %d to nobody", route, a.status)
		}
		security, told := op["security"].([]any)
		if declared := told && len(security) == 0; declared != slices.Contains(public, route) {
			c.t.Errorf("%s: declared as public: %t", route, declared)
		}
		if route == "POST /auth/logout" {
			continue
		}
		if a := c.outsider.call(method, path, nil); a.status == 405 || a.status >= 500 || a.status == 404 && strings.Contains(a.raw, "Cannot ") {
			c.t.Errorf("%s: %d %s", route, a.status, a.raw)
		}
	}
}

// elsewhere is what makes a browser ask another host.
var elsewhere = regexp.MustCompile(`(?i)(src|srcset|action|data|poster|formaction|manifest)\s*=\s*["']?(https?:)?//|<link[^>]+href\s*=\s*["']?(https?:)?//|url\(\s*["']?(https?:)?//|@import|<script|<iframe|<object|<embed|http-equiv`)

func TestTheDocsPageLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	a := serve(t, newDir(t))
	page, header := a.raw("GET", "/docs", "", nil)
	if page.status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || !strings.Contains(page.raw, "/port-forwards/{id}/start") {
		t.Fatalf("%d %v", page.status, header)
	}
	if found := elsewhere.FindString(page.raw); found != "" {
		t.Errorf("the page has %q", found)
	}
	policy := header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "http") {
		t.Errorf("its policy is %q", policy)
	}
	for _, id := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page.raw, -1) {
		if !strings.Contains(page.raw, `id="`+id[1]+`"`) {
			t.Errorf("a link leads to #%s, which is not there", id[1])
		}
	}
}
