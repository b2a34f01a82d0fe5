package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
)

// Team is a group of users with rows of its own.
type Team struct {
	ID         string
	Name       string // unique
	OwnerID    string
	InviteCode string // who has it may join
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Membership is a user's place in a team.
type Membership struct {
	ID        string
	TeamID    string
	UserID    string
	Role      access.Role
	CreatedAt time.Time

	Username string // the user's, as is Email; not stored here
	Email    string
}

var teams = newTable("teams", "team", "id", "name", func(t *Team) []column {
	return []column{
		{name: "id", value: &t.ID, keep: true},
		{name: "name", value: &t.Name},
		{name: "owner_id", value: &t.OwnerID},
		{name: "created_at", value: instant{&t.CreatedAt}, keep: true},
		{name: "updated_at", value: instant{&t.UpdatedAt}},
	}
})

var members = newTable("team_members", "member", "id", "team_id", func(m *Membership) []column {
	return []column{
		{name: "id", value: &m.ID, keep: true},
		{name: "team_id", value: &m.TeamID, keep: true},
		{name: "user_id", value: &m.UserID, keep: true},
		{name: "role", value: &m.Role},
		{name: "created_at", value: instant{&m.CreatedAt}, keep: true},
	}
})

// selectTeams reads a team with its code; a condition follows.
const selectTeams = `SELECT t.id, t.name, t.owner_id, COALESCE(c.code, ''), t.created_at, t.updated_at
	FROM teams t LEFT JOIN invite_codes c ON c.team_id = t.id `

func (r *Reader) teams(ctx context.Context, rest string, args ...any) ([]Team, error) {
	var list []Team
	err := r.query(ctx, "read teams", selectTeams+rest, args, func(rows *sql.Rows) error {
		var t Team
		if err := rows.Scan(&t.ID, &t.Name, &t.OwnerID, &t.InviteCode, instant{&t.CreatedAt}, instant{&t.UpdatedAt}); err != nil {
			return err
		}
		list = append(list, t)
		return nil
	})
	return list, err
}

func (r *Reader) team(ctx context.Context, rest string, args ...any) (Team, error) {
	list, err := r.teams(ctx, rest, args...)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("team: %w", ErrNotFound)
	}
	return first(list), err
}

// Team gives a team by its id.
func (r *Reader) Team(ctx context.Context, id string) (Team, error) {
	return r.team(ctx, "WHERE t.id = ?", id)
}

// TeamByName gives the team of this name.
func (r *Reader) TeamByName(ctx context.Context, name string) (Team, error) {
	return r.team(ctx, "WHERE t.name = ?", name)
}

// TeamByInviteCode gives the team that this code invites to.
func (r *Reader) TeamByInviteCode(ctx context.Context, code string) (Team, error) {
	return r.team(ctx, "WHERE c.code = ?", code)
}

// TeamsOf lists the teams that a user is in, newest first.
func (r *Reader) TeamsOf(ctx context.Context, userID string) ([]Team, error) {
	return r.teams(ctx, "WHERE t.id IN (SELECT team_id FROM team_members WHERE user_id = ?) ORDER BY t.created_at DESC, t.id DESC", userID)
}

// CreateTeam adds a team with its code. A taken name is a ConflictError of TeamName.
// Its owner is a member, too: see AddMember.
func (tx *Tx) CreateTeam(ctx context.Context, t Team) error {
	if err := teams.insert(ctx, &tx.runner, &t); err != nil {
		return err
	}
	return tx.SetInviteCode(ctx, t.ID, t.InviteCode, t.CreatedAt)
}

// SetInviteCode gives a team a new code in place of the old one. A code that
// another team has is an ErrConflict.
func (tx *Tx) SetInviteCode(ctx context.Context, teamID, code string, at time.Time) error {
	_, err := tx.exec(ctx, "write invite code",
		"INSERT INTO invite_codes (code, team_id, created_at) VALUES (?, ?, ?) ON CONFLICT (team_id) DO UPDATE SET code = excluded.code, created_at = excluded.created_at",
		code, teamID, instant{&at})
	return err
}

