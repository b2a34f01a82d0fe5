package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// tally counts events.
type tally struct {
	mu sync.Mutex // guards below
	n  map[string]int
}

func (c *tally) add(event string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[event]++
}

func (c *tally) of(event string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[event]
}

// quietly makes a quiet listener. Who uses it accepts.
func quietly(t testing.TB, wait time.Duration, crowd int) (*quiet, *tally) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	counts := new(tally)
	q := newQuiet(ln, wait, crowd, counts.add)
	t.Cleanup(func() { _ = q.Close() })
	return q, counts
}

func (q *quiet) strangers() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.guests)
}

func TestAConnectionIsGivenOutWithItsFirstByte(t *testing.T) {
	t.Parallel()
	q, _ := quietly(t, time.Minute, 100)
	silent := connect(t, q.Addr().String())
	talker := connect(t, q.Addr().String())
	_, err := io.WriteString(talker, "hello")
	must(t, err)
	c, err := q.Accept()
	must(t, err)
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("it is a %T", c)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v", buf, err)
	}
	q.state(c, http.StateHijacked)
	eventually(t, "who was taken over is no stranger", func() bool { return q.strangers() == 1 && q.lobby.Len() == 1 })
	must(t, silent.Close())
	eventually(t, "who left is forgotten", func() bool { return q.strangers() == 0 && q.lobby.Len() == 0 })
}

func TestAConnectionThatSaysNothingIsCut(t *testing.T) {
	t.Parallel()
	q, counts := quietly(t, 50*time.Millisecond, 100)
	for range 10 {
		wantCut(t, "a silent connection", connect(t, q.Addr().String()), 5*time.Second)
	}
	eventually(t, "all are forgotten", func() bool { return q.strangers() == 0 && q.lobby.Len() == 0 })
	if n := counts.of("http_silent"); n != 10 {
		t.Errorf("%d were counted", n)
	}
}

// The time for the first byte ends with it.
func TestAConnectionThatSpokeMayBeSilentLater(t *testing.T) {
	t.Parallel()
	q, _ := quietly(t, 50*time.Millisecond, 100)
	c := connect(t, q.Addr().String())
	_, err := c.Write([]byte("a"))
	must(t, err)
	given, err := q.Accept()
	must(t, err)
	defer given.Close()
	second := time.AfterFunc(200*time.Millisecond, func() { _, _ = c.Write([]byte("b")) })
	defer second.Stop()
	if got, err := io.ReadAll(io.LimitReader(given, 2)); err != nil || string(got) != "ab" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestInACrowdWhoWaitedLongestMustGo(t *testing.T) {
	t.Parallel()
	q, counts := quietly(t, time.Minute, 3)
	var guests []*net.TCPConn
	for i := range 5 {
		guests = append(guests, connect(t, q.Addr().String()))
		eventually(t, "it is in", func() bool { return q.strangers() == min(i+1, 3) && counts.of("http_crowded") == max(0, i-2) })
	}
	for i, c := range guests[:2] {
		wantCut(t, "guest "+string(rune('0'+i)), c, time.Second)
	}
	_, err := guests[4].Write([]byte("hello"))
	must(t, err)
	c, err := q.Accept()
	must(t, err)
	_ = c.Close()
	q.state(c, http.StateClosed)
	if n := q.strangers(); n != 2 || q.lobby.Len() != 2 {
		t.Errorf("%d and %d are there", n, q.lobby.Len())
	}
}

func TestACloseCutsWhoHasNotBeenGivenOut(t *testing.T) {
	t.Parallel()
	q, _ := quietly(t, time.Minute, 100)
	silent, talker := connect(t, q.Addr().String()), connect(t, q.Addr().String())
	_, err := talker.Write([]byte("hello"))
	must(t, err)
	eventually(t, "both are in", func() bool { return q.strangers() == 2 })
	must(t, q.Close())
	wantCut(t, "who said nothing", silent, time.Second)
	wantCut(t, "whom nobody accepted", talker, time.Second)
	if _, err := q.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if n := q.strangers(); n != 0 || q.lobby.Len() != 0 {
		t.Errorf("%d and %d are left", n, q.lobby.Len())
	}
}

// get asks for a path and reads the answer.
func get(t testing.TB, address, path string) *http.Response {
	t.Helper()
	c := connect(t, address)
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	must(t, err, resp.Body.Close())
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

func TestASlowHeaderIsCut(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{}, func(r *relayServer) {
		if r.http.ReadHeaderTimeout != 10*time.Second {
			t.Errorf("a header may take %v", r.http.ReadHeaderTimeout)
		}
		r.http.ReadHeaderTimeout = 100 * time.Millisecond
	})
	c := connect(t, r.ln.Addr().String())
	_, err := io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: relay\r\nX-Slow: ")
	must(t, err)
	must(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		t.Errorf("it is not cut: %v", err)
	}
	eventually(t, "it is forgotten", func() bool { return r.ln.strangers() == 0 })
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

func TestALongHeaderIsRefused(t *testing.T) {
	t.Parallel()
	r := startRelay(t, relayOptions{}, nil)
	c := connect(t, r.ln.Addr().String())
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: relay\r\n")
	must(t, err)
	for range 64 { // 64 KiB, of which 8 are looked at
		if _, err = io.WriteString(c, "X-Long: "+strings.Repeat("x", 1014)+"\r\n"); err != nil {
			break
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	switch {
	case err == nil:
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d", resp.StatusCode)
		}
	case isTimeout(err):
		t.Error("it is not cut")
	}
}

func TestWhatTheRelaysPathsAnswer(t *testing.T) {
	t.Parallel()
	plain := startRelay(t, relayOptions{}, nil)
	address := plain.ln.Addr().String()
	for path, want := range map[string]int{
		"/": 200, "/socket": 400, "/socket/": 400, "/socket/below": 400, "/socketx": 404, "/api/status": 404, "/api/token": 404, "/nothing": 404,
	} {
		resp := get(t, address, path)
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, resp.StatusCode, want)
		}
		if path == "/socket" && !slices.Contains(resp.Header["Sec-Websocket-Version"], "13") {
			t.Errorf("%s: no version in %v", path, resp.Header)
		}
	}
	body, err := io.ReadAll(get(t, address, "/").Body)
	must(t, err)
	if !strings.HasSuffix(string(body), " is running but API is not enabled.\n") {
		t.Errorf("/ says %q", body)
	}
	withKey := startRelay(t, relayOptions{apiKey: redact.New("some-api-key")}, nil)
	if body, err = io.ReadAll(get(t, withKey.ln.Addr().String(), "/").Body); err != nil ||
		!strings.HasSuffix(string(body), " is running. API endpoints available at /api/*\n") {
		t.Errorf("/ says %q, %v", body, err)
	}
	if resp := get(t, withKey.ln.Addr().String(), "/api/status"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the key: status %d", resp.StatusCode)
	}
}
