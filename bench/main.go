// Command bench measures adit beside what it is held against: the same load to
// the same target, in interleaved pairs, so that a machine whose speed drifts
// slows both alike. It prints the medians, their ratio, and whether that
// reaches the floor it must. It has four suites:
//
//   - forward: adit's local forward beside OpenSSH's own `ssh -N -L`, through
//     the same sshd
//   - relay: adit's relay and a client of it, in adit's own dialect, entered by
//     SOCKS5, beside two plain TCP hops, which are the limit of what two
//     processes could do
//   - linksocks: the same in the linksocks dialect
//   - wire: adit's relay and a client of it with a long way between them, beside
//     plain TCP over that way
//
// Run it from the module:
//
//	go run ./bench
//	go run ./bench -suite relay,wire
//	go run ./bench -only down,rtt -rounds 9
//	go run ./bench -adit bin/other          # an adit that is already built
//	go run ./bench -cpu                     # on a busy machine: who works more for it
//
// All of it runs on this machine, in processes, namespaces and a directory of
// its own that are gone when it ends. It needs Go, OpenSSH's client and server
// for the suite forward, and root and /dev/net/tun for the suite wire: where
// they are missing that suite is left out with a line, but where it was asked
// for by name or CI is set, that is an error. Memory is only measured on Linux.
// It exits with 1 when a floor is missed, when a byte is wrong, and when a
// connection fails.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	suite  string
	rounds int
	only   string
	adit   string
	cipher string
	cpu    bool
}

// Where the kernel kills children with the thread that started them
// (attributes), that must be one which lives as long as the process.
func init() { runtime.LockOSThread() }

func main() {
	var o options
	flag.StringVar(&o.suite, "suite", "", "suites to make, comma-separated, of: "+strings.Join(suiteNames(), " "))
	flag.IntVar(&o.rounds, "rounds", 5, "how often each test is made on each path; medians are compared")
	flag.StringVar(&o.only, "only", "", "tests to make, comma-separated, of: "+strings.Join(testNames(suites), " "))
	flag.StringVar(&o.adit, "adit", "", "an adit to measure instead of one built from this module")
	flag.StringVar(&o.cipher, "cipher", "", "the cipher that ssh must use (ssh -c) instead of what it agrees on with sshd")
	flag.BoolVar(&o.cpu, "cpu", false, "compare the CPU time of the processes on both paths, which other work on the machine changes little, and no floors")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the first
	if err := bench(ctx, o); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench makes the suites, one after the other. A floor that is missed in one
// does not keep the next from being made.
func bench(ctx context.Context, o options) error {
	chosen, err := choose(o.suite, o.only)
	if err != nil {
		return err
	}
	if o.rounds < 1 {
		return errors.New("-rounds is 1 or more")
	}
	var tools tools
	if chosen, err = possible(chosen, &tools, o); err != nil || len(chosen) == 0 {
		return err
	}
	dir, err := os.MkdirTemp("", "adit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	raiseLimits()
	if tools.adit, err = build(ctx, dir, "adit", "cmd/adit", o.adit); err != nil {
		return err
	}
	if tools.tunload, err = build(ctx, dir, "tunload", "bench/tunload", ""); err != nil {
		return err
	}
	missed := 0
	for i, s := range chosen {
		if i > 0 {
			fmt.Println()
		}
		if o.cpu {
			s.tests = inCPUTime(s.tests)
		}
		n, err := s.run(ctx, dir, tools, o)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		missed += n
	}
	if missed > 0 {
		return fmt.Errorf("adit misses %d of its floors", missed)
	}
	return nil
}

// tools are the paths of the programs that are run.
type tools struct{ sshd, ssh, adit, tunload string }

// possible leaves out the suites that cannot be made here, and says why. Where
// somebody counts on one, that is an error.
func possible(chosen []suite, t *tools, o options) ([]suite, error) {
	counted := o.suite != "" || os.Getenv("CI") != ""
	var possible []suite
	for _, s := range chosen {
		err := s.fit(t, o)
		if err != nil && counted {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if err != nil {
			fmt.Printf("%s: left out: %v\n", s.name, err)
			continue
		}
		possible = append(possible, s)
	}
	return possible, nil
}

// fit tells why a suite cannot be made.
func (of suite) fit(t *tools, o options) error {
	if o.cpu && of.long {
		return errors.New("-cpu compares processes, and plain TCP is none")
	}
	if of.check == nil {
		return nil
	}
	return of.check(t)
}

// findOpenSSH looks for OpenSSH's programs.
func findOpenSSH(t *tools) error {
	var missing []string
	if t.ssh = look("ssh"); t.ssh == "" {
		missing = append(missing, "openssh-client")
	}
	// sshd starts itself again for each connection, and wants to know where it is.
	if t.sshd = look("sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd"); t.sshd == "" {
		missing = append(missing, "openssh-server")
	}
	if len(missing) > 0 {
		return fmt.Errorf("OpenSSH is missing; on Debian: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	return nil
}

// look gives the absolute path of the first of these programs that is there.
func look(names ...string) string {
	for _, name := range names {
		found, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if path, err := filepath.Abs(found); err == nil {
			return path
		}
	}
	return ""
}

const (
	module = "github.com/adit-tunnel/adit/"
	// buildTimeout is enough to compile everything from nothing on a small machine.
	buildTimeout = 10 * time.Minute
)

// build compiles a package of this module as its releases are, unless it is
// given a program that is built already.
func build(ctx context.Context, dir, name, pkg, built string) (string, error) {
	if built != "" {
		return filepath.Abs(built)
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	out := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", out, module+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	return out, nil
}
