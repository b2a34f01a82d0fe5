package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/adit-tunnel/adit/internal/redact"
)

func TestATokenCarriesTheContractsClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens := newTokens(t, NewSigningKey())
		time.Sleep(123 * time.Millisecond) // the bubble's clock: off the whole second
		token, issued, err := tokens.Issue("user-1", "a@b.c")
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token.Reveal(), ".")
		if len(parts) != 3 {
			t.Fatalf("%d parts", len(parts))
		}
		var header, body map[string]any
		for i, into := range []*map[string]any{&header, &body} {
			text, err := base64.RawURLEncoding.DecodeString(parts[i])
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, into); err != nil {
				t.Fatal(err)
			}
		}
		if want := fmt.Sprint(map[string]any{"alg": "HS256", "typ": "JWT", "kid": tokens.signs.ID}); fmt.Sprint(header) != want {
			t.Errorf("header %v, want %v", header, want)
		}
		now := time.Now().Unix()
		want := map[string]any{
			"sub": "user-1", "email": "a@b.c", "jti": issued.SessionID, "iat": float64(now), "exp": float64(now + 7*24*3600),
		}
		if fmt.Sprint(body) != fmt.Sprint(want) {
			t.Errorf("claims %v, want %v", body, want)
		}
		got, err := tokens.Verify(token)
		if err != nil || got != issued {
			t.Errorf("%+v, %v; want %+v", got, err, issued)
		}
		again, second, err := tokens.Issue("user-1", "a@b.c")
		if err != nil || second.SessionID == issued.SessionID || again == token {
			t.Errorf("two tokens are one: %v, %v", second, err)
		}
	})
}

func TestATokenExpiresAfterSevenDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens := newTokens(t, NewSigningKey())
		token, issued, err := tokens.Issue("u", "e")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(issued.ExpiresAt) - time.Second)
		if _, err := tokens.Verify(token); err != nil {
			t.Errorf("a second before: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := tokens.Verify(token); !errors.Is(err, ErrToken) {
			t.Errorf("on time: %v", err)
		}
	})
}

