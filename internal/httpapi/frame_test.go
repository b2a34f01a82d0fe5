package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/adit-tunnel/adit/api"
)

// bare is the frame around one public operation of a test's own.
func bare(logs io.Writer, fn func(context.Context, *none) (*said, error)) http.Handler {
	mux := http.NewServeMux()
	h := &routes{logger: slog.New(slog.NewTextHandler(logs, nil))}
	h.api = humago.New(mux, h.config())
	h.api.UseMiddleware(h.authenticate, h.readBody)
	handle(h, operation(http.MethodPost, "/do", "", "Do", public), fn)
	return &frame{mux: mux, logger: h.logger}
}

func TestAPanicIsAnInternalErrorAndLogged(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	h := bare(&logs, func(context.Context, *none) (*said, error) { panic("the cellar is flooded") })
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/do", nil))
	var body api.ErrorBody
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 500 || body.Message != "internal error" || body.Status != "Internal Server Error" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, want := range []string{"the cellar is flooded", w.Header().Get("X-Request-Id"), "frame_test.go"} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("%q is not logged in %s", want, &logs)
		}
	}
}

func TestAnUnknownErrorIsLoggedAndNotShown(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	h := bare(&logs, func(context.Context, *none) (*said, error) { return nil, errors.New("disk sda1 on fire") })
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/do", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "sda1") || !strings.Contains(logs.String(), "sda1") {
		t.Errorf("%d %s, logged %s", w.Code, w.Body, &logs)
	}
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	t.Parallel()
	for code, status := range map[api.Code]int{
		api.CodeServerMissing: 400, api.CodeKeyPathDenied: 400, api.CodeListenInUse: 409, api.CodeStopped: 409, api.CodeAuthFailed: 502,
		api.CodeTimeout: 504, api.CodeSecretUnreadable: 500, api.CodeStorageFull: 507, "unheard_of": 500,
	} {
		got := toldFrom(t.Context(), slog.New(slog.DiscardHandler), &api.Error{Code: code, Message: "m"})
		if got.StatusCode != status || got.Status != http.StatusText(status) || got.Code != code {
			t.Errorf("%s: %+v", code, got)
		}
	}
}

func TestWhatHumaFindsItselfIsABadRequestWithoutTheValue(t *testing.T) {
	t.Parallel()
	found := &huma.ErrorDetail{Message: "expected string", Location: "body.password", Value: "hunter2"}
	for status, want := range map[int]int{422: 400, 400: 400, 406: 400, 500: 500, 503: 500} {
		got := huma.NewError(status, "validation failed", found)
		body, err := json.Marshal(got)
		if err != nil || got.GetStatus() != want || strings.Contains(string(body), "hunter2") || !strings.Contains(string(body), `"error":"`+http.StatusText(want)) {
			t.Errorf("%d: %s, %v", status, body, err)
		}
	}
}

func TestTheReadDeadlineEndsWithTheBody(t *testing.T) {
	t.Parallel()
	h := bare(io.Discard, func(context.Context, *none) (*said, error) { return say("done"), nil })
	server := httptest.NewServer(deadlines{h, t})
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	res, err := server.Client().Post(server.URL+"/do", jsonType, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// deadlines demands that a handler leaves no read deadline behind.
type deadlines struct {
	http.Handler
	t *testing.T
}

func (d deadlines) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := &deadlineWriter{ResponseWriter: w}
	d.Handler.ServeHTTP(seen, r)
	if len(seen.set) != 2 || seen.set[0].IsZero() || !seen.set[1].IsZero() {
		d.t.Errorf("deadlines %v", seen.set)
	}
}

type deadlineWriter struct {
	http.ResponseWriter
	set []time.Time
}

func (w *deadlineWriter) SetReadDeadline(at time.Time) error {
	w.set = append(w.set, at)
	return nil
}

func TestABodyThatDoesNotArriveIs408(t *testing.T) {
	t.Parallel()
	h := bare(io.Discard, func(context.Context, *none) (*said, error) { return say("done"), nil })
	r := httptest.NewRequest("POST", "/do", stalled{})
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 408 || !strings.Contains(w.Body.String(), `"error":"Request Timeout"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// stalled is a body whose connection's read deadline has passed.
type stalled struct{}

func (stalled) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: errDeadline}
}

var errDeadline = func() error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	_ = a.SetReadDeadline(time.Unix(1, 0))
	_, err := a.Read(make([]byte, 1))
	return err
}()
