package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

func TestLoggerTakesSecretsOutByTheirKeys(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		var log bytes.Buffer
		logger := NewLogger(&log, asJSON, slog.LevelInfo)
		for _, key := range []string{
			"password", "newPassword", "passphrase", "token", "access_token", "Authorization", "privateKey", "private_key",
			"keyContent", "secret", "client-secret", "apiKey", "X-API-Key", "setupCode", "cookie",
		} {
			logger.Info("message", key, "hunter2")
			logger.With(key, "hunter2").Info("message")
			logger.Info("message", slog.Group("request", key, []byte("hunter2")))
			logger.Info("message", slog.Group(key, "value", "hunter2"))
			logger.WithGroup(key).Info("message", "value", "hunter2")
		}
		logger.Info("message", "value", redact.New("hunter2"))
		if strings.Contains(log.String(), "hunter2") || strings.Contains(log.String(), "aHVudGVyMg") {
			t.Errorf("a secret is in the log:\n%s", &log)
		}
		if got, want := strings.Count(log.String(), "[redacted]"), 15*5+1; got != want {
			t.Errorf("%d marks, want %d:\n%s", got, want, &log)
		}
	}
}

func TestLoggerLeavesTheRestAsItIs(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	zone := time.FixedZone("east", 3600)
	NewLogger(&log, true, slog.LevelInfo).Warn("listen", "tunnelId", "t1", "port", 80, "at", time.Date(2026, 1, 1, 1, 0, 0, 0, zone))
	var got map[string]any
	if err := json.Unmarshal(log.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["msg"] != "listen" || got["level"] != "WARN" || got["tunnelId"] != "t1" || got["port"] != 80.0 || got["at"] != "2026-01-01T00:00:00Z" {
		t.Errorf("logged %v", got)
	}
	if at, ok := got["time"].(string); !ok || len(at) != len("2024-01-01T00:00:00.000Z") || !strings.HasSuffix(at, "Z") {
		t.Errorf("time is %v, want UTC with milliseconds", got["time"])
	}
}

func TestLoggerLeavesOutWhatIsBelowTheLevel(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := NewLogger(&log, false, slog.LevelWarn)
	logger.Info("quiet")
	logger.Warn("loud")
	if strings.Contains(log.String(), "quiet") || !strings.Contains(log.String(), "loud") {
		t.Errorf("logged %s", &log)
	}
}

func TestLoggerAddsTheRequestIDOfTheContext(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	id := NewRequestID()
	ctx := WithRequestID(context.Background(), id)
	logger := NewLogger(&log, false, slog.LevelInfo).With("a", 1)
	logger.InfoContext(ctx, "with")
	if !strings.Contains(log.String(), "requestId="+id) || RequestID(ctx) != id {
		t.Errorf("logged %s, want the request id %s", &log, id)
	}
	log.Reset()
	logger.Info("without")
	if strings.Contains(log.String(), "requestId") {
		t.Errorf("logged %s", &log)
	}
	if NewRequestID() == id {
		t.Error("two requests have one id")
	}
}

func TestBuildSaysWhatIsKnown(t *testing.T) {
	t.Parallel()
	checkout := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"}}
	for _, tt := range []struct {
		linked, module string
		settings       []debug.BuildSetting
		want           string
	}{
		{"", "", nil, "dev ("},
		{"", "(devel)", checkout, "dev (0123456789ab+, "},
		{"", "v1.2.3", nil, "v1.2.3 ("},
		{"v2.0.0", "v1.2.3", checkout[:1], "v2.0.0 (0123456789ab, "},
	} {
		b := buildFrom(tt.linked, &debug.BuildInfo{Main: debug.Module{Version: tt.module}, Settings: tt.settings})
		if want := tt.want + b.Go + ", " + b.System + ")"; b.String() != want {
			t.Errorf("linked %q, module %q: %q, want %q", tt.linked, tt.module, b, want)
		}
	}
}
