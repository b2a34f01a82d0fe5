// Package access says who may do what: pure functions over one table. It reads
// nothing and writes nothing; whoever asks brings the actor with his
// memberships, and turns the verdict into an answer.
package access

import (
	"maps"
	"slices"
)

// Role is what a member is in a team.
type Role string

// The roles of a team. A team has one owner.
const (
	Owner     Role = "owner"
	Developer Role = "developer"
	User      Role = "user"
)

// Actor is the person who asks. The zero value is nobody and may do nothing.
type Actor struct {
	UserID string
	Admin  bool            // an operator of this installation; opens no one else's rows
	Teams  map[string]Role // by team id; nil when in none
}

// Action is what the actor wants to do in a scope.
type Action int

// The actions. List, Create and Sync name a scope and no row, so to a stranger
// they are forbidden; the others name something that he must not learn of.
const (
	List     Action = iota + 1 // list the rows, ?namespace= included
	Create                     // add a row
	Sync                       // create and update many
	Read                       // one row, and its status
	Operate                    // start and stop
	Edit                       // change or delete a row, accept or forget its host key
	ReadTeam                   // the team itself, its members and data
	Manage                     // invite, remove, roles, invite code, dissolve
	Leave                      // remove oneself
)

// Verdict is the answer to May.
type Verdict int

// The verdicts. The zero value is Hidden, so that a forgotten case shows nothing.
const (
	Hidden    Verdict = iota // answer as if it did not exist: 404
	Forbidden                // it may be known of, but not done: 403
	Allowed
)

// standing is what an actor is to a scope.
type standing int

const (
	stranger standing = iota
	self              // the scope is the actor's own
	owner
	developer
	user
)

// table holds every rule. What is not in it is Hidden.
var table = map[Action]map[standing]Verdict{
	List:     {self: Allowed, owner: Allowed, developer: Allowed, user: Allowed, stranger: Forbidden},
	Create:   {self: Allowed, owner: Allowed, developer: Allowed, user: Forbidden, stranger: Forbidden},
	Sync:     {self: Allowed, owner: Allowed, developer: Allowed, user: Forbidden, stranger: Forbidden},
	Read:     {self: Allowed, owner: Allowed, developer: Allowed, user: Allowed, stranger: Hidden},
	Operate:  {self: Allowed, owner: Allowed, developer: Allowed, user: Allowed, stranger: Hidden},
	Edit:     {self: Allowed, owner: Allowed, developer: Allowed, user: Forbidden, stranger: Hidden},
	ReadTeam: {owner: Allowed, developer: Allowed, user: Allowed, stranger: Hidden},
	Manage:   {owner: Allowed, developer: Forbidden, user: Forbidden, stranger: Hidden},
	Leave:    {owner: Forbidden, developer: Allowed, user: Allowed, stranger: Hidden},
}

// May says whether the actor may do this in the scope. An unknown action or
// role, and an actor or scope that is nobody, get no more than a stranger.
func May(a Actor, do Action, in Scope) Verdict {
	return table[do][a.standing(in)]
}

func (a Actor) standing(in Scope) standing {
	if a.UserID == "" || in.IsZero() {
		return stranger
	}
	if in == Personal(a.UserID) {
		return self
	}
	team := in.TeamID()
	if team == "" { // another person's; an entry without a team id must not open it
		return stranger
	}
	switch a.Teams[team] {
	case Owner:
		return owner
	case Developer:
		return developer
	case User:
		return user
	}
	return stranger
}

// Reach lists the scopes that the actor can see rows of, in the order in which
// a path's id is looked up as a localId: his own, then his teams together.
func (a Actor) Reach() [][]Scope {
	if a.UserID == "" {
		return nil
	}
	reach := [][]Scope{{Personal(a.UserID)}}
	var teams []Scope
	for _, id := range slices.Sorted(maps.Keys(a.Teams)) {
		if t := Team(id); May(a, Read, t) == Allowed {
			teams = append(teams, t)
		}
	}
	if teams != nil {
		reach = append(reach, teams)
	}
	return reach
}
