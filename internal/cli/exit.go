package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/config"
)

// The exit codes.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 4
	exitNotAllowed  = 5
	exitUnreachable = 6
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// codes has the exit code of each error code that has one of its own; every
// other one is exitError. A program that runs adit may try again after
// exitUnreachable; after exitNotAllowed it need not.
var codes = map[api.Code]int{
	api.CodeNotFound: exitNotFound,

	api.CodeUnauthorized:  exitNotAllowed,
	api.CodeForbidden:     exitNotAllowed,
	api.CodeKeyPathDenied: exitNotAllowed,
	api.CodeListenDenied:  exitNotAllowed,
	api.CodeTargetDenied:  exitNotAllowed,
	api.CodeAuthFailed:    exitNotAllowed,

	api.CodeNameNotFound:   exitUnreachable,
	api.CodeConnectRefused: exitUnreachable,
	api.CodeUnreachable:    exitUnreachable,
	api.CodeConnectionLost: exitUnreachable,
	api.CodeTimeout:        exitUnreachable,
}

// usageError is a command line, environment or configuration file that asks
// for what there is not.
type usageError struct {
	command  string // whose help tells more; empty when it was just shown
	problems []string
}

func (e *usageError) Error() string { return strings.Join(e.problems, "; ") }

func asUsageError(cmd *cobra.Command, err error) error {
	problems := []string{err.Error()}
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		problems = wrong.Problems
	}
	return &usageError{command: cmd.CommandPath(), problems: problems}
}

// report tells people about err, if there is one, and gives the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		for _, problem := range usage.problems {
			say(stderr, "adit: %s\n", problem)
		}
		if usage.command != "" {
			say(stderr, "run '%s --help'\n", usage.command)
		}
		return exitUsage
	}
	err = explainListen(err)
	say(stderr, "adit: %v\n", err)
	public, ok := errors.AsType[*api.Error](err)
	if !ok {
		return exitError
	}
	if public.Hint != "" {
		say(stderr, "hint: %s\n", public.Hint)
	}
	if code, ok := codes[public.Code]; ok {
		return code
	}
	return exitError
}

// say writes to standard error. Where that cannot be written to, there is
// nobody left to tell.
func say(stderr io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(stderr, format, args...)
}

// explainListen puts the system's word on a listener of our own, which comes as
// it is, into ours.
func explainListen(err error) error {
	if _, ok := errors.AsType[*api.Error](err); ok {
		return err
	}
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "listen" || op.Addr == nil {
		return err
	}
	what := "listen " + op.Addr.String() + ": "
	switch {
	case errors.Is(op.Err, syscall.EADDRINUSE):
		return &api.Error{Code: api.CodeListenInUse, Err: err,
			Message: what + "address already in use",
			Hint:    "end what listens there, or give another address or port"}
	case errors.Is(op.Err, syscall.EACCES):
		return &api.Error{Code: api.CodeListenDenied, Err: err,
			Message: what + "permission denied",
			Hint:    "ports below 1024 need a privilege: give another port"}
	case errors.Is(op.Err, syscall.EADDRNOTAVAIL):
		return &api.Error{Code: api.CodeListenDenied, Err: err,
			Message: what + "this machine does not have that address",
			Hint:    "give an address of this machine, or 0.0.0.0 for every one"}
	}
	return err
}
