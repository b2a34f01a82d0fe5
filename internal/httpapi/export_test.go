package httpapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// muxRecorder remembers what was registered with it.
type muxRecorder struct {
	*http.ServeMux
	patterns []string
}

func (m *muxRecorder) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	m.patterns = append(m.patterns, pattern)
	m.ServeMux.HandleFunc(pattern, handler)
}

// Described gives the document, and the patterns of the routes that there are.
func Described() (document *huma.OpenAPI, patterns []string) {
	mux := &muxRecorder{ServeMux: http.NewServeMux()}
	document = newRoutes(mux, nil, Options{Version: "v1.2.3"}).document()
	return document, mux.patterns
}

// Operations of a path.
func Operations(item *huma.PathItem) []*huma.Operation { return operations(item) }
