package demo

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/api"
)

// commands are the lines that the text says to paste, as pieces that a shell
// takes: what is indented by four, with its continuations.
func (r *running) commands() []string {
	var found []string
	open := false
	for line := range strings.Lines(r.text) {
		pasted, ok := strings.CutPrefix(line, "    ")
		switch {
		case open:
			found[len(found)-1] += line
		case ok:
			found = append(found, pasted)
		default:
			continue
		}
		open = strings.HasSuffix(line, "\\\n")
	}
	return found
}

// paste runs the commands one after the other, in one shell each that has run
// the assignments before, and gives what each printed.
func (r *running) paste() []string {
	r.t.Helper()
	var printed []string
	var assigned string
	for _, command := range r.commands() {
		if strings.HasPrefix(command, "TOKEN=") {
			assigned += command
		}
		sh := exec.CommandContext(r.t.Context(), "sh", "-c", assigned+command)
		var stderr strings.Builder
		sh.Stderr = &stderr
		out, err := sh.Output()
		if err != nil {
			r.t.Fatalf("%s: %v\n%s", command, err, &stderr)
		}
		printed = append(printed, string(out))
	}
	return printed
}

const (
	throughTunnel = "<h1>This page came through the tunnel.</h1>"
	otherWayRound = "<h1>This page came through the tunnel, the other way round.</h1>"
)

// check demands that what the commands printed is what the text says they do.
func check(t *testing.T, printed []string) {
	t.Helper()
	if len(printed) != 8 {
		t.Fatalf("there are %d commands: %q", len(printed), printed)
	}
	for i, want := range []string{throughTunnel, throughTunnel, otherWayRound} {
		if !strings.Contains(printed[i], want) || !strings.Contains(printed[i], "You asked for GET / of ") {
			t.Errorf("command %d printed %s", i+1, printed[i])
		}
	}
	if !strings.Contains(printed[1], "of web.internal at") {
		t.Errorf("the page was asked for by another name: %s", printed[1])
	}
	var session api.Session
	if err := json.Unmarshal([]byte(printed[3]), &session); err != nil || session.AccessToken == "" || session.User.Email != email {
		t.Errorf("login: %v in %s", err, printed[3])
	}
	if printed[4] != "" {
		t.Errorf("the assignment printed %q", printed[4])
	}
	var list []api.Forward
	if err := json.Unmarshal([]byte(printed[5]), &list); err != nil || len(list) != 3 {
		t.Errorf("list: %v in %s", err, printed[5])
	}
	for i, want := range map[int]string{6: api.StatusInactive, 7: api.StatusActive} {
		var f api.Forward
		if err := json.Unmarshal([]byte(printed[i]), &f); err != nil || f.Status != want || f.Type != api.ForwardLocal {
			t.Errorf("command %d: %v in %s", i+1, err, printed[i])
		}
	}
}

func TestEachCommandDoesWhatTheTextSays(t *testing.T) {
	ownTemp(t)
	check(t, start(t).paste())
}

// curl obeys these variables, and they say nothing of the demo.
func TestEachCommandWorksWhereProxiesAreSet(t *testing.T) {
	ownTemp(t)
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	for _, name := range []string{"no_proxy", "NO_PROXY"} {
		t.Setenv(name, ".internal")
	}
	check(t, start(t).paste())
}

func TestWithoutProxiesCurlIsCalledPlainly(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"":            {"curl", "curl"},
		"http_proxy":  {"curl --noproxy '*'", "curl"},
		"HTTP_PROXY":  {"curl", "curl"}, // curl does not read it
		"https_proxy": {"curl", "curl"},
		"all_proxy":   {"curl --noproxy '*'", "curl"},
		"ALL_PROXY":   {"curl --noproxy '*'", "curl"},
		"no_proxy":    {"curl", "curl --noproxy ''"},
		"NO_PROXY":    {"curl", "curl --noproxy ''"},
	} {
		direct, socks := curls(func(asked string) string {
			if asked == name {
				return "x"
			}
			return ""
		})
		if got := [2]string{direct, socks}; got != want {
			t.Errorf("with %s: %q, want %q", name, got, want)
		}
	}
}

func TestTheTextFitsATerminal(t *testing.T) {
	ownTemp(t)
	for _, name := range []string{"http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"} {
		t.Setenv(name, "")
	}
	text := start(t).text
	if n := strings.Count(text, "\n"); n > 50 {
		t.Errorf("the text has %d lines", n)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "TOKEN='") || strings.HasPrefix(line, "  data ") {
			continue // as long as they are
		}
		if len(line) > 81 || strings.TrimRight(line, " \t\n")+"\n" != line {
			t.Errorf("%d columns: %q", len(line)-1, line)
		}
	}
}

func TestQuotedTextIsOneWord(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", `it's "so" $HOME \ *`, "'", "a\nb"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s|' "+quote(text)).Output()
		if err != nil || string(out) != text+"|" {
			t.Errorf("%q became %q, %v", text, out, err)
		}
	}
}
