package cli

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
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/config"
)

// harness runs command lines with nothing behind them but what a test puts
// there.
type harness struct {
	program
	out, err bytes.Buffer
}

func newHarness() *harness {
	h := &harness{}
	h.program = program{
		stdin: strings.NewReader(""), stdout: &h.out, stderr: &h.err,
		env:        func(name string) string { return map[string]string{"HOME": "/home/user"}[name] },
		serve:      func(context.Context, config.Config, io.Writer, io.Writer) error { return nil },
		relayServe: func(context.Context, config.RelayServe, io.Writer, io.Writer) error { return nil },
		peer:       func(context.Context, config.Peer, io.Writer, io.Writer) error { return nil },
		demo:       func(context.Context, io.Writer, *slog.Logger) error { return nil },
	}
	return h
}

func (h *harness) call(args ...string) int { return h.run(context.Background(), args, nil) }

// want compares all that a call leaves behind.
func (h *harness) want(t *testing.T, args string, code int, stdout, stderr string) {
	t.Helper()
	if got := h.call(strings.Fields(args)...); got != code || h.out.String() != stdout || h.err.String() != stderr {
		t.Errorf("adit %s: code %d, want %d\nstdout %q, want %q\nstderr %q, want %q",
			args, got, code, &h.out, stdout, &h.err, stderr)
	}
}

func TestUsageErrorsAreOneLineAndWhereToReadMore(t *testing.T) {
	t.Parallel()
	for args, stderr := range map[string]string{
		"serve --foo":         "adit: unknown flag: --foo\nrun 'adit serve --help'\n",
		"serve --listen":      "adit: flag needs an argument: --listen\nrun 'adit serve --help'\n",
		"serve here":          "adit: \"adit serve\" takes flags only, and \"here\" is none\nrun 'adit serve --help'\n",
		"serve here --foo":    "adit: unknown flag: --foo\nrun 'adit serve --help'\n",
		"demo --listen x":     "adit: unknown flag: --listen\nrun 'adit demo --help'\n",
		"version 1":           "adit: \"adit version\" takes flags only, and \"1\" is none\nrun 'adit version --help'\n",
		"srve":                "adit: unknown command \"srve\", did you mean \"serve\"?\nrun 'adit --help'\n",
		"dig --deep":          "adit: unknown command \"dig\"\nrun 'adit --help'\n",
		"--foo":               "adit: unknown flag: --foo\nrun 'adit --help'\n",
		"relay dig":           "adit: unknown command \"dig\"\nrun 'adit relay --help'\n",
		"relay clinet":        "adit: unknown command \"clinet\", did you mean \"client\"?\nrun 'adit relay --help'\n",
		"relay clinet --deep": "adit: unknown command \"clinet\", did you mean \"client\"?\nrun 'adit relay --help'\n",
		"relay --foo":         "adit: unknown flag: --foo\nrun 'adit relay --help'\n",
		"relay client --foo":  "adit: unknown flag: --foo\nrun 'adit relay client --help'\n",
		"relay client -Z":     "adit: unknown shorthand flag: 'Z' in -Z\nrun 'adit relay client --help'\n",
		"relay client -Ztsec": "adit: unknown flag: -Z\nrun 'adit relay client --help'\n",
		"relay client -it":    "adit: flag needs an argument: 't' in -t\nrun 'adit relay client --help'\n",
		"relay serve -P x":    "adit: flag --ws-port: \"x\" is no port: write a number from 0 to 65535\nrun 'adit relay serve --help'\n",
		"help relay dig":      "adit: unknown command \"dig\"\nrun 'adit relay --help'\n",
		"help dig":            "adit: unknown command \"dig\"\nrun 'adit --help'\n",
		"completion bash":     "adit: unknown command \"completion\"\nrun 'adit --help'\n",
		"serve --listen 3000": "adit: flag --listen: \"3000\" is no address: write host:port, as in 127.0.0.1:3000 or [::1]:3000\nrun 'adit serve --help'\n",
		"serve --drain 1 --log-format xml": "adit: flag --log-format: \"xml\" is not one of text, json\n" +
			"adit: flag --drain: \"1\" is no duration: write a number and a unit, as in 10s or 1m30s\nrun 'adit serve --help'\n",
	} {
		newHarness().want(t, args, 2, "", stderr)
	}
}

