package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/store"
)

func newMembership(teamID, userID string, role access.Role) store.Membership {
	return store.Membership{ID: store.NewID(), TeamID: teamID, UserID: userID, Role: role, CreatedAt: store.Now()}
}

// Members lists the members of a team, the newest first.
func (a *App) Members(ctx context.Context, who access.Actor, teamID string) (shown []api.Member, err error) {
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		t, err := loadTeam(ctx, r, who, teamID, access.ReadTeam)
		if err != nil {
			return err
		}
		shown, err = listMembers(ctx, r, t.ID)
		return err
	})
	return shown, err
}

func listMembers(ctx context.Context, r *store.Reader, teamID string) ([]api.Member, error) {
	list, err := r.Members(ctx, teamID)
	shown := make([]api.Member, len(list))
	for i, m := range list {
		shown[i] = toMember(m)
	}
	return shown, err
}

// AddMember takes a user into a team, by his id or e-mail.
func (a *App) AddMember(ctx context.Context, who access.Actor, teamID string, in api.MemberInput) (shown api.Member, err error) {
	err = a.change(ctx, func(tx *store.Tx) error {
		t, err := loadTeam(ctx, &tx.Reader, who, teamID, access.Manage)
		if err != nil {
			return err
		}
		user, err := findUser(ctx, &tx.Reader, in)
		if err != nil {
			return err
		}
		already := &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%s is in the team already", user.Username)}
		audit.Of(ctx).Says("role: " + in.Role)
		m, err := a.join(ctx, tx, t, user, access.Role(in.Role), already)
		shown = toMember(m)
		return err
	})
	return shown, err
}

// findUser finds whom an invitation means.
func findUser(ctx context.Context, r *store.Reader, in api.MemberInput) (user store.User, err error) {
	id, byID := in.UserID.Get()
	email, byEmail := in.Email.Get()
	switch {
	case byID == byEmail:
		return user, api.Invalid("one of userId and email should be given")
	case byID:
		user, err = r.UserByID(ctx, id)
	default:
		user, err = r.UserByEmail(ctx, email)
	}
	if errors.Is(err, store.ErrNotFound) || err == nil && user.Disabled {
		if byEmail {
			return user, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("User with email %s not found", shorten(email))}
		}
		return user, notFound("User", id)
	}
	return user, err
}

// join makes a user a member; already is the answer if he is one.
func (a *App) join(ctx context.Context, tx *store.Tx, t store.Team, user store.User, role access.Role, already error) (store.Membership, error) {
	teams, err := tx.Memberships(ctx, user.ID)
	if err != nil {
		return store.Membership{}, err
	}
	if _, in := teams[t.ID]; in {
		return store.Membership{}, already
	}
	if err := roomForTeam(teams, user.Username); err != nil {
		return store.Membership{}, err
	}
	m := newMembership(t.ID, user.ID, role)
	m.Username, m.Email = user.Username, user.Email
	audit.Of(ctx).About(access.Team(t.ID), m.ID, user.Email)
	return m, tx.AddMember(ctx, m)
}

// roomForTeam refuses one more team for a user who is in as many as one may be.
func roomForTeam(teams map[string]access.Role, username string) error {
	if len(teams) < api.MaxTeams {
		return nil
	}
	return &api.Error{
		Code: api.CodeLimitReached, Message: fmt.Sprintf("%s is in %d teams, which is the limit", username, api.MaxTeams), Hint: "leave some first",
	}
}

// JoinTeam makes the caller a member of the team that a code invites to.
func (a *App) JoinTeam(ctx context.Context, who Caller, from netip.Addr, in api.JoinInput) (shown api.Joined, err error) {
	if _, err := scopeOf(ctx, who.Actor, "", access.Create); err != nil {
		return shown, err
	}
	err = a.unguessed(ctx, a.codes, in.InviteCode, from, func() (known bool, err error) {
		shown, err = a.joinBy(ctx, who, in)
		return !isNotFound(err), err
	})
	return shown, err
}

func (a *App) joinBy(ctx context.Context, who Caller, in api.JoinInput) (shown api.Joined, err error) {
	err = a.change(ctx, func(tx *store.Tx) error {
		t, err := teamInvitedTo(ctx, &tx.Reader, in.InviteCode)
		if err != nil {
			return err
		}
		user, err := tx.UserByID(ctx, who.UserID)
		if err != nil {
			return err
		}
		already := &api.Error{Code: api.CodeForbidden, Message: fmt.Sprintf("You are in the team %q already", t.Name)}
		m, err := a.join(ctx, tx, t, user, access.User, already)
		if err != nil {
			return err
		}
		shown = api.Joined{
			Member: toMember(m), Team: toTeam(t, m.Role), Name: t.Name, OwnerID: t.OwnerID, InviteCode: t.InviteCode,
		}
		return nil
	})
	return shown, err
}

