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
	Grant  Grant           // what of that he may do in this way
}

// Grant bounds what an actor may do by the way in which he came. The zero value
// bounds nothing: a session.
type Grant struct {
	Level Level
	Only  Scope // the only scope that it is good for; zero for all
}

// Level is how much an API token may do.
type Level string

// The levels, each with all that the ones before may. The empty one may all.
const (
	LevelRead    Level = "read"
	LevelOperate Level = "operate"
	LevelManage  Level = "manage"
)

// Action is what the actor wants to do in a scope.
type Action int

// The actions. List, Create and Sync name a scope and no row, so to a stranger
// they are forbidden; the others name something that he must not learn of.
const (
	List       Action = iota + 1 // list the rows, ?namespace= included
	Create                       // add a row
	Sync                         // create and update many
	Read                         // one row, and its status
	Operate                      // start and stop
	Edit                         // change or delete a row, accept or forget its host key
	ReadTeam                     // the team itself, its members and data
	Manage                       // invite, remove, roles, invite code, dissolve
	Leave                        // remove oneself
	Account                      // one's password and API tokens: never by an API token
	ReadAudit                    // what was done in a scope
	Oversee                      // all users, the settings
	Administer                   // change users and settings
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
	operator
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

	Account:    {self: Allowed, stranger: Forbidden},
	ReadAudit:  {self: Forbidden, owner: Allowed, developer: Forbidden, user: Forbidden, operator: Allowed, stranger: Forbidden},
	Oversee:    {operator: Allowed, stranger: Forbidden},
	Administer: {operator: Allowed, stranger: Forbidden},
}

// levels are those that an API token needs, at least. What is not in it no
// token may do.
var levels = map[Action][]Level{
	List:       {LevelRead, LevelOperate, LevelManage},
	Read:       {LevelRead, LevelOperate, LevelManage},
	ReadTeam:   {LevelRead, LevelOperate, LevelManage},
	ReadAudit:  {LevelRead, LevelOperate, LevelManage},
	Oversee:    {LevelRead, LevelOperate, LevelManage},
	Operate:    {LevelOperate, LevelManage},
	Create:     {LevelManage},
	Sync:       {LevelManage},
	Edit:       {LevelManage},
	Manage:     {LevelManage},
	Leave:      {LevelManage},
	Administer: {LevelManage},
}

// May says whether the actor may do this in the scope. An unknown action or
// role, and an actor or scope that is nobody, get no more than a stranger.
func May(a Actor, do Action, in Scope) Verdict {
	verdict := table[do][a.standing(in)]
	if verdict == Allowed && a.Grant.Level != "" && !slices.Contains(levels[do], a.Grant.Level) {
		return Forbidden
	}
	return verdict
}

func (a Actor) standing(in Scope) standing {
	if a.UserID == "" || in.IsZero() {
		return stranger
	}
	if !a.Grant.Only.IsZero() && in != a.Grant.Only {
		return stranger
	}
	if in == Installation() {
		if a.Admin {
			return operator
		}
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
	var reach [][]Scope
	if own := Personal(a.UserID); May(a, Read, own) == Allowed {
		reach = append(reach, []Scope{own})
	}
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
