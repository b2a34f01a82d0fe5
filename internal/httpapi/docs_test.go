package httpapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/httpapi"
)

func TestThePageShowsEveryOperationWithNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := f.get("/docs")
	if got.status != 200 || got.header.Get("Content-Type") != "text/html; charset=utf-8" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	document, _ := httpapi.Described()
	for path, item := range document.Paths {
		for _, op := range httpapi.Operations(item) {
			for _, want := range []string{`<article id="` + op.OperationID + `">`, `href="#` + op.OperationID + `"`, html.EscapeString(op.Summary)} {
				if !strings.Contains(got.raw, want) {
					t.Errorf("%s %s: no %s", op.Method, path, want)
				}
			}
		}
	}
	for name := range map[string]bool{"Forward": true, "Error": true, "Failure": true, "Effective": true, "RelayState": true, "RelayTokenState": true, "ForwardInput": true} {
		if !strings.Contains(got.raw, `<article id="`+name+`">`) {
			t.Errorf("no object %s", name)
		}
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(got.raw, -1) {
		id, inside := strings.CutPrefix(link[1], "#")
		if link[1] != "openapi.json" && (!inside || !strings.Contains(got.raw, ` id="`+id+`"`)) {
			t.Errorf("a link to %s", link[1])
		}
	}
	for _, tag := range []string{"<script", "<link", "<img", "<iframe", "src=", "@import", "url(", "onclick", "style="} {
		if strings.Contains(got.raw, tag) {
			t.Errorf("the page has %s", tag)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(got.raw)
	if style == nil {
		t.Fatal("the page has no style")
	}
	sum := sha256.Sum256([]byte(style[1]))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got.header.Get("Content-Security-Policy") != policy {
		t.Errorf("policy %s instead of %s", got.header.Get("Content-Security-Policy"), policy)
	}
	if size := len(got.raw); size > 400<<10 {
		t.Errorf("%d bytes", size)
	}
}

// Somebody will paste them into a shell.
func TestTheExamplesOfThePageAreAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	a, f := agreed(), newFixture(t)
	command := regexp.MustCompile(`(?s)<pre[^>]*><code>(curl.*?)</code></pre>`)
	line := regexp.MustCompile(`^curl(?: -X (\w+))? "http://localhost:(3000|8765)(/[^"]*)"`)
	found := command.FindAllStringSubmatch(f.get("/docs").raw, -1)
	seen := map[string]bool{}
	for _, example := range found {
		text := html.UnescapeString(example[1])
		parts := line.FindStringSubmatch(text)
		if parts == nil {
			t.Errorf("what is %s", text)
			continue
		}
		if parts[2] == "8765" {
			if !strings.Contains(text, `-H "X-API-Key: YOUR_API_KEY"`) {
				t.Errorf("no key in %s", text)
			}
			continue
		}
		method := parts[1]
		if method == "" {
			method = "GET"
		}
		r, err := http.NewRequestWithContext(t.Context(), method, parts[3], nil)
		if err != nil {
			t.Fatal(err)
		}
		op := a.operation(r)
		if op == nil || seen[op.OperationID] {
			t.Errorf("no operation, or twice: %s", text)
			continue
		}
		seen[op.OperationID] = true
		_, body, given := strings.Cut(text, "-d '")
		if given != (op.RequestBody != nil) {
			t.Errorf("a body or none: %s", text)
		}
		if given {
			for _, problem := range a.checkRequest(op, strings.TrimSuffix(body, "'")) {
				t.Errorf("%s in %s", problem, text)
			}
		}
		if public := op.Security != nil; public == strings.Contains(text, "Authorization: Bearer") {
			t.Errorf("a token or none: %s", text)
		}
	}
	if len(seen) != len(a.ops) {
		t.Errorf("%d examples of %d operations", len(seen), len(a.ops))
	}
}
