package api

// Account is a user as operators see him.
type Account struct {
	User
	Disabled  bool `json:"disabled"`
	CreatedAt Time `json:"createdAt"`
	UpdatedAt Time `json:"updatedAt"`
}

// AccountInput changes a user (PATCH /users/:id).
type AccountInput struct {
	Disabled Opt[bool]   `json:"disabled,omitzero" doc:"true ends his sessions, tokens and personal port forwards; his rows stay"`
	Role     Opt[string] `json:"role,omitzero" enum:"admin,user"`
}

// Values of Settings.Registration.
const (
	RegistrationInvite = "invite"
	RegistrationOpen   = "open"
	RegistrationClosed = "closed"
)

// Settings are what operators set at run time, within what the server's flags
// allow (GET and PUT /settings). A PUT replaces all of them: what it does not
// give is as if it had never been set.
type Settings struct {
	Registration        Opt[string]   `json:"registration" enum:"invite,open,closed" doc:"who may register; null: as --registration says, which it can only narrow"`
	MaxForwardsPerUser  Opt[int]      `json:"maxForwardsPerUser" minimum:"0" maximum:"1000000" doc:"port forwards that one user may have made; null: no limit"`
	MaxActivePerUser    Opt[int]      `json:"maxActivePerUser" minimum:"0" maximum:"1000000" doc:"of those, how many may run at a time"`
	MaxActive           Opt[int]      `json:"maxActive" minimum:"0" maximum:"1000000" doc:"port forwards of everybody that may run at a time"`
	AllowedBinds        Opt[[]string] `json:"allowedBinds" doc:"policy rules for addresses and ports that forwards may listen on; null: as --allow-bind"`
	AllowedDestinations Opt[[]string] `json:"allowedDestinations" doc:"policy rules for targets; null: as --allow and --deny"`
	AuditDays           Opt[int]      `json:"auditDays" minimum:"1" maximum:"36500" doc:"how long audit entries are kept; null: 365"`
}

// DefaultAuditDays is how long audit entries are kept if no setting says.
const DefaultAuditDays = 365
