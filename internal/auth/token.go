package auth

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/redact"
)

// TokenLifetime is how long a token is valid.
const TokenLifetime = 7 * 24 * time.Hour

const (
	minKey   = 32   // bytes; RFC 7518, section 3.2: no shorter than the hash
	maxToken = 8192 // bytes; ours have a few hundred, more than this is not parsed
)

// ErrToken is a token that proves nothing: malformed, expired, signed with
// another algorithm or an unknown key.
var ErrToken = errors.New("invalid token")

// SigningKey signs and verifies tokens. It prints as its id.
type SigningKey struct {
	ID     string // the tokens' "kid" header
	Secret []byte `json:"-"` // 32 bytes or more
}

// NewSigningKey makes a fresh random key.
func NewSigningKey() SigningKey {
	var id [8]byte
	secret := make([]byte, minKey)
	// crypto/rand never fails: it ends the program instead.
	_, _ = rand.Read(id[:])
	_, _ = rand.Read(secret)
	return SigningKey{ID: hex.EncodeToString(id[:]), Secret: secret}
}

// Format prints the id, whatever the verb.
func (k SigningKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("signing key " + k.ID)) }

// LogValue implements slog.LogValuer.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.ID) }

// Claims are what a token says (RFC 7519, section 4.1).
type Claims struct {
	UserID    string    // sub
	Email     string    // email
	SessionID string    // jti, unique for each token
	IssuedAt  time.Time // iat, whole seconds
	ExpiresAt time.Time // exp, whole seconds
}

// claims is their form in a token.
type claims struct {
	Email string `json:"email"`
	jwt.RegisteredClaims
}

// Tokens issues and verifies JSON Web Tokens (RFC 7519) signed with HMAC
// SHA-256. It is immutable and safe for concurrent use.
type Tokens struct {
	signs  SigningKey
	keys   map[string][]byte // by id
	parser *jwt.Parser
}

// NewTokens takes the key that signs and older ones that still verify, so that
// a new key logs nobody out. A key shorter than 32 bytes, one without an id, or
// an id given twice is an error.
func NewTokens(signs SigningKey, verify ...SigningKey) (*Tokens, error) {
	t := &Tokens{
		signs: signs,
		keys:  make(map[string][]byte),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithExpirationRequired(),
			jwt.WithStrictDecoding(),
		),
	}
	for _, k := range append([]SigningKey{signs}, verify...) {
		if k.ID == "" || len(k.Secret) < minKey {
			return nil, fmt.Errorf("%v: want an id and at least %d bytes", k, minKey)
		}
		if _, twice := t.keys[k.ID]; twice {
			return nil, fmt.Errorf("%v: given twice", k)
		}
		t.keys[k.ID] = k.Secret
	}
	return t, nil
}

// Issue makes a token for a user, valid from now for TokenLifetime.
func (t *Tokens) Issue(userID, email string) (redact.Secret, Claims, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return redact.Secret{}, Claims{}, fmt.Errorf("issue token: %w", err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	c := Claims{UserID: userID, Email: email, SessionID: id.String(), IssuedAt: now, ExpiresAt: now.Add(TokenLifetime)}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		Email: c.Email,
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: c.UserID, ID: c.SessionID, IssuedAt: jwt.NewNumericDate(c.IssuedAt), ExpiresAt: jwt.NewNumericDate(c.ExpiresAt),
		},
	})
	token.Header["kid"] = t.signs.ID
	signed, err := token.SignedString(t.signs.Secret)
	if err != nil {
		return redact.Secret{}, Claims{}, fmt.Errorf("issue token: %w", err)
	}
	return redact.New(signed), c, nil
}

// Verify gives the claims of a token that this installation issued and that has
// not expired. It does not know of logouts: ask the store for the session too.
// Its error is ErrToken.
func (t *Tokens) Verify(token redact.Secret) (Claims, error) {
	text := token.Reveal()
	if len(text) > maxToken {
		return Claims{}, fmt.Errorf("%w: longer than %d bytes", ErrToken, maxToken)
	}
	var c claims
	if _, err := t.parser.ParseWithClaims(text, &c, t.key); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if c.Subject == "" || c.ID == "" || c.IssuedAt == nil {
		return Claims{}, fmt.Errorf("%w: a claim is missing", ErrToken)
	}
	return Claims{
		UserID: c.Subject, Email: c.Email, SessionID: c.ID,
		IssuedAt: c.IssuedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(),
	}, nil
}

// key finds the key that a token says it was signed with.
func (t *Tokens) key(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	key, known := t.keys[id]
	if !known {
		return nil, errors.New("signed with an unknown key")
	}
	return key, nil
}
