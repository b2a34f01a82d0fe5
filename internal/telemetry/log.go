// Package telemetry is what the program tells its operator about itself: the
// log, with what must not be in it taken out, and which build this is. It knows
// nothing of what it reports on.
package telemetry

import (
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// NewLogger makes the logger that the whole process shares. It writes to w, as
// JSON or, when json is false, as text, what is at least as severe as level.
// Attributes whose key says that they are secret appear as a mark, instants are
// UTC, and a record logged with a context carries that context's request id.
func NewLogger(w io.Writer, json bool, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: replace}
	if json {
		return slog.New(requestHandler{slog.NewJSONHandler(w, options)})
	}
	return slog.New(requestHandler{slog.NewTextHandler(w, options)})
}

// secretWords make a key secret wherever in it they stand; see normalize for
// the form. redact.Secret needs none of this: this is for the plain text that
// somebody logs by mistake.
var secretWords = []string{
	"password", "passwd", "passphrase", "token", "secret", "authorization", "cookie",
	"privatekey", "keycontent", "apikey", "setupcode", "invitecode",
}

// replace is the redaction layer. slog calls it for every attribute but groups,
// and names the groups around it.
func replace(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.String(slog.TimeKey, a.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	if isSecret(a.Key) || anySecret(groups) {
		return slog.Any(a.Key, redact.Secret{})
	}
	if at, ok := a.Value.Any().(time.Time); ok {
		return slog.Time(a.Key, at.UTC())
	}
	return a
}

func anySecret(keys []string) bool {
	for _, key := range keys {
		if isSecret(key) {
			return true
		}
	}
	return false
}

func isSecret(key string) bool {
	key = normalize(key)
	for _, word := range secretWords {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// normalize makes privateKey, private_key and Private-Key one word.
func normalize(key string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(strings.ToLower(key))
}
