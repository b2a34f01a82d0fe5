package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/config"
)

func TestRelayServeGetsFlagsVariablesAndTheStreams(t *testing.T) {
	t.Parallel()
	h := newHarness()
	h.env = func(name string) string {
		return map[string]string{"LINKSOCKS_SOCKS_PORT": "1080", "ADIT_SOCKS_HOST": "::1", "LINKSOCKS_SOCKS_HOST": "::2"}[name]
	}
	h.relayServe = func(_ context.Context, cfg config.RelayServe, stdout, stderr io.Writer) error {
		if cfg.Listen != "127.0.0.1:0" || !cfg.Reverse || cfg.Token.Reveal() != "t0ken" || !cfg.FastOpen ||
			cfg.LogLevel != slog.LevelDebug || cfg.SOCKSPort != 1080 || cfg.SOCKSHost != "::1" || cfg.Notes != nil {
			t.Errorf("relay serve got %+v", cfg)
		}
		_, err := fmt.Fprintln(stdout, "adit ready")
		return errors.Join(err, func() error { _, err := fmt.Fprintln(stderr, "log"); return err }())
	}
	h.want(t, "relay serve -H127.0.0.1 -P 0 -rddt t0ken -f=true", 0, "adit ready\n", "log\n")
}

func TestEachPeerCommandHasItsRole(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]config.Role{
		"client": config.RoleClient, "client -r": config.RoleProvider, "client --reverse=false": config.RoleClient,
		"provider": config.RoleProvider, "provider -r": config.RoleProvider, "connector": config.RoleConnector,
	} {
		h := newHarness()
		called := false
		h.peer = func(_ context.Context, cfg config.Peer, _, _ io.Writer) error {
			called = true
			if cfg.Role != want || cfg.Token.Reveal() != "t0ken" || cfg.Threads != 2 {
				t.Errorf("%s: got %+v", args, cfg)
			}
			return errors.New("the end")
		}
		h.want(t, "relay "+args+" -t t0ken -T 2", 1, "", "adit: the end\n")
		if !called {
			t.Errorf("%s: nothing ran", args)
		}
	}
}

func TestWhatHasNoEffectIsLoggedOnce(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"relay serve -k k3y -t t0ken":         `level=WARN msg="flag --token: has no effect: `,
		"relay client -b 1":                   `level=WARN msg="flag --buffer-size: has no effect: `,
		"relay client -b 1 --log-format json": `"level":"WARN","msg":"flag --buffer-size: has no effect: `,
	} {
		h := newHarness()
		if code := h.call(strings.Fields(args)...); code != 0 || h.out.Len() > 0 || strings.Count(h.err.String(), want) != 1 ||
			strings.Count(h.err.String(), "\n") != 1 || strings.Contains(h.err.String(), "t0ken") {
			t.Errorf("adit %s: code %d, stdout %q, stderr %q", args, code, &h.out, &h.err)
		}
	}
}

func TestRootTellsOfBothJobs(t *testing.T) {
	t.Parallel()
	h := newHarness()
	if code := h.call("--help"); code != 0 || !strings.Contains(h.out.String(), "SSH port forwards") || !strings.Contains(h.out.String(), "SOCKS5-over-WebSocket") {
		t.Errorf("code %d, stdout %q", code, &h.out)
	}
}
