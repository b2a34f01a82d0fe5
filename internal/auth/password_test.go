package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/adit-tunnel/adit/internal/redact"
)

// cheap costs as little as argon2id can.
var cheap = Params{Memory: 8, Passes: 1, Parallelism: 1}

func TestAPasswordIsVerifiedByItsHash(t *testing.T) {
	t.Parallel()
	h := NewHasher(cheap, 1)
	hash := hashed(t, h, "correct horse")
	for password, want := range map[string]bool{
		"correct horse": true, "correct hors": false, "correct horse ": false, "": false, "Correct horse": false,
	} {
		got, err := h.Verify(t.Context(), hash, redact.New(password))
		if err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", password, got, err, want)
		}
	}
}

func TestTwoHashesOfOnePasswordDiffer(t *testing.T) {
	t.Parallel()
	h := NewHasher(cheap, 1)
	first, second := hashed(t, h, "same"), hashed(t, h, "same")
	if first == second {
		t.Error("a salt was used twice")
	}
}

func TestAHashIsInTheFormOfTheCompetition(t *testing.T) {
	t.Parallel()
	const want = "$argon2id$v=19$m=8,t=1,p=1$"
	hash := hashed(t, NewHasher(cheap, 1), "x").Reveal()
	if !strings.HasPrefix(hash, want) || len(hash) != len(want)+22+1+43 {
		t.Errorf("hash is %s", hash)
	}
}

