package api

// Kinds of the relay's tokens.
const (
	RelayForward   = "forward"   // its clients use the relay's network
	RelayReverse   = "reverse"   // its providers lend theirs
	RelayConnector = "connector" // its connectors use a reverse token's providers
)

// RelayTokenInput asks the relay for a token (POST /api/token on its listener).
type RelayTokenInput struct {
	Kind             string   `json:"type"`
	Token            Secret   `json:"token,omitempty"` // at most 255 bytes; empty has the relay make one up
	Port             int      `json:"port,omitempty"`  // reverse: its SOCKS5 port; 0 has the relay pick one
	Username         string   `json:"username,omitempty"`
	Password         Secret   `json:"password,omitempty"`
	ReverseToken     Secret   `json:"reverse_token,omitempty"` // connector: whose providers it may use
	ManageConnectors bool     `json:"allow_manage_connector,omitempty"`
	Allow            []string `json:"allow,omitempty"` // policy rules for targets
	Deny             []string `json:"deny,omitempty"`
}

// RelayToken answers for a token that was made or removed.
type RelayToken struct {
	Success bool   `json:"success" enum:"true"`
	Token   Secret `json:"token"`
	Port    *int   `json:"port,omitempty" doc:"of a reverse token, its SOCKS5 port; -1: it has none, only connectors use it"`
}

// RelayState is the relay as it is now (GET /api/status).
type RelayState struct {
	Version string            `json:"version"`
	Tokens  []RelayTokenState `json:"tokens"`
	Direct  RelayDirect       `json:"direct"`
}

// RelayTokenState is one token and who uses it.
type RelayTokenState struct {
	Token      Secret   `json:"token" doc:"shortened where redact is given"`
	Kind       string   `json:"type" enum:"forward,reverse"`
	Clients    int      `json:"clients_count" doc:"peers that are connected with it"`
	Port       *int     `json:"port,omitempty" doc:"of a reverse token, its SOCKS5 port; -1: it has none, only connectors use it"`
	Connectors []Secret `json:"connector_tokens,omitempty" doc:"of a reverse token"`
}

// RelayDirect is there for callers that look for it: links between peers that
// pass the relay by are not offered.
type RelayDirect struct {
	Enabled bool `json:"enabled"`
}
