package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that will come.
const patience = 60 * time.Second

// running is a demo that has told what to try.
type running struct {
	t     *testing.T
	text  string
	log   *lines
	close func() // ends Run, and checks what it returned
}

// start runs the demo, in a directory for temporary files that nothing else
// uses, until the test ends.
func start(t *testing.T) *running {
	t.Helper()
	out := make(writes, 10)
	log := new(lines)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, out, slog.New(slog.NewTextHandler(log, nil))) }()
	r := &running{t: t, log: log}
	select {
	case r.text = <-out:
	case err := <-ended:
		t.Fatalf("Run ended with %v\n%s", err, log)
	case <-time.After(patience):
		t.Fatalf("nothing is told\n%s", log)
	}
	closed := false
	r.close = func() {
		t.Helper()
		if closed {
			return
		}
		closed = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Fatalf("Run does not return\n%s", log)
		}
		select {
		case said := <-out:
			if !strings.Contains(said, "removed") {
				t.Errorf("the last words are %q", said)
			}
		default:
			t.Error("it ended without a word")
		}
	}
	t.Cleanup(r.close)
	return r
}

// writes passes on each text that is written.
type writes chan string

func (w writes) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// ownTemp makes a directory that alone holds temporary files from here on.
func ownTemp(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

// wantEmpty demands that nothing is left in a directory.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// field is what the text says about a name, up to a comma.
func (r *running) field(name string) string {
	r.t.Helper()
	for line := range strings.Lines(r.text) {
		if rest, ok := strings.CutPrefix(line, "  "+name+"  "); ok {
			value, _, _ := strings.Cut(strings.TrimSpace(rest), ",")
			return value
		}
	}
	r.t.Fatalf("the text has no %s:\n%s", name, r.text)
	return ""
}

// caller calls the control API with the token that was told.
func (r *running) caller() *caller {
	r.t.Helper()
	c, err := newCaller(r.field("control API"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.close)
	_, rest, ok := strings.Cut(r.text, "TOKEN='")
	token, _, quoted := strings.Cut(rest, "'")
	if !ok || !quoted {
		r.t.Fatalf("the text has no token:\n%s", r.text)
	}
	c.as(api.Secret(token))
	return c
}

// forwards are what the control API lists.
func (r *running) forwards() map[string]api.Forward {
	r.t.Helper()
	list, err := r.caller().Forwards(r.t.Context(), "", "", client.Page{})
	if err != nil {
		r.t.Fatal(err)
	}
	byType := map[string]api.Forward{}
	for _, f := range list.Rows {
		byType[f.Type] = f
	}
	return byType
}

func TestAForwardOfEachTypeIsActiveOverOneConnection(t *testing.T) {
	ownTemp(t)
	r := start(t)
	forwards := r.forwards()
	if len(forwards) != 3 {
		t.Errorf("forwards are %+v", forwards)
	}
	for kind, f := range forwards {
		if f.State != "active" || f.Status != api.StatusActive || f.LastError != nil || len(f.Warnings) > 0 {
			t.Errorf("%s forward: %+v", kind, f)
		}
		if f.ConnectionID == nil || *f.ConnectionID != *forwards[api.ForwardLocal].ConnectionID {
			t.Errorf("%s forward has a connection of its own", kind)
		}
	}
}

func TestWhenItEndsNothingIsLeft(t *testing.T) {
	temp := ownTemp(t)
	// Another program may take port 3000 as soon as we leave it.
	if taken, err := net.Listen("tcp", usualAddress); err == nil {
		defer func() { _ = taken.Close() }()
	}
	before := goleak.IgnoreCurrent()
	r := start(t)
	dir := r.field("data")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 || !strings.HasPrefix(dir, temp) {
		t.Errorf("the data directory is %s, %v, %v", dir, info, err)
	}
	addresses := []string{strings.TrimPrefix(r.field("control API"), "http://")}
	for _, f := range r.forwards() {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", *f.Effective.BoundPort))
		if f.Type == api.ForwardRemote {
			addresses = append(addresses, f.Effective.Deliver) // the page
		}
	}
	servers, err := r.caller().Servers(t.Context(), "", client.Page{})
	if err != nil || len(servers.Rows) != 1 {
		t.Fatalf("servers are %+v, %v", servers, err)
	}
	addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", servers.Rows[0].Port))
	// A connection that its client keeps holds nothing up.
	held, err := net.Dial("tcp", addresses[1])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	for _, address := range addresses {
		probe(t, address, true)
	}

	r.close()
	for _, address := range addresses {
		probe(t, address, false)
	}
	wantEmpty(t, temp)
	goleak.VerifyNone(t, before)
}

// probe demands that something listens at an address, or that nothing does.
func probe(t *testing.T, address string, listens bool) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err == nil {
		_ = c.Close()
	}
	if (err == nil) != listens {
		t.Errorf("dial %s: %v", address, err)
	}
}

// A log record is a moment to press Ctrl-C at.
func TestCtrlCWhileItStartsLeavesNothing(t *testing.T) {
	temp := ownTemp(t)
	before := goleak.IgnoreCurrent()
	told := false
	for n := int64(0); !told; n += 4 {
		ctx, cancel := context.WithCancel(t.Context())
		moment := &countdown{Handler: slog.DiscardHandler, cancel: cancel}
		moment.left.Store(n)
		if n == 0 {
			cancel()
		}
		out := writerFunc(func(p []byte) (int, error) {
			told = told || !strings.Contains(string(p), "removed")
			cancel()
			return len(p), nil
		})
		if err := Run(ctx, out, slog.New(moment)); err != nil {
			t.Errorf("after %d log records: %v", n, err)
		}
		cancel()
		wantEmpty(t, temp)
		goleak.VerifyNone(t, before)
	}
}

// countdown calls cancel at a certain log record.
type countdown struct {
	slog.Handler
	cancel func()
	left   atomic.Int64
}

func (c *countdown) Enabled(context.Context, slog.Level) bool { return true }

func (c *countdown) Handle(context.Context, slog.Record) error {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAnErrorHalfWayLeavesNothing(t *testing.T) {
	temp := ownTemp(t)
	before := goleak.IgnoreCurrent()
	closed := errors.New("closed")
	out := writerFunc(func([]byte) (int, error) { return 0, closed })
	if err := Run(t.Context(), out, slog.New(slog.DiscardHandler)); !errors.Is(err, closed) {
		t.Errorf("error is %v", err)
	}
	wantEmpty(t, temp)
	goleak.VerifyNone(t, before)
}

func TestWithoutADirectoryForItsDataItSaysSo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	err := Run(t.Context(), io.Discard, slog.New(slog.DiscardHandler))
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "make the data directory: ") {
		t.Errorf("error is %v", err)
	}
}