func TestNoCommandShowsTheHelpOnStandardError(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{"": "Commands:\n  demo ", "relay": "Commands:\n  client "} {
		h := newHarness()
		if code := h.call(strings.Fields(args)...); code != 2 || h.out.Len() > 0 || !strings.Contains(h.err.String(), want) {
			t.Errorf("adit %s: code %d, stdout %q, stderr %q", args, code, &h.out, &h.err)
		}
	}
}

func TestHelpGoesToStandardOutputAndNamesEverySetting(t *testing.T) {
	t.Parallel()
	for args, settings := range map[string][]config.Setting{
		"serve --help": config.Settings(), "serve -h": config.Settings(), "help serve": config.Settings(),
		"relay serve --help": config.RelayServeSettings(), "help relay serve": config.RelayServeSettings(),
		"relay client -h": config.PeerSettings(), "help relay provider": config.PeerSettings(), "relay connector --help": config.PeerSettings(),
	} {
		h := newHarness()
		if code := h.call(strings.Fields(args)...); code != 0 || h.err.Len() > 0 {
			t.Errorf("adit %s: code %d, stderr %q", args, code, &h.err)
		}
		for _, s := range settings {
			flag := "      --" + s.Name + " " + s.Value
			if s.Short != "" {
				flag = "  -" + s.Short + ", --" + s.Name + " " + s.Value
			}
			if !strings.Contains(h.out.String(), flag+" ") || s.Secret && !strings.Contains(h.out.String(), "--"+s.Twin()+" FILE") {
				t.Errorf("adit %s does not tell of --%s", args, s.Name)
			}
		}
		for line := range strings.Lines(h.out.String()) {
			if len([]rune(line)) > helpWidth+1 {
				t.Errorf("adit %s has a line of %d columns: %s", args, len([]rune(line)), line)
			}
		}
		if !strings.Contains(h.out.String(), "(default 127.0.0.1") || strings.Contains(h.out.String(), "[=") {
			t.Errorf("adit %s: %s", args, &h.out)
		}
	}
}

func TestVersionSaysWhichBuildThisIs(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"version", "--version"} {
		h := newHarness()
		if code := h.call(args); code != 0 || !strings.HasPrefix(h.out.String(), "adit dev (") || strings.Count(h.out.String(), "\n") != 1 {
			t.Errorf("adit %s: code %d, stdout %q", args, code, &h.out)
		}
	}
}

func TestServeGetsFlagsVariablesAndTheStreams(t *testing.T) {
	t.Parallel()
	h := newHarness()
	h.env = func(name string) string {
		return map[string]string{"HOME": "/home/user", "ADIT_LOG_LEVEL": "warn", "ADIT_LISTEN": "127.0.0.1:1"}[name]
	}
	h.serve = func(_ context.Context, cfg config.Config, stdout, stderr io.Writer) error {
		if cfg.Listen != "127.0.0.1:2" || cfg.LogLevel != slog.LevelWarn || len(cfg.Deny) != 2 || cfg.APIKey.Reveal() != "k3y" {
			t.Errorf("serve got %+v", cfg)
		}
		_, err := fmt.Fprintln(stdout, "adit ready")
		return errors.Join(err, func() error { _, err := fmt.Fprintln(stderr, "log"); return err }())
	}
	h.want(t, "serve --listen=127.0.0.1:2 --deny 10.0.0.1 --deny 10.0.0.2 --api-key k3y", 0, "adit ready\n", "log\n")
}

func TestDemoGetsTheOutput(t *testing.T) {
	t.Parallel()
	h := newHarness()
	h.demo = func(_ context.Context, out io.Writer, logger *slog.Logger) error {
		logger.Warn("heard")
		_, err := fmt.Fprintln(out, "try this")
		return err
	}
	if code := h.call("demo"); code != 0 || h.out.String() != "try this\n" || !strings.Contains(h.err.String(), "heard") {
		t.Errorf("code %d, stdout %q, stderr %q", code, &h.out, &h.err)
	}
}

