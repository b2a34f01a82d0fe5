package api

// Roles of a member of a team.
const (
	TeamOwner     = "owner"
	TeamDeveloper = "developer"
	TeamUser      = "user"
)

// MaxTeams is how many teams one user may be in.
const MaxTeams = 100

// TeamInput makes a team (POST /teams/create).
type TeamInput struct {
	Name string `json:"name" required:"true" maxLength:"255" doc:"no other team has it"`
}

// Team is a team. Role is the caller's in it. InviteCode is null for those who
// may not invite.
type Team struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	OwnerID    string  `json:"ownerId"`
	InviteCode *string `json:"inviteCode" doc:"null for those who may not invite"`
	Role       string  `json:"role" enum:"owner,developer,user" doc:"the caller's"`
	CreatedAt  Time    `json:"createdAt"`
	UpdatedAt  Time    `json:"updatedAt"`
}

// TeamWithMembers is a team and who is in it.
type TeamWithMembers struct {
	Team
	Members []Member `json:"members"`
}

// Member is a user's place in a team.
type Member struct {
	ID        string     `json:"id" doc:"of the membership: :memberId"`
	TeamID    string     `json:"teamId"`
	UserID    string     `json:"userId"`
	Role      string     `json:"role" enum:"owner,developer,user"`
	CreatedAt Time       `json:"createdAt"`
	User      MemberUser `json:"user"`
}

// MemberUser is what members of a team see of each other.
type MemberUser struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email"`
}

// MemberInput takes a user into a team. One of UserID and Email is needed.
type MemberInput struct {
	UserID Opt[string] `json:"userId,omitzero" maxLength:"255" doc:"this or email"`
	Email  Opt[string] `json:"email,omitzero" maxLength:"254"`
	Role   string      `json:"role" required:"true" enum:"developer,user"`
}

// RoleInput changes a member's role.
type RoleInput struct {
	Role     string      `json:"role" required:"true" enum:"developer,user"`
	MemberID Opt[string] `json:"memberId,omitzero" maxLength:"255" doc:"the same as in the path, if given"`
	ID       Opt[string] `json:"id,omitzero" maxLength:"255" doc:"another name of memberId"`
}

// JoinInput joins a team by its code.
type JoinInput struct {
	InviteCode string `json:"inviteCode" required:"true" maxLength:"255"`
}

// Joined is the membership of who joined, with the team.
type Joined struct {
	Member
	Team       Team   `json:"team"`
	Name       string `json:"name" doc:"the team's"`
	OwnerID    string `json:"ownerId"`
	InviteCode string `json:"inviteCode"`
}

// InviteCode answers a new invite code.
type InviteCode struct {
	InviteCode string `json:"inviteCode" doc:"8 of A-Z and 0-9"`
}

// PersonalData is all rows of the caller's own.
type PersonalData struct {
	Servers      []Server  `json:"servers"`
	Keys         []Key     `json:"keys"`
	PortForwards []Forward `json:"portForwards"`
}

// PersonalServers is the servers of the caller's own.
type PersonalServers struct {
	Servers []Server `json:"servers"`
}

// TeamData is a team and all rows of it.
type TeamData struct {
	Team Team `json:"team"`
	PersonalData
}
