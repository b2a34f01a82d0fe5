// Package cli is the command line: its commands and flags, what people read on
// standard error, and the exit codes. What the commands do is other packages'
// work.
package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/demo"
	"github.com/adit-tunnel/adit/internal/server"
)

// echoTime is how long after a signal the same one again is not a second one:
// timeout(1) and some supervisors signal a process, and then its whole group.
const echoTime = 100 * time.Millisecond

// Main runs the command that args (without the program's name) ask for and
// returns the exit code. SIGINT, SIGTERM and SIGHUP end the command in its own
// order; a second one makes Main return 130 at once, with the command still
// running: the caller is to exit.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup wants to outlive its terminal
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	p := &program{
		stdin: stdin, stdout: stdout, stderr: stderr,
		env: os.Getenv, serve: server.Run, demo: demo.Run,
		relayServe: server.RunRelay, peer: server.RunPeer, export: server.Export, imports: server.Import,
	}
	return p.run(context.Background(), args, signals)
}

// program is the command line with all that it reaches outside, so that tests
// can stand in for it.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(name string) string
	serve          func(ctx context.Context, cfg config.Config, stdout, stderr io.Writer) error
	relayServe     func(ctx context.Context, cfg config.RelayServe, stdout, stderr io.Writer) error
	peer           func(ctx context.Context, cfg config.Peer, stdout, stderr io.Writer) error
	export         func(ctx context.Context, cfg config.Transfer, stdout, stderr io.Writer) error
	imports        func(ctx context.Context, cfg config.Transfer, stdin io.Reader, stderr io.Writer) error
	demo           func(ctx context.Context, out io.Writer, logger *slog.Logger) error
}

// run executes args until the command ends or the second signal comes.
func (p *program) run(ctx context.Context, args []string, signals <-chan os.Signal) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan int, 1)
	go func() { ended <- p.execute(ctx, args) }()
	var first os.Signal
	var echoes time.Time // until then
	for {
		select {
		case code := <-ended:
			return code
		case s := <-signals:
			switch {
			case first == nil:
				first, echoes = s, time.Now().Add(echoTime)
				cancel()
			case s != first || time.Now().After(echoes):
				return exitInterrupted
			}
		}
	}
}

// execute runs one command, tells its error and gives the exit code.
func (p *program) execute(ctx context.Context, args []string) int {
	root := p.rootCommand()
	root.SetArgs(append([]string{}, args...)) // never nil, for which cobra would take the process's own
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitOK // it stopped because it was told to
	}
	return report(p.stderr, err)
}