func TestErrorsAreToldWithTheirHintAndWithoutUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		code   int
		stderr string
	}{
		{errors.New("disk on fire"), 1, "adit: disk on fire\n"},
		{&api.Error{Code: api.CodeConflict, Message: "the data directory is in use"}, 1, "adit: the data directory is in use\n"},
		{fmt.Errorf("open store: %w", &api.Error{Code: api.CodeStorageFull, Message: "no space left", Hint: "free some"}), 1,
			"adit: open store: no space left\nhint: free some\n"},
	} {
		h := newHarness()
		h.serve = func(context.Context, config.Config, io.Writer, io.Writer) error { return tt.err }
		h.want(t, "serve", tt.code, "", tt.stderr)
	}
}

func TestExitCodesFollowTheErrorCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[api.Code]int{
		api.CodeInvalid: 1, api.CodeInternal: 1, api.CodeListenInUse: 1, api.CodeHostKeyChanged: 1, api.CodeStorageFull: 1,
		api.CodeNotFound:     4,
		api.CodeUnauthorized: 5, api.CodeForbidden: 5, api.CodeListenDenied: 5, api.CodeAuthFailed: 5,
		api.CodeUnreachable: 6, api.CodeConnectRefused: 6, api.CodeTimeout: 6, api.CodeNameNotFound: 6,
	} {
		if got := report(io.Discard, fmt.Errorf("wrapped: %w", &api.Error{Code: code})); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
}

func TestATakenAddressIsToldInOurWords(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	h := newHarness()
	h.serve = func(context.Context, config.Config, io.Writer, io.Writer) error {
		_, err := net.Listen("tcp", taken.Addr().String())
		return fmt.Errorf("start the control API: %w", err)
	}
	h.want(t, "serve", 1, "", "adit: listen "+taken.Addr().String()+": address already in use\n"+
		"hint: end what listens there, or give another address or port\n")

	for number, want := range map[syscall.Errno]int{syscall.EACCES: 5, syscall.EADDRNOTAVAIL: 5, syscall.EMFILE: 1} {
		failed := &net.OpError{Op: "listen", Net: "tcp", Addr: taken.Addr(), Err: os.NewSyscallError("bind", number)}
		if got := report(io.Discard, failed); got != want {
			t.Errorf("%v: code %d, want %d", number, got, want)
		}
	}
}

func TestTheFirstSignalEndsServeInItsOwnOrder(t *testing.T) {
	t.Parallel()
	for stopped, want := range map[error]int{nil: 0, context.Canceled: 0, errors.New("cannot close"): 1} {
		h := newHarness()
		drained := false
		signals := make(chan os.Signal, 1)
		h.serve = func(ctx context.Context, _ config.Config, _, _ io.Writer) error {
			signals <- syscall.SIGTERM
			<-ctx.Done()
			drained = true
			return stopped
		}
		if code := h.run(context.Background(), []string{"serve"}, signals); code != want || !drained {
			t.Errorf("serve ended with %v: code %d, want %d, drained %t", stopped, code, want, drained)
		}
	}
}

func TestTheSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		second os.Signal
		after  time.Duration
	}{
		"the same one later":  {os.Interrupt, 2 * echoTime},
		"another one at once": {syscall.SIGTERM, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHarness()
				signals := make(chan os.Signal, 2)
				signals <- os.Interrupt
				time.AfterFunc(c.after, func() { signals <- c.second })
				hang := make(chan struct{})
				h.serve = func(context.Context, config.Config, io.Writer, io.Writer) error {
					<-hang // deaf to its context
					return nil
				}
				if code := h.run(context.Background(), []string{"serve"}, signals); code != 130 {
					t.Errorf("code %d, want 130", code)
				}
				close(hang)
			})
		})
	}
}

// timeout(1) signals its child, and then the group that the child is in.
func TestASignalThatCameTwiceIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness()
		signals := make(chan os.Signal, 2)
		signals <- syscall.SIGTERM
		signals <- syscall.SIGTERM
		h.serve = func(ctx context.Context, _ config.Config, _, _ io.Writer) error {
			<-ctx.Done()
			time.Sleep(time.Second) // the drain
			return nil
		}
		if code := h.run(context.Background(), []string{"serve"}, signals); code != 0 {
			t.Errorf("code %d, want 0", code)
		}
	})
}

func TestCancelledWithoutASignalIsAnError(t *testing.T) {
	t.Parallel()
	h := newHarness()
	h.serve = func(context.Context, config.Config, io.Writer, io.Writer) error { return context.Canceled }
	h.want(t, "serve", 1, "", "adit: context canceled\n")
}
