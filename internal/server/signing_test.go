package server

import (
	"log/slog"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/auth"
)

func TestSigningKeysRotateAndLogNobodyOut(t *testing.T) {
	t.Parallel()
	d := openTestData(t, t.TempDir())
	began := time.Now()
	load := func(after time.Duration) *auth.Tokens {
		t.Helper()
		tokens, err := d.tokens(t.Context(), slog.New(slog.DiscardHandler), began.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	keys := func() int {
		t.Helper()
		rows, err := d.store.SigningKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(rows)
	}
	first, _, err := load(0).Issue("ann", "ann@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if load(signingKeyAge - time.Hour); keys() != 1 {
		t.Errorf("%d keys before it is time", keys())
	}
	renewed := load(signingKeyAge)
	if _, err := renewed.Verify(first); err != nil || keys() != 2 {
		t.Errorf("a session has ended with its key: %v, %d keys", err, keys())
	}
	second, _, err := renewed.Issue("ann", "ann@example.org")
	if err != nil {
		t.Fatal(err)
	}
	later := load(signingKeyAge + auth.TokenLifetime + time.Hour)
	if _, err := later.Verify(first); err == nil || keys() != 1 {
		t.Errorf("the old key is still there: %d keys", keys())
	}
	if _, err := later.Verify(second); err != nil {
		t.Error(err)
	}
}
