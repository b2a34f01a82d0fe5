package linksocks

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Anonymous is the token of a client that was given none.
const Anonymous = "anonymous"

// TokenHashLen is the length of what HashToken gives.
const TokenHashLen = 2 * sha256.Size

// HashToken is the token as it stands in a URL: SHA-256 in lowercase hex. It
// opens what the token opens, and so is a secret too.
func HashToken(token redact.Secret) redact.Secret {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return redact.New(hex.EncodeToString(sum[:]))
}

// The texts by which peers say, in a Log of level HelloLevel right after
// authentication, that they know direct mode.
const (
	ClientHello = "linksocks_client_hello:direct_signaling=1"
	ServerHello = "linksocks_server_hello:direct_signaling=1"
	HelloLevel  = "debug"
)
