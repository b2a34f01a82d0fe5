// Package test tests adit from outside: it builds the program, runs it as its
// users do, and looks at nothing but what they can see, which is its output,
// its files, the HTTP API and what comes through the tunnels. The SSH server is
// OpenSSH's, and curl and ssh are the real ones.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	_ "github.com/adit-tunnel/adit/internal/cli" // so that a change of the program is not answered from the test cache
)

// program is the path of the built binary.
var program string

func TestMain(m *testing.M) {
	if os.Getenv(diskVariable) != "" {
		fmt.Fprintln(os.Stderr, runWithSmallDisk(os.Args[1:])) // comes back only if it cannot
		os.Exit(125)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "adit-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "adit")
	if out, err := buildCommand().CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build adit: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// buildCommand builds the program with the race detector if the tests have it,
// and otherwise as it is released, without cgo.
func buildCommand() *exec.Cmd {
	args, cgo := []string{"build", "-buildvcs=false"}, "CGO_ENABLED=0"
	if raceDetector {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "-o", program, "../cmd/adit")...)
	cmd.Env = append(os.Environ(), cgo)
	return cmd
}
