package test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// adit is a running `adit serve`, with an API client that keeps all answers.
type adit struct {
	*process
	*client
	t    testing.TB
	data string // the data directory

	relay string // host:port; empty when it is off
}

// serve runs the server on a data directory and returns when it is ready.
func serve(t testing.TB, data string, flags ...string) *adit {
	t.Helper()
	return serveCommand(t, data, exec.Command(program, serveArgs(data, flags...)...))
}

// serveArgs listens on a free port and has no relay, unless the flags say
// otherwise.
func serveArgs(data string, flags ...string) []string {
	return append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--relay-listen", "off", "--log-level", "debug"}, flags...)
}

func serveCommand(t testing.TB, data string, cmd *exec.Cmd) *adit {
	t.Helper()
	a := &adit{process: launchCommand(t, cmd), t: t, data: data}
	ready := a.await(a.stdout, readyLine)
	a.client, a.relay = newClient(t, ready[1]), ready[2]
	t.Cleanup(func() {
		if n := strings.Count(a.stdout.String(), "\n"); n != 1 {
			t.Errorf("standard output has more than the ready line: %q", a.stdout)
		}
	})
	return a
}

var readyLine = regexp.MustCompile(`^adit ready control=(http://\S+:\d+) relay=(?:off|ws://(\S+:\d+))\n$`)

// again ends the server with how and starts it on the same data directory, with
// the token of before.
func (a *adit) again(how func(), flags ...string) *adit {
	a.t.Helper()
	how()
	b := serve(a.t, a.data, flags...)
	b.token = a.token
	return b
}

// newDir is a data directory that is not there yet.
func newDir(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }
