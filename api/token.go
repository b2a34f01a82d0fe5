package api

// Scopes of an API token, each with all that the ones before may.
const (
	ScopeRead    = "read"    // look
	ScopeOperate = "operate" // and start and stop port forwards
	ScopeManage  = "manage"  // and change rows, teams, users and settings
)

// APITokenPrefix begins every API token.
const APITokenPrefix = "adit_"

// Limits of API tokens.
const (
	DefaultTokenDays = 90
	MaxTokenDays     = 3650
	MaxTokens        = 100 // of one user
)

// TokenInput makes an API token (POST /auth/tokens).
type TokenInput struct {
	Name          string      `json:"name" required:"true" maxLength:"255"`
	Scope         string      `json:"scope" required:"true" enum:"read,operate,manage"`
	Namespace     Opt[string] `json:"namespace,omitzero" maxLength:"255" doc:"the only team that it is for; null: all that its user may do"`
	ExpiresInDays Opt[int]    `json:"expiresInDays,omitzero" minimum:"1" maximum:"3650" doc:"90 if not given"`
}

// Token is an API token without what makes it one.
type Token struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Scope      string  `json:"scope" enum:"read,operate,manage"`
	Namespace  *string `json:"namespace"`
	CreatedAt  Time    `json:"createdAt"`
	ExpiresAt  Time    `json:"expiresAt"`
	LastUsedAt *Time   `json:"lastUsedAt" doc:"to within some minutes"`
}

// NewToken is an API token that was just made: the only time that it is shown.
type NewToken struct {
	Token
	Secret Secret `json:"token" doc:"shown this once; send it as Authorization: Bearer"`
}