func TestANewSigningKeyLogsNobodyOut(t *testing.T) {
	t.Parallel()
	older, newer := NewSigningKey(), NewSigningKey()
	token, _, err := newTokens(t, older).Issue("u", "e")
	if err != nil {
		t.Fatal(err)
	}
	rotated := newTokens(t, newer, older)
	if _, err := rotated.Verify(token); err != nil {
		t.Errorf("with the old key still known: %v", err)
	}
	fresh, _, err := rotated.Issue("u", "e")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newTokens(t, newer).Verify(fresh); err != nil {
		t.Errorf("the new key does not sign: %v", err)
	}
	if _, err := newTokens(t, newer).Verify(token); !errors.Is(err, ErrToken) {
		t.Errorf("with the old key gone: %v", err)
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	key := NewSigningKey()
	tokens := newTokens(t, key)
	good, _, err := tokens.Issue("u", "e")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good.Reveal(), ".")
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	whole := jwt.MapClaims{"sub": "u", "email": "e", "jti": "j", "iat": in(0), "exp": in(time.Hour)}
	without := func(name string) jwt.MapClaims {
		c := jwt.MapClaims{}
		for k, v := range whole {
			if k != name {
				c[k] = v
			}
		}
		return c
	}
	sign := func(method jwt.SigningMethod, kid any, secret any, c jwt.MapClaims) string {
		token := jwt.NewWithClaims(method, c)
		if kid != nil {
			token.Header["kid"] = kid
		}
		text, err := token.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	hs := jwt.SigningMethodHS256
	if _, err := tokens.Verify(redact.New(sign(hs, key.ID, key.Secret, whole))); err != nil {
		t.Fatalf("the forger's tool makes no good ones either: %v", err)
	}
	forged := map[string]string{
		"empty":                "",
		"no token":             "not.a.token",
		"two parts":            parts[0] + "." + parts[1],
		"four parts":           good.Reveal() + ".",
		"no signature":         parts[0] + "." + parts[1] + ".",
		"too long":             good.Reveal() + strings.Repeat("A", maxToken),
		"algorithm none":       sign(jwt.SigningMethodNone, key.ID, jwt.UnsafeAllowNoneSignatureType, whole),
		"another algorithm":    sign(jwt.SigningMethodHS512, key.ID, key.Secret, whole),
		"another secret":       sign(hs, key.ID, NewSigningKey().Secret, whole),
		"an unknown key":       sign(hs, "other", key.Secret, whole),
		"no key":               sign(hs, nil, key.Secret, whole),
		"an empty key id":      sign(hs, "", key.Secret, whole),
		"a key id of no text":  sign(hs, 7, key.Secret, whole),
		"no expiry":            sign(hs, key.ID, key.Secret, without("exp")),
		"expired":              sign(hs, key.ID, key.Secret, jwt.MapClaims{"sub": "u", "jti": "j", "iat": in(-2 * time.Hour), "exp": in(-time.Hour)}),
		"not yet":              sign(hs, key.ID, key.Secret, jwt.MapClaims{"sub": "u", "jti": "j", "iat": in(0), "exp": in(time.Hour), "nbf": in(time.Minute)}),
		"no user":              sign(hs, key.ID, key.Secret, without("sub")),
		"no session":           sign(hs, key.ID, key.Secret, without("jti")),
		"no issue time":        sign(hs, key.ID, key.Secret, without("iat")),
		"claims of other kind": sign(hs, key.ID, key.Secret, jwt.MapClaims{"sub": 1, "jti": "j", "iat": in(0), "exp": in(time.Hour)}),
	}
	for name, text := range forged {
		if c, err := tokens.Verify(redact.New(text)); !errors.Is(err, ErrToken) || c != (Claims{}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for i, c := range []byte(good.Reveal()) {
		changed := []byte(good.Reveal())
		for changed[i] = 'A'; changed[i] == c; changed[i]++ {
		}
		if _, err := tokens.Verify(redact.New(string(changed))); !errors.Is(err, ErrToken) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

func TestUnfitSigningKeysAreRefused(t *testing.T) {
	t.Parallel()
	good := NewSigningKey()
	short := SigningKey{ID: "short", Secret: bytes.Repeat([]byte("s"), minKey-1)}
	for name, keys := range map[string][]SigningKey{
		"short": {short}, "short to verify": {good, short}, "no id": {{Secret: good.Secret}}, "zero": {{}}, "twice": {good, good},
	} {
		if _, err := NewTokens(keys[0], keys[1:]...); err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "sss") || strings.Contains(err.Error(), "115 115") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestASigningKeyPrintsItsIDAlone(t *testing.T) {
	t.Parallel()
	key := NewSigningKey()
	if text := fmt.Sprintf("%v", key); text != "signing key "+key.ID {
		t.Errorf("prints %s", text)
	}
	for _, verb := range []string{"%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, []any{key, &key}); strings.Contains(text, fmt.Sprintf("%x", key.Secret[:4])) ||
			strings.Contains(text, fmt.Sprint(key.Secret[0], " ", key.Secret[1])) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	if text, err := json.Marshal(key); err != nil || strings.Contains(string(text), "Secret") {
		t.Errorf("marshals as %s, %v", text, err)
	}
	if key.LogValue().String() != key.ID {
		t.Errorf("logs %v", key.LogValue())
	}
}

func FuzzVerifyToken(f *testing.F) {
	tokens, err := NewTokens(SigningKey{ID: "k", Secret: bytes.Repeat([]byte("k"), minKey)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJ1IiwianRpIjoiaiIsImlhdCI6MSwiZXhwIjo5OTk5OTk5OTk5fQ.AAAA")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := tokens.Verify(redact.New(text)); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	})
}

func newTokens(t testing.TB, signs SigningKey, verify ...SigningKey) *Tokens {
	t.Helper()
	tokens, err := NewTokens(signs, verify...)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}
