package api

// Registration makes an account (POST /auth/register).
type Registration struct {
	Email      string      `json:"email" required:"true" format:"email" maxLength:"254" doc:"compared without regard to case"`
	Username   string      `json:"username" required:"true" minLength:"3" maxLength:"255"`
	Password   Secret      `json:"password" required:"true" maxLength:"1024" doc:"at least 8 characters, or as many as --min-password says"`
	InviteCode Opt[string] `json:"inviteCode,omitzero" maxLength:"255" doc:"a team's invite code"`
	SetupCode  Opt[Secret] `json:"setupCode,omitzero" maxLength:"255" doc:"for the first account of a server that listens beyond loopback"`
}

// Credentials log in (POST /auth/login).
type Credentials struct {
	Email    string `json:"email" required:"true" maxLength:"254"`
	Password Secret `json:"password" required:"true" maxLength:"1024"`
}

// PasswordChange changes one's own password (POST /auth/password).
type PasswordChange struct {
	CurrentPassword Secret `json:"currentPassword" required:"true" maxLength:"1024"`
	NewPassword     Secret `json:"newPassword" required:"true" maxLength:"1024" doc:"at least 8 characters, or as many as --min-password says"`
}

// Roles of a user.
const (
	RoleAdmin = "admin"
	RoleUser  = "user"
)

// User is an account.
type User struct {
	ID       string `json:"id"`
	Email    string `json:"email"`
	Username string `json:"username"`
	Role     string `json:"role" enum:"admin,user"`
}

// Registered answers a registration. Token and AccessToken are the same JWT.
type Registered struct {
	ID          string `json:"id"`
	Email       string `json:"email"`
	Username    string `json:"username"`
	CreatedAt   Time   `json:"createdAt"`
	User        User   `json:"user"`
	Token       Secret `json:"token"`
	AccessToken Secret `json:"access_token"`
}

// Session answers a login. Token and AccessToken are the same JWT.
type Session struct {
	AccessToken Secret `json:"access_token"`
	Token       Secret `json:"token"`
	User        User   `json:"user"`
}

// Validation answers GET /auth/validate.
type Validation struct {
	Valid bool `json:"valid"`
	User  User `json:"user"`
}

// Message answers a call that has nothing else to say.
type Message struct {
	Message string `json:"message"`
}

// Health answers GET /health.
type Health struct {
	Status    string `json:"status"`
	Timestamp Time   `json:"timestamp"`
}
