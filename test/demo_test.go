package test

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// guide is what the demonstration prints, up to the last of its commands.
var guide = regexp.MustCompile(`(?s)^.*/start .*\n.*\n`)

// commands gives the indented lines of the second part, which are for a shell.
func commands(t *testing.T, text string) string {
	t.Helper()
	_, text, ok := strings.Cut(text, "Now paste")
	if !ok {
		t.Fatalf("nothing to paste in %s", text)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "    ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestTheDemoDoesWhatItPrintsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	p := launch(t, "demo")
	script := commands(t, p.await(p.stdout, guide)[0])
	const strict = `curl() { command curl -sS --fail --max-time 15 "$@"; echo; }` + "\n"
	out, code := tool(t, nil, "bash", "-euc", strict+script)
	if code != 0 {
		t.Errorf("exit code %d of\n%s\n%s", code, script, out)
	}
	if n := strings.Count(string(out), "<!doctype html>"); n != 3 {
		t.Errorf("the page came %d times: %s", n, out)
	}
	says(t, string(out), `"access_token":"`, `"status":"inactive"`, `"status":"active"`)

	p.signal(syscall.SIGINT)
	p.exits(0)
	for _, variable := range p.cmd.Env {
		name, dir, _ := strings.Cut(variable, "=")
		if name != "HOME" && name != "TMPDIR" {
			continue
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", name, left, err)
		}
	}
}
