package flow

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// noise gives bytes that do not repeat, other ones for every seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// filled gives a buffer with these bytes, at most MaxBuffer of them.
func filled(p []byte) *Buffer {
	b := Take(len(p))
	copy(b.Bytes(), p)
	return b
}
