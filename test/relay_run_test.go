package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	relayKey       = "key-of-the-relay-api"
	forwardToken   = "token-of-a-client"
	reverseToken   = "token-of-a-provider"
	connectorToken = "token-of-a-connector"
)

// relayRun is a running relay, and what calls its HTTP API.
type relayRun struct {
	*process
	t       testing.TB
	address string // host:port
	flags   []string
	dialect []string // flags of its peers
	hidden  *hidden
}

// relayReady is all that `adit relay serve` may write to standard output.
var relayReady = regexp.MustCompile(`^adit ready relay=ws://(\S+:\d+)\n$`)

// newRelay runs `adit relay serve` with the HTTP API.
func newRelay(t testing.TB, flags ...string) *relayRun {
	t.Helper()
	return startRelay(t, newHidden(t), append([]string{"-k", relayKey}, flags...)...)
}

// startRelay runs `adit relay serve` on a free port, unless the flags say
// otherwise, and with all that it logs.
func startRelay(t testing.TB, h *hidden, flags ...string) *relayRun {
	t.Helper()
	args := append([]string{"relay", "serve", "-H", "127.0.0.1", "-P", "0", "-d", "-d"}, flags...)
	r := &relayRun{process: launch(t, args...), t: t, flags: flags, hidden: h}
	h.watch(r.process)
	r.address = r.await(r.stdout, relayReady)[1]
	return r
}

// again ends the relay with how and starts it where it was.
func (r *relayRun) again(how func()) *relayRun {
	r.t.Helper()
	how()
	_, port, _ := strings.Cut(r.address, ":")
	return startRelay(r.t, r.hidden, append([]string{"-P", port}, r.flags...)...)
}

// serveWithRelay runs `adit serve` with a relay and its HTTP API.
func serveWithRelay(t testing.TB, data string, flags ...string) *relayRun {
	t.Helper()
	h := newHidden(t)
	a := serve(t, data, append([]string{"--relay-listen", "127.0.0.1:0", "--api-key", relayKey}, flags...)...)
	h.watch(a.process)
	return &relayRun{process: a.process, t: t, address: a.relay, hidden: h}
}

// ask calls the HTTP API with the key. It may be called from any goroutine.
func (r *relayRun) ask(method, path, body string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.address+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-API-Key", relayKey)
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return res.StatusCode, string(raw), err
}

// call calls the HTTP API and demands a status.
func (r *relayRun) call(status int, method, path string, body any) object {
	r.t.Helper()
	sent, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	got, text, err := r.ask(method, path, string(sent))
	if err != nil || got != status {
		r.t.Fatalf("%s %s %s: status %d instead of %d, %v: %s", method, path, sent, got, status, err, text)
	}
	var answer object
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		r.t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return answer
}

// add adds a token.
func (r *relayRun) add(token object) object {
	r.t.Helper()
	r.hidden.add(fmt.Sprint(token["token"]))
	if word, ok := token["password"].(string); ok {
		r.hidden.add(word)
	}
	return r.call(200, "POST", "/api/token", token)
}

// addReverse adds a reverse token and gives the proxy that its SOCKS port is.
func (r *relayRun) addReverse(token string, more object) proxy {
	r.t.Helper()
	answer := r.add(with(object{"type": "reverse", "token": token}, more))
	p := proxy{address: fmt.Sprintf("127.0.0.1:%v", answer["port"])}
	p.user, _ = more["username"].(string)
	p.password, _ = more["password"].(string)
	return p
}

func (r *relayRun) addForward(token string) {
	r.t.Helper()
	r.add(object{"type": "forward", "token": token})
}

func (r *relayRun) addConnector(token, reverse string) {
	r.t.Helper()
	r.add(object{"type": "connector", "token": token, "reverse_token": reverse})
}

func (r *relayRun) remove(token string) {
	r.t.Helper()
	r.call(200, "DELETE", "/api/token/"+token, nil)
}

// token gives what the status says of a token.
func (r *relayRun) token(token string) object {
	r.t.Helper()
	for _, row := range r.call(200, "GET", "/api/status", nil)["tokens"].([]any) {
		if o := row.(object); o["token"] == token {
			return o
		}
	}
	r.t.Fatalf("the status has no %s", token)
	return nil
}

// has waits until a token has so many links.
func (r *relayRun) has(token string, links int) {
	r.t.Helper()
	r.becomes(fmt.Sprintf("%d links", links), func() (any, bool) {
		row := r.token(token)
		return row, row["clients_count"] == float64(links)
	})
}

// becomes asks until ok says so: what happens by itself can be seen no other way.
func (r *relayRun) becomes(what string, ok func() (seen any, done bool)) {
	r.t.Helper()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		seen, done := ok()
		if done {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("not %s after %v: %v", what, patience, seen)
		}
	}
}

// peerRun is a running client, provider or connector.
type peerRun struct {
	*process
	proxy // of a client or connector, its SOCKS port
}

// The ready lines are all that a peer may write to standard output.
var (
	socksReady    = regexp.MustCompile(`^adit ready socks=socks5://(\S+:\d+)\n$`)
	providerReady = regexp.MustCompile(`^adit ready relay=(ws://\S+)\n$`)
)

// peerArgs are those of a peer that listens, if at all, on a free port and logs
// all that it can.
func (r *relayRun) peerArgs(role string, flags ...string) []string {
	args := []string{"relay", role, "-u", "ws://" + r.address, "-d", "-d"}
	if role != "provider" {
		args = append(args, "-p", "0")
	}
	return append(append(args, r.dialect...), flags...)
}

// inLinksocks has the peers speak the dialect of linksocks.
func (r *relayRun) inLinksocks() *relayRun {
	r.dialect = []string{"--dialect", "linksocks"}
	return r
}

// peer runs a peer and waits until it is ready.
func (r *relayRun) peer(role, token string, flags ...string) *peerRun {
	r.t.Helper()
	return r.ready(role, exec.Command(program, r.peerArgs(role, append([]string{"-t", token}, flags...)...)...))
}

// ready starts a peer and waits until it is ready.
func (r *relayRun) ready(role string, cmd *exec.Cmd) *peerRun {
	r.t.Helper()
	p := &peerRun{process: launchCommand(r.t, cmd)}
	r.hidden.watch(p.process)
	if role == "provider" {
		p.await(p.stdout, providerReady)
		return p
	}
	p.proxy.address = p.await(p.stdout, socksReady)[1]
	return p
}

// hidden are texts that no process may write, and their hashes.
type hidden struct {
	mu        sync.Mutex // guards below
	texts     []string
	processes []*process
}

// newHidden looks at the output of all processes when the test ends and they
// have ended: so it must be made before they are.
func newHidden(t testing.TB) *hidden {
	h := new(hidden)
	h.add(relayKey, forwardToken, reverseToken, connectorToken)
	t.Cleanup(func() { h.search(t) })
	return h
}

func (h *hidden) add(texts ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, texts...)
}

func (h *hidden) watch(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.processes = append(h.processes, p)
}

func (h *hidden) search(t testing.TB) {
	t.Helper()
	for _, p := range h.processes {
		output := []byte(p.stdout.String() + p.stderr.String())
		for _, text := range h.texts {
			sum := sha256.Sum256([]byte(text))
			if bytes.Contains(output, []byte(text)) || bytes.Contains(output, []byte(hex.EncodeToString(sum[:]))) {
				t.Errorf("%s, or its hash, is in the output of %v:\n%s", text, p.cmd.Args, output)
			}
		}
	}
}