func TestAPartThatEndsByItselfEndsTheOthersAndIsNamed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	parts := parts{onEnd: cancel}
	broken := errors.New("broken")
	order := make(chan string, 2)
	wait := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			order <- name
			return nil
		}
	}
	parts.start(ctx, "first", wait("first"))
	parts.start(ctx, "second", wait("second"))
	parts.start(ctx, "third", func(context.Context) error { return broken })
	<-ctx.Done()
	if err := parts.stop(); !errors.Is(err, broken) || err.Error() != "third: broken" {
		t.Errorf("error is %v", err)
	}
	if a, b := <-order, <-order; a != "second" || b != "first" {
		t.Errorf("the parts ended in the order %s, %s", a, b)
	}
}

// At most one of them has port 3000.
func TestTwoDemosRunSideBySide(t *testing.T) {
	ownTemp(t)
	first, second := start(t), start(t)
	if a, b := first.field("control API"), second.field("control API"); a == b {
		t.Errorf("they are at %s and %s", a, b)
	}
	if n := len(second.forwards()); n != 3 {
		t.Errorf("the second has %d forwards", n)
	}
}

func TestAPortThatSomebodyTookMeanwhileIsReplaced(t *testing.T) {
	ownTemp(t)
	r := start(t)
	forwards := r.forwards()
	held := *forwards[api.ForwardDynamic].Effective.BoundPort
	for _, kind := range []string{api.ForwardDynamic, api.ForwardRemote} {
		c := r.caller()
		asked := 0
		c.freePort = func(ctx context.Context) (int, error) {
			if asked++; asked < portTries {
				return held, nil
			}
			return freePort(ctx)
		}
		in := api.ForwardInput{LocalID: api.Some("again-" + kind), Name: api.Some("again"), Type: api.Some(kind),
			LocalHost: api.Some("127.0.0.1"), LocalPort: api.Some(*forwards[api.ForwardRemote].LocalPort), ServerID: api.Some(serverID)}
		address, err := c.openAtFreePort(t.Context(), in)
		if err != nil || asked != portTries {
			t.Errorf("%s forward: %v after %d ports", kind, err, asked)
			continue
		}
		probe(t, address, true)

		asked = -portTries
		in.LocalID = api.Some("never-" + kind)
		if _, err = c.openAtFreePort(t.Context(), in); !taken(err) {
			t.Errorf("%s forward without a free port: %v", kind, err)
		}
	}
}

func TestALogOfTheUsualLevelStaysSilent(t *testing.T) {
	ownTemp(t)
	r := start(t)
	r.close()
	if strings.Contains(r.log.String(), "level=WARN") || strings.Contains(r.log.String(), "level=ERROR") {
		t.Errorf("the log is\n%s", r.log)
	}
}

// lines keeps a log.
type lines struct {
	mu   sync.Mutex // guards below
	kept bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.String()
}
