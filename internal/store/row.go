package store

import (
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
)

// Now is the present as the database keeps it: UTC, to the millisecond.
func Now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// NewID makes the id of a row: a UUIDv7 (RFC 9562, section 5.7), so that ids
// sort by their age.
func NewID() string { return uuid.Must(uuid.NewV7()).String() } // never fails: rand.Read does not

// Row is what servers, keys and forwards have in common.
type Row struct {
	ID        string // a UUID, unique among all rows of the table
	LocalID   string // the client's own name for it, unique in its scope; may be empty
	UserID    string // the owner, or in a team the creator
	Namespace string // the team; empty in a personal row
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Scope is where the row belongs.
func (r *Row) Scope() access.Scope { return access.Of(r.UserID, r.Namespace) }

// columns are those of every noun. The scope is stored beside what it follows
// from, for the sake of one index and one uniqueness over both kinds.
func (r *Row) columns() []column {
	return []column{
		{name: "id", value: &r.ID, keep: true},
		{name: "local_id", value: orNull[string]{&r.LocalID}},
		{name: "user_id", value: &r.UserID, keep: true},
		{name: "namespace", value: orNull[string]{&r.Namespace}, keep: true},
		{name: "scope", value: derived(func() string { return r.Scope().String() }), keep: true},
		{name: "created_at", value: instant{&r.CreatedAt}, keep: true},
		{name: "updated_at", value: instant{&r.UpdatedAt}},
	}
}

// Server is an SSH server that forwards go through.
type Server struct {
	Row
	Name          string
	Host          string
	Port          int
	Username      string
	AuthType      string // password, key, keyContent, keySelect
	Password      []byte // sealed; nil when there is none
	KeyRef        string // the key as the client named it, an id or a localId
	KeyID         string // the key meant by KeyRef; empty once that key is deleted
	HostKeyPolicy string // accept-new, strict; empty for the operator's
	Description   string
}

// Key is an SSH private key, or a password kept as one.
type Key struct {
	Row
	Name        string
	Type        string // password, rsa, ed25519, ecdsa, keySelect
	PrivateKey  []byte // sealed; nil when there is none
	Passphrase  []byte // sealed; nil when there is none
	PublicKey   string // one line of authorized_keys
	Fingerprint string // SHA256:…
	Description string
}

// Forward is a stored rule: where to listen, where to deliver, through which
// server.
type Forward struct {
	Row
	Name        string
	Type        string // local, remote, dynamic
	LocalHost   string
	LocalPort   int // 0 when unset, as every port here
	RemoteHost  string
	RemotePort  int
	BindAddress string
	BindPort    int

	ServerRef string // the server as the client named it, an id or a localId
	ServerID  string // the server meant by ServerRef; empty once that server is deleted

	ServerAddress string // of a manual forward: host, host:port or [v6]:port
	Username      string
	AuthType      string // password, key, keyContent, keySelect; empty: what is given decides
	Password      []byte // sealed; nil when there is none
	KeyPath       string
	KeyContent    []byte // sealed; nil when there is none
	Passphrase    []byte // sealed; nil when there is none

	SOCKSUsername string
	SOCKSPassword []byte // sealed; nil when there is none
	HostKeyPolicy string // accept-new, strict; empty for the operator's

	// UpdateForward leaves these three alone, so that an edit cannot undo a
	// start or stop that came in between.
	Wanted     bool      // desired is active: it shall run, also after a restart
	LastUsedAt time.Time // its last successful start
	LastPort   int       // the port it last listened on
}

// HostKey is what is known of the SSH server at one address, in one scope.
type HostKey struct {
	Scope     access.Scope
	Address   string // host:port as dialled
	Pinned    []byte // the accepted public key in wire form (RFC 4253, section 6.6); nil when there is none
	PinnedAt  time.Time
	Announced string // a fingerprint accepted before any connection (SHA256:…), instead of Pinned
	Connected bool   // a connection was made at least once
	Offered   []byte // a key that was refused, in wire form, for a person to accept; nil when there is none
	OfferedAt time.Time
}

// User is an account.
type User struct {
	ID           string
	Email        string // as written; unique whatever its case
	Username     string
	PasswordHash redact.Secret // a PHC string
	Role         UserRole
	Disabled     bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// UserRole is what a user is to the installation.
type UserRole string

// The roles of users.
const (
	Admin  UserRole = "admin" // an operator
	Member UserRole = "user"
)

// Session is a token that has been issued; the token is valid only while its
// session exists.
type Session struct {
	ID        string // the token's jti
	UserID    string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// SigningKey is a key that tokens are signed with.
type SigningKey struct {
	ID        string // the tokens' kid
	Sealed    []byte
	CreatedAt time.Time
}

// RelayToken is a token of the relay. What it is, and the credentials that go
// with it, is in Sealed.
type RelayToken struct {
	ID          string // says nothing of the token
	Kind        string // forward, reverse, connector
	ReverseID   string // of a connector: the row that it goes with; empty when that is no row
	Sealed      []byte
	CreatedAt   time.Time
	OwnerSeenAt time.Time // of a connector that a provider added: when that one was last there
}

// Page is a part of a list. The zero value is the whole.
type Page struct {
	Offset int // rows left out before it
	Limit  int // rows at most; 0 for all
}
