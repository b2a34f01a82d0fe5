package api

// Ways to authenticate to an SSH server.
const (
	AuthPassword   = "password"
	AuthKey        = "key"
	AuthKeyContent = "keyContent"
	AuthKeySelect  = "keySelect"
)

// Host key policies: what becomes of a host key that is not known yet.
const (
	HostKeyAcceptNew = "accept-new" // it is recorded
	HostKeyStrict    = "strict"     // it is refused
)

// Where a row belongs.
const (
	DataPersonal = "personal"
	DataTeam     = "team"
)

// ServerInput creates or changes an SSH server. What is required is so for
// creation; a change takes any part.
type ServerInput struct {
	LocalID       Opt[string] `json:"localId,omitzero" maxLength:"255" doc:"the client's own id, unique among its living rows"`
	Name          Opt[string] `json:"name,omitzero" required:"true" maxLength:"255"`
	Host          Opt[string] `json:"host,omitzero" required:"true" maxLength:"255"`
	Port          Opt[int]    `json:"port,omitzero" required:"true" minimum:"1" maximum:"65535"`
	Username      Opt[string] `json:"username,omitzero" required:"true" maxLength:"255"`
	Password      Opt[Secret] `json:"password,omitzero" maxLength:"1024" doc:"in a change: null clears it, an empty text keeps it"`
	KeyID         Opt[string] `json:"keyId,omitzero" maxLength:"255" doc:"a key's id or localId"`
	AuthType      Opt[string] `json:"authType,omitzero" required:"true" enum:"password,key,keyContent,keySelect"`
	HostKeyPolicy Opt[string] `json:"hostKeyPolicy,omitzero" enum:"accept-new,strict" doc:"null: the operator's"`
	Description   Opt[string] `json:"description,omitzero" maxLength:"4096"`
}

// HostKey is what is known of the host key at an address. All is null where
// nobody announced one and no connection was made yet, and on forwards that use
// a server row.
type HostKey struct {
	HostKeyFingerprint *string     `json:"hostKeyFingerprint" doc:"SHA256:…, of the recorded key, or of the one that was announced"`
	HostKeyType        *string     `json:"hostKeyType" doc:"null until the announced key is met"`
	HostKeyOffered     *OfferedKey `json:"hostKeyOffered"`
	HostKeyPolicy      *string     `json:"hostKeyPolicy" doc:"null: the operator's"`
}

// OfferedKey is a host key that was refused because another one is recorded,
// or none and the policy is strict.
type OfferedKey struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	At          Time   `json:"at"`
}

// HostKeyInput accepts an offered host key, or announces one before any
// connection.
type HostKeyInput struct {
	Fingerprint string `json:"fingerprint" required:"true" maxLength:"255" doc:"SHA256:…"`
}

// Server is a stored SSH server.
type Server struct {
	ID          string  `json:"id"`
	LocalID     *string `json:"localId"`
	Name        string  `json:"name"`
	Host        string  `json:"host"`
	Port        int     `json:"port"`
	Username    string  `json:"username"`
	KeyID       *string `json:"keyId"`
	AuthType    string  `json:"authType"`
	Description *string `json:"description"`
	HasPassword bool    `json:"hasPassword"`
	HostKey
	IsActive  bool    `json:"isActive"`
	Namespace *string `json:"namespace"`
	DataType  string  `json:"dataType" enum:"personal,team"`
	CreatedAt Time    `json:"createdAt"`
	UpdatedAt Time    `json:"updatedAt"`
}
