// Package forward runs tunnels: it takes what is wanted (a Spec) to what runs,
// keeps it running, and says the truth about it (a Status). It knows no users,
// rows or HTTP.
//
// A line keeps one SSH connection for all tunnels that may share it, and paces
// its retries. A run is one spec being run: it follows its line, keeps a door
// (a listener and its accept loop) open, and joins what comes in to its target.
// A Tunnel is one forward over all its runs, and the Supervisor has them all.
//
// Invariants:
//
//  1. Active is only said while the door is open and the line is up.
//  2. A run's goroutine (drive) is the only one that opens and closes its door
//     and changes its state; the operations of a forward follow each other.
//  3. At most one run of a forward accepts connections.
//  4. After Stop nothing listens, no connection of the forward is open, and the
//     SSH connection is gone unless another tunnel uses it.
package forward

import (
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

// Type says where a tunnel listens and who chooses its target.
type Type string

// The types; OpenSSH's client has them as -L, -R and -D.
const (
	Local   Type = "local"
	Remote  Type = "remote"
	Dynamic Type = "dynamic"
)

// Spec is everything one tunnel needs to run, resolved: no row is looked up
// after it.
type Spec struct {
	ID            string // the forward's id
	Name          string // for messages to people
	Type          Type
	Listen        string // host:port where it listens; port 0 lets the system pick (not for Remote)
	Deliver       string // host:port where it delivers; empty for Dynamic
	LastPort      int    // with port 0 in Listen: the port of the last run, tried first
	SOCKSUsername string // Dynamic: both or neither
	SOCKSPassword redact.Secret
	Server        sshsite.Config
}

// runsLike reports whether two specs run the same: the same listener, target,
// credentials and connection. A name alone changes nothing.
func (s *Spec) runsLike(o *Spec) bool {
	return s.Type == o.Type && s.Listen == o.Listen && s.Deliver == o.Deliver &&
		s.SOCKSUsername == o.SOCKSUsername && s.SOCKSPassword == o.SOCKSPassword &&
		s.Server.Identity() == o.Server.Identity()
}

// listensHere reports whether the listener is on this machine.
func (s *Spec) listensHere() bool { return s.Type != Remote }

// State is what a tunnel is doing.
type State string

// The states. Only Active means that traffic can flow now.
const (
	Inactive     State = "inactive"
	Starting     State = "starting"
	Active       State = "active"
	Reconnecting State = "reconnecting"
	Failed       State = "failed"
)

// Failure is the last thing that went wrong with a tunnel.
type Failure struct {
	Code    api.Code
	Message string
	Hint    string
	At      time.Time
}

// Status is one consistent view of a tunnel.
type Status struct {
	State        State
	TunnelID     string    // one run of the listener; empty while there is none
	ConnectionID string    // the SSH connection under it; empty unless Active
	LastError    *Failure  // nil after a success
	Since        time.Time // when State was entered; zero if it never ran
	NextRetry    time.Time // zero unless a retry is planned
	Connections  int64     // open now
	BytesIn      int64     // from the listener's clients to the target, since TunnelID began
	BytesOut     int64     // back
	BoundPort    int       // 0 until it listens
	Undelivered  *Failure  // why the last connection found no way to the fixed target; nil when it did
}
