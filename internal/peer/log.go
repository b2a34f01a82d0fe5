package peer

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/redact"
)

const (
	// maxWords is how much of what somebody else says is shown, in bytes.
	maxWords = 512
	// linesPerMinute bounds what others can make us log.
	linesPerMinute = 60
	// shortestSecret is from where on a secret is looked for in texts: a shorter
	// one is in many by chance.
	shortestSecret = 4

	levelTrace = slog.LevelDebug - 4
)

// budget counts lines of the log by the minute. The zero value is ready.
type budget struct {
	mu    sync.Mutex // guards below
	began time.Time
	used  int
}

// take counts one line and gives how many there were in this minute.
func (b *budget) take(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.began) >= time.Minute {
		b.began, b.used = now, 0
	}
	b.used++
	return b.used
}

// scrubber takes tokens and their hashes out of texts: a relay may repeat what
// it was told.
func scrubber(tokens ...redact.Secret) *strings.Replacer {
	const mark = "[redacted]"
	var pairs []string
	for _, token := range tokens {
		if token.IsZero() {
			continue
		}
		pairs = append(pairs, linksocks.HashToken(token).Reveal(), mark)
		if text := token.Reveal(); len(text) >= shortestSecret {
			pairs = append(pairs, text, mark)
		}
	}
	return strings.NewReplacer(pairs...)
}

// clean makes a text that is not ours fit to be shown: without tokens and
// control characters, and not long.
func (p *peer) clean(text string) string {
	text = p.secrets.Replace(text)
	if len(text) > maxWords {
		text = text[:maxWords] + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// logRetry tells that there will be another try, and why. Many links that are
// lost together do not flood the log.
func (t *thread) logRetry(err error, pause time.Duration) {
	level := slog.LevelWarn
	if t.retried.take(time.Now()) > linesPerMinute {
		level = slog.LevelDebug
	}
	t.log.Log(context.Background(), level, "no link to the relay, trying again", "reason", t.clean(err.Error()), "in", pause.Round(time.Millisecond))
}

// logWords logs what the relay has to say.
func (t *thread) logWords(word, text string) {
	level := levelOf(word)
	if text == linksocks.ServerHello {
		level = slog.LevelDebug
	}
	if !t.log.Enabled(context.Background(), level) {
		return
	}
	switch n := t.said.take(time.Now()); {
	case n == linesPerMinute+1:
		t.log.Warn("the relay says too much, the rest of this minute is left out")
	case n <= linesPerMinute:
		t.log.Log(context.Background(), level, "the relay says", "words", t.clean(text))
	}
}

func levelOf(word string) slog.Level {
	switch word {
	case "trace":
		return levelTrace
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
