package client

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
)

// CreateTeam makes a team.
func (c *Client) CreateTeam(ctx context.Context, in api.TeamInput) (api.Team, error) {
	return call[api.Team](ctx, c, http.MethodPost, "/teams/create", nil, in)
}

// Teams lists one's teams, newest first.
func (c *Client) Teams(ctx context.Context) ([]api.Team, error) {
	return call[[]api.Team](ctx, c, http.MethodGet, "/teams/my", nil, nil)
}

// JoinTeam joins a team by its invite code.
func (c *Client) JoinTeam(ctx context.Context, in api.JoinInput) (api.Joined, error) {
	return call[api.Joined](ctx, c, http.MethodPost, "/teams/join", nil, in)
}

// Team reads a team with its members.
func (c *Client) Team(ctx context.Context, id string) (api.TeamWithMembers, error) {
	return call[api.TeamWithMembers](ctx, c, http.MethodGet, join("teams", id), nil, nil)
}

// DissolveTeam stops all that a team runs and removes it with all its rows.
func (c *Client) DissolveTeam(ctx context.Context, id string) error {
	_, err := call[api.Message](ctx, c, http.MethodDelete, join("teams", id), nil, nil)
	return err
}

// RotateInviteCode gives a team a new invite code.
func (c *Client) RotateInviteCode(ctx context.Context, id string) (api.InviteCode, error) {
	return call[api.InviteCode](ctx, c, http.MethodPost, join("teams", id, "invite-code"), nil, nil)
}

// Members lists the members of a team.
func (c *Client) Members(ctx context.Context, id string) ([]api.Member, error) {
	return call[[]api.Member](ctx, c, http.MethodGet, join("teams", id, "members"), nil, nil)
}

// AddMember takes a user into a team.
func (c *Client) AddMember(ctx context.Context, id string, in api.MemberInput) (api.Member, error) {
	return call[api.Member](ctx, c, http.MethodPost, join("teams", id, "members"), nil, in)
}

// SetMemberRole changes a member's role.
func (c *Client) SetMemberRole(ctx context.Context, id, memberID string, in api.RoleInput) (api.Member, error) {
	return call[api.Member](ctx, c, http.MethodPatch, join("teams", id, "members", memberID), nil, in)
}

// RemoveMember takes a member out of a team, or leaves it.
func (c *Client) RemoveMember(ctx context.Context, id, memberID string) error {
	_, err := call[api.Message](ctx, c, http.MethodDelete, join("teams", id, "members", memberID), nil, nil)
	return err
}

// PersonalData gives all rows of one's own.
func (c *Client) PersonalData(ctx context.Context) (api.PersonalData, error) {
	return call[api.PersonalData](ctx, c, http.MethodGet, "/data/personal", nil, nil)
}

// PersonalServers gives all servers of one's own.
func (c *Client) PersonalServers(ctx context.Context) (api.PersonalServers, error) {
	return call[api.PersonalServers](ctx, c, http.MethodGet, "/servers/personal/data", nil, nil)
}

// TeamData gives a team and all rows of it.
func (c *Client) TeamData(ctx context.Context, id string) (api.TeamData, error) {
	return call[api.TeamData](ctx, c, http.MethodGet, join("data", "teams", id), nil, nil)
}
