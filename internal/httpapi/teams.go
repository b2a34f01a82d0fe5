package httpapi

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
)

// ofTeam is the input of what concerns one team.
type ofTeam struct {
	ID string `path:"id" doc:"the team's id"`
}

// ofMember is the input of what concerns one member of a team.
type ofMember struct {
	ID       string `path:"id" doc:"the team's id"`
	MemberID string `path:"memberId" doc:"the membership's id"`
}

// memberList is the input of what lists the members of a team.
type memberList struct {
	ID string `path:"id" doc:"the team's id"`
	InPage
}

// registerTeams registers the routes of teams; several have two spellings.
func (h *routes) registerTeams() {
	tag := tagged("teams")
	handleBody(h, operation(http.MethodPost, "/teams/create", "create-team", "Make a team", creates, tag), h.createTeam)
	handle(h, operation(http.MethodGet, "/teams/my", "list-teams", "List one's teams, newest first", tag), h.listTeams)
	handleBody(h, operation(http.MethodPost, "/teams/join", "join-team", "Join a team by its invite code", creates, tag, refuses(http.StatusTooManyRequests)), h.joinTeam)
	handle(h, operation(http.MethodGet, "/teams/{id}", "get-team", "Read a team with its members", tag), h.getTeam)
	handle(h, operation(http.MethodDelete, "/teams/{id}", "dissolve-team", "Dissolve a team: stop what it runs, remove all that it has", tag), h.dissolveTeam)
	handle(h, operation(http.MethodDelete, "/teams/{id}/dissolve", "dissolve-team-2", "The same as DELETE /teams/{id}", tag), h.dissolveTeam)
	handle(h, operation(http.MethodPost, "/teams/{id}/invite-code", "rotate-invite-code", "Give a team a new invite code", creates, tag), h.rotateInviteCode)
	handle(h, operation(http.MethodGet, "/teams/{id}/members", "list-members", "List the members of a team, newest first", tag), h.listMembers)
	handleBody(h, operation(http.MethodPost, "/teams/{id}/members", "add-member", "Take a user into a team, by his id or e-mail", creates, tag), h.addMember)
	handleBody(h, operation(http.MethodPost, "/teams/{id}/invite", "add-member-2", "The same as POST /teams/{id}/members", creates, tag), h.addMember)
	handleBody(h, operation(http.MethodPatch, "/teams/{id}/members/{memberId}", "set-member-role", "Change a member's role", tag), h.setMemberRole)
	handleBody(h, operation(http.MethodPatch, "/teams/{id}/members/{memberId}/role", "set-member-role-2", "The same as PATCH /teams/{id}/members/{memberId}", tag), h.setMemberRole)
	handle(h, operation(http.MethodDelete, "/teams/{id}/members/{memberId}", "remove-member", "Take a member out of a team, or leave it", tag), h.removeMember)
}

func (h *routes) createTeam(ctx context.Context, _ *none, body *api.TeamInput) (*answer[api.Team], error) {
	return encode(h.app.CreateTeam(ctx, callerFrom(ctx), *body))
}

func (h *routes) listTeams(ctx context.Context, in *InPage) (*listAnswer[api.Team], error) {
	return listShort(in, func() ([]api.Team, error) { return h.app.Teams(ctx, callerFrom(ctx).Actor) })
}

// listShort answers a page of a list that is short enough to be read whole.
func listShort[T any](in *InPage, read func() ([]T, error)) (*listAnswer[T], error) {
	p, err := in.page()
	if err != nil {
		return nil, err
	}
	rows, err := read()
	n := len(rows)
	if p != (page{}) {
		rows = rows[min(p.Offset, n):min(p.Offset+p.Limit, n)]
	}
	return list(p, rows, n, err)
}

func (h *routes) joinTeam(ctx context.Context, _ *none, body *api.JoinInput) (*answer[api.Joined], error) {
	return encode(h.app.JoinTeam(ctx, callerFrom(ctx), requestFrom(ctx).address, *body))
}

func (h *routes) getTeam(ctx context.Context, in *ofTeam) (*answer[api.TeamWithMembers], error) {
	return encode(h.app.Team(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) dissolveTeam(ctx context.Context, in *ofTeam) (*said, error) {
	return say("Team dissolved successfully"), h.app.DissolveTeam(ctx, callerFrom(ctx).Actor, in.ID)
}

func (h *routes) rotateInviteCode(ctx context.Context, in *ofTeam) (*answer[api.InviteCode], error) {
	return encode(h.app.RotateInviteCode(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) listMembers(ctx context.Context, in *memberList) (*listAnswer[api.Member], error) {
	return listShort(&in.InPage, func() ([]api.Member, error) { return h.app.Members(ctx, callerFrom(ctx).Actor, in.ID) })
}

func (h *routes) addMember(ctx context.Context, in *ofTeam, body *api.MemberInput) (*answer[api.Member], error) {
	return encode(h.app.AddMember(ctx, callerFrom(ctx).Actor, in.ID, *body))
}

func (h *routes) setMemberRole(ctx context.Context, in *ofMember, body *api.RoleInput) (*answer[api.Member], error) {
	return encode(h.app.SetMemberRole(ctx, callerFrom(ctx).Actor, in.ID, in.MemberID, *body))
}

func (h *routes) removeMember(ctx context.Context, in *ofMember) (*said, error) {
	return say("Member removed successfully"), h.app.RemoveMember(ctx, callerFrom(ctx).Actor, in.ID, in.MemberID)
}
