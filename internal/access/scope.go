package access

import (
	"errors"
	"fmt"
)

// A Scope owns rows: one person, one team, or the installation as a whole.
// Scopes are comparable; the zero value is nobody's and nobody may do anything
// in it.
type Scope struct {
	kind byte // scopeUser, scopeTeam or scopeInstallation; 0 in the zero value
	id   string
}

const (
	scopeUser         = 'u'
	scopeTeam         = 't'
	scopeInstallation = 's'
)

// ErrScope is a text that is no scope.
var ErrScope = errors.New("not a scope")

// Personal is the scope of one person's own rows.
func Personal(userID string) Scope { return newScope(scopeUser, userID) }

// Team is the scope of one team's rows.
func Team(teamID string) Scope { return newScope(scopeTeam, teamID) }

// Installation is the scope of what belongs to no person and no team: users,
// settings.
func Installation() Scope { return Scope{scopeInstallation, "adit"} }

// Of is the scope of a row: its team's, or its creator's when it has no team.
func Of(userID, teamID string) Scope {
	if teamID != "" {
		return Team(teamID)
	}
	return Personal(userID)
}

func newScope(kind byte, id string) Scope {
	if id == "" {
		return Scope{}
	}
	return Scope{kind, id}
}

// ParseScope reads what String wrote. Its error is ErrScope.
func ParseScope(text string) (Scope, error) {
	if text == Installation().String() {
		return Installation(), nil
	}
	if len(text) < 3 || text[1] != ':' || text[0] != scopeUser && text[0] != scopeTeam {
		return Scope{}, fmt.Errorf("%w: %q", ErrScope, text)
	}
	return newScope(text[0], text[2:]), nil
}

// String is the form that is stored: "u:", "t:" or "s:" and the id, empty for the
// zero value. Rows are found by it, so it never changes.
func (s Scope) String() string {
	if s.IsZero() {
		return ""
	}
	return string(s.kind) + ":" + s.id
}

// IsZero reports whether this is the scope of nobody.
func (s Scope) IsZero() bool { return s == Scope{} }

// UserID is the person whose scope this is, empty for a team's.
func (s Scope) UserID() string {
	if s.kind != scopeUser {
		return ""
	}
	return s.id
}

// TeamID is the team whose scope this is, empty for a person's.
func (s Scope) TeamID() string {
	if s.kind != scopeTeam {
		return ""
	}
	return s.id
}
