package relay

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Kind is what a token is for.
type Kind string

// The kinds.
const (
	Forward   Kind = "forward"   // its client uses the relay's own network
	Reverse   Kind = "reverse"   // its providers lend theirs
	Connector Kind = "connector" // its client uses that of a reverse token's providers
)

// TokenSpec is what is asked for when a token is added.
type TokenSpec struct {
	Kind  Kind
	Token redact.Secret // 1 to 255 bytes; zero lets the relay choose 16 hex digits

	// Of a reverse token. Port 0 takes a free one of the pool, or none if
	// ManageConnectors is set. Username and Password are what SOCKS clients
	// must give; if either is set, both are checked.
	Port             int
	Username         string
	Password         redact.Secret
	ManageConnectors bool // its providers may add connector tokens of their own

	// ReverseToken is, of a connector token, whose providers it reaches.
	ReverseToken redact.Secret

	// Allow and Deny are policy rules that hold beside the relay's own.
	Allow, Deny []string
}

// Added is what became of a TokenSpec.
type Added struct {
	Token redact.Secret
	Port  int // of a reverse token: its SOCKS port, -1 for none
}

// TokenStatus is a token as it is now.
type TokenStatus struct {
	Token      redact.Secret
	Kind       Kind            // Forward or Reverse: connectors stand with their reverse token
	Clients    int             // links that are alive
	Port       int             // of a reverse token: its SOCKS port, -1 for none
	Connectors []redact.Secret // of a reverse token, those that its providers added too
}

// TokenProblem says what kind of thing is wrong with a wish about tokens.
type TokenProblem int

// The problems.
const (
	Invalid TokenProblem = iota
	NotFound
	Conflict
)

// TokenError is a wish about tokens that is refused. Text is for the one who
// asked, in the words of the HTTP API.
type TokenError struct {
	Problem TokenProblem
	Text    string
}

func (e *TokenError) Error() string { return e.Text }

// Record is a token as it is kept.
type Record struct {
	ID        string // of the row, no secret
	Kind      Kind
	Token     redact.Secret
	Port      int // -1: none
	Username  string
	Password  redact.Secret
	Manage    bool
	ReverseID string    // of a connector: the ID of its reverse token
	Instance  uuid.UUID // of a connector that a provider added: which; else zero
	Allow     []string
	Deny      []string
	CreatedAt time.Time
	// OwnerSeenAt is when the last link of the provider that added a connector
	// was last known to be there; zero for all other tokens.
	OwnerSeenAt time.Time
}

// Keeper keeps tokens where they survive the process. Its methods are called
// one at a time.
type Keeper interface {
	// Put stores a record in place of the one with the same ID, if there is one.
	Put(ctx context.Context, r Record) error
	// Delete forgets records. One that is not there is no error.
	Delete(ctx context.Context, ids ...string) error
}