// DissolveTeam removes a team with all that it has: forwards, servers, keys and
// their sealed values, host keys, members, code.
func (tx *Tx) DissolveTeam(ctx context.Context, id string) error {
	scope := access.Team(id).String()
	for _, table := range []string{"forwards", "servers", "ssh_keys", "host_keys"} {
		if _, err := tx.exec(ctx, "delete the team's "+table, "DELETE FROM "+table+" WHERE scope = ?", scope); err != nil {
			return err
		}
	}
	return teams.delete(ctx, &tx.runner, id)
}

// selectMembers reads members with what they are called; a condition follows.
const selectMembers = `SELECT m.id, m.team_id, m.user_id, m.role, m.created_at, u.username, u.email
	FROM team_members m JOIN users u ON u.id = m.user_id WHERE `

func (r *Reader) members(ctx context.Context, condition string, args ...any) ([]Membership, error) {
	var list []Membership
	err := r.query(ctx, "read members", selectMembers+condition+" ORDER BY m.created_at DESC, m.id DESC", args, func(rows *sql.Rows) error {
		var m Membership
		if err := rows.Scan(&m.ID, &m.TeamID, &m.UserID, &m.Role, instant{&m.CreatedAt}, &m.Username, &m.Email); err != nil {
			return err
		}
		list = append(list, m)
		return nil
	})
	return list, err
}

// Members lists the members of a team, the newest first.
func (r *Reader) Members(ctx context.Context, teamID string) ([]Membership, error) {
	return r.members(ctx, "m.team_id = ?", teamID)
}

// Member gives a member of a team by the id of his membership.
func (r *Reader) Member(ctx context.Context, teamID, id string) (Membership, error) {
	list, err := r.members(ctx, "m.team_id = ? AND m.id = ?", teamID, id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("member: %w", ErrNotFound)
	}
	return first(list), err
}

// AddMember makes a user a member. One who is in already is a ConflictError of
// TeamMember.
func (tx *Tx) AddMember(ctx context.Context, m Membership) error {
	return members.insert(ctx, &tx.runner, &m)
}

// SetMemberRole changes what a member is.
func (tx *Tx) SetMemberRole(ctx context.Context, id string, role access.Role) error {
	return members.set(ctx, &tx.runner, id, "role = ?", role)
}

// RemoveMember takes a user out of a team. What the team goes through of his own
// stays named and is no longer meant: forwards lose such a server, servers such
// a key.
func (tx *Tx) RemoveMember(ctx context.Context, m Membership) error {
	team, own := access.Team(m.TeamID).String(), access.Personal(m.UserID).String()
	_, err := tx.exec(ctx, "part forwards from a member's servers",
		"UPDATE forwards SET server_id = NULL WHERE scope = ? AND server_id IN (SELECT id FROM servers WHERE scope = ?)", team, own)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, "part servers from a member's keys",
		"UPDATE servers SET key_id = NULL WHERE scope = ? AND key_id IN (SELECT id FROM ssh_keys WHERE scope = ?)", team, own)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, "delete the member's API tokens",
		"DELETE FROM api_tokens WHERE user_id = ? AND namespace = ?", m.UserID, m.TeamID)
	if err != nil {
		return err
	}
	return members.delete(ctx, &tx.runner, m.ID)
}

// ForwardsUsingMember lists the forwards of a team that go through a server, or
// by a key, of one member's own.
func (r *Reader) ForwardsUsingMember(ctx context.Context, teamID, userID string) ([]Forward, error) {
	own := access.Personal(userID).String()
	return forwards.where(ctx, &r.runner,
		"scope = ? AND server_id IN (SELECT id FROM servers WHERE scope = ? OR key_id IN (SELECT id FROM ssh_keys WHERE scope = ?))",
		access.Team(teamID).String(), own, own)
}