// teamInvitedTo gives the team of an invite code.
func teamInvitedTo(ctx context.Context, r *store.Reader, code string) (store.Team, error) {
	unknown := &api.Error{Code: api.CodeNotFound, Message: "Invite code not found", Hint: "it may have been replaced: ask the team's owner for the new one"}
	if !canBeRef(code) {
		return store.Team{}, unknown
	}
	t, err := r.TeamByInviteCode(ctx, normalCode(code))
	if errors.Is(err, store.ErrNotFound) {
		return t, unknown
	}
	return t, err
}

// SetMemberRole changes what a member is in a team.
func (a *App) SetMemberRole(ctx context.Context, who access.Actor, teamID, memberID string, in api.RoleInput) (shown api.Member, err error) {
	err = a.change(ctx, func(tx *store.Tx) error {
		m, err := loadMember(ctx, &tx.Reader, who, teamID, memberID, access.Manage)
		if err != nil {
			return err
		}
		for name, said := range map[string]api.Opt[string]{"memberId": in.MemberID, "id": in.ID} {
			if id, ok := said.Get(); ok && id != memberID {
				return api.Invalid(name + " must be the same as in the path")
			}
		}
		if m.Role == access.Owner {
			return ownersRow()
		}
		audit.Of(ctx).Says("role: " + in.Role)
		m.Role = access.Role(in.Role)
		shown = toMember(m)
		return tx.SetMemberRole(ctx, m.ID, m.Role)
	})
	return shown, err
}

func ownersRow() error {
	return &api.Error{Code: api.CodeForbidden, Message: "The owner's own membership cannot be changed or removed", Hint: "dissolve the team instead"}
}

// RemoveMember takes a member out of a team; a member may take out himself.
// What the team runs through servers or keys of his own stops.
func (a *App) RemoveMember(ctx context.Context, who access.Actor, teamID, memberID string) error {
	var through []store.Forward
	var why string
	err := a.change(ctx, func(tx *store.Tx) error {
		m, err := a.leaving(ctx, &tx.Reader, who, teamID, memberID)
		if err != nil {
			return err
		}
		if through, err = tx.ForwardsUsingMember(ctx, m.TeamID, m.UserID); err != nil {
			return err
		}
		audit.Of(ctx).Says(fmt.Sprintf("user: %s (%s), role: %s", m.Username, m.UserID, m.Role))
		why = "member removed: " + m.Email
		if err := stopWanted(ctx, tx, through, why); err != nil {
			return err
		}
		return tx.RemoveMember(ctx, m)
	})
	if err != nil {
		return err
	}
	return a.stopAll(ctx, through, why)
}

// leaving gives the membership that is to end.
func (a *App) leaving(ctx context.Context, r *store.Reader, who access.Actor, teamID, memberID string) (store.Membership, error) {
	m, err := loadMember(ctx, r, who, teamID, memberID, access.ReadTeam)
	if err != nil {
		return m, err
	}
	do := access.Manage
	if m.UserID == who.UserID && m.Role != access.Owner {
		do = access.Leave
	}
	if m, err = loadMember(ctx, r, who, teamID, memberID, do); err == nil && m.Role == access.Owner {
		err = ownersRow()
	}
	return m, err
}

func loadMember(ctx context.Context, r *store.Reader, who access.Actor, teamID, memberID string, do access.Action) (store.Membership, error) {
	t, err := loadTeam(ctx, r, who, teamID, do)
	if err != nil {
		return store.Membership{}, err
	}
	if !canBeRef(memberID) {
		return store.Membership{}, notFound("Member", memberID)
	}
	m, err := r.Member(ctx, t.ID, memberID)
	if errors.Is(err, store.ErrNotFound) {
		return m, notFound("Member", memberID)
	}
	audit.Of(ctx).About(access.Team(t.ID), m.ID, m.Email)
	return m, err
}

func toMember(m store.Membership) api.Member {
	return api.Member{
		ID: m.ID, TeamID: m.TeamID, UserID: m.UserID, Role: string(m.Role), CreatedAt: api.Time{Time: m.CreatedAt},
		User: api.MemberUser{ID: m.UserID, Username: m.Username, Email: m.Email},
	}
}