// The vector is one of the reference implementation's own tests.
func TestAHashMadeElsewhereIsVerifiedWithItsOwnCosts(t *testing.T) {
	t.Parallel()
	h := NewHasher(cheap, 1)
	hash := redact.New("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	got, err := h.Verify(t.Context(), hash, redact.New("password"))
	if err != nil || !got {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDefaultsAreWithinWhatIsReadBack(t *testing.T) {
	t.Parallel()
	text := phc{params: DefaultParams, salt: make([]byte, saltSize), hash: make([]byte, hashSize)}.String()
	if _, err := parsePHC(text); err != nil {
		t.Error(err)
	}
	if h := NewHasher(Params{}, 0); h.params != DefaultParams || cap(h.turns) < 1 || cap(h.turns) > 4 {
		t.Errorf("params %+v, %d at a time", h.params, cap(h.turns))
	}
}

func TestAHashOfOtherCostsIsOutdated(t *testing.T) {
	t.Parallel()
	h := NewHasher(cheap, 1)
	dearer := cheap
	dearer.Passes++
	for hash, want := range map[redact.Secret]bool{
		hashed(t, h, "x"):                      false,
		hashed(t, NewHasher(dearer, 1), "x"):   true,
		redact.New("not a hash"):               true,
		redact.New("$2y$10$something else is"): true,
	} {
		if got := h.Outdated(hash); got != want {
			t.Errorf("%s: %v, want %v", hash.Reveal(), got, want)
		}
	}
}

func TestAStoredHashOutOfBoundsIsNotComputed(t *testing.T) {
	t.Parallel()
	h := NewHasher(cheap, 1)
	h.derive = func(_, _ []byte, _, _ uint32, _ uint8, _ uint32) []byte {
		t.Error("computed")
		return nil
	}
	good := "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"
	if _, err := parsePHC(good); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "$", "$$$$$", "secret", good + "$", " " + good, good + "\n",
		strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=8", "m=7", 1),
		strings.Replace(good, "m=8,t=1,p=1", "m=15,t=1,p=2", 1),
		strings.Replace(good, "m=8", "m=4294967295", 1),
		strings.Replace(good, "m=8", fmt.Sprint("m=", maxMemory+1), 1),
		strings.Replace(good, "m=8", "m=08", 1),
		strings.Replace(good, "m=8", "m=+8", 1),
		strings.Replace(good, "m=8", "m=99999999999999999999", 1),
		strings.Replace(good, "t=1", "t=0", 1),
		strings.Replace(good, "t=1", "t=33", 1),
		strings.Replace(good, "p=1", "p=0", 1),
		strings.Replace(good, "p=1", "p=257", 1),
		strings.Replace(good, "m=8,t=1,p=1", "t=1,m=8,p=1", 1),
		strings.Replace(good, ",p=1", "", 1),
		strings.Replace(good, "p=1", "p=1,p=1", 1),
		good[:len(good)-8],
		strings.Replace(good, "$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAA$", 1),
		strings.Replace(good, "$AAAAAAAAAAAAAAAAAAAAAA$", "$$", 1),
		good + strings.Repeat("A", 80),
		good[:len(good)-1] + "B",
		good + "==",
		good[:len(good)-4] + "\nAAAA",
	} {
		ok, err := h.Verify(t.Context(), redact.New(bad), redact.New("x"))
		if ok || !errors.Is(err, ErrHash) {
			t.Errorf("%q: %v, %v", bad, ok, err)
		}
	}
}

func TestNobodysPasswordCostsAsMuchAsSomebodys(t *testing.T) {
	t.Parallel()
	h := NewHasher(Params{Memory: 16, Passes: 2, Parallelism: 1}, 1)
	hash := hashed(t, h, "x")
	var costs []string
	h.derive = func(_, salt []byte, passes, memory uint32, threads uint8, size uint32) []byte {
		costs = append(costs, fmt.Sprint(len(salt), passes, memory, threads, size))
		return make([]byte, size)
	}
	if _, err := h.Verify(t.Context(), hash, redact.New("y")); err != nil {
		t.Fatal(err)
	}
	if err := h.VerifyNone(t.Context(), redact.New("y")); err != nil {
		t.Fatal(err)
	}
	if len(costs) != 2 || costs[0] != costs[1] {
		t.Errorf("costs: %v", costs)
	}
}

func TestHashesBeyondTheLimitWaitTheirTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHasher(cheap, 2)
		var running atomic.Int64
		next := make(chan struct{})
		h.derive = func(_, _ []byte, _, _ uint32, _ uint8, size uint32) []byte {
			running.Add(1)
			<-next
			return make([]byte, size)
		}
		done := make(chan error, 5)
		for range 5 {
			go func() {
				_, err := h.Hash(context.Background(), redact.New("x"))
				done <- err
			}()
		}
		for _, want := range []int64{2, 3, 4, 5, 5} {
			synctest.Wait()
			if got := running.Load(); got != want {
				t.Errorf("%d have begun, want %d", got, want)
			}
			next <- struct{}{}
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWhoWaitsForATurnGoesWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHasher(cheap, 1)
		next := make(chan struct{})
		h.derive = func(_, _ []byte, _, _ uint32, _ uint8, size uint32) []byte {
			<-next
			return make([]byte, size)
		}
		first := make(chan error)
		go func() { first <- h.VerifyNone(context.Background(), redact.New("x")) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		second := make(chan error)
		go func() { second <- h.VerifyNone(ctx, redact.New("x")) }()
		synctest.Wait()
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("who waited: %v", err)
		}
		next <- struct{}{}
		if err := <-first; err != nil {
			t.Errorf("who had the turn: %v", err)
		}
		if err := h.VerifyNone(ctx, redact.New("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("with a free turn: %v", err)
		}
	})
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePHC(text)
		if err != nil {
			if !errors.Is(err, ErrHash) {
				t.Errorf("err = %v", err)
			}
			return
		}
		if p.String() != text {
			t.Errorf("%q is written %q", text, p)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	h := NewHasher(DefaultParams, 1)
	for b.Loop() {
		if _, err := h.Hash(b.Context(), redact.New("correct horse")); err != nil {
			b.Fatal(err)
		}
	}
}

func hashed(t testing.TB, h *Hasher, password string) redact.Secret {
	t.Helper()
	hash, err := h.Hash(context.Background(), redact.New(password))
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
