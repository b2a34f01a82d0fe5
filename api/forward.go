package api

// Types of forwards.
const (
	ForwardLocal   = "local"
	ForwardRemote  = "remote"
	ForwardDynamic = "dynamic"
)

// Statuses of a forward; desired takes the same values.
const (
	StatusActive   = "active"
	StatusInactive = "inactive"
)

// ForwardInput creates or changes a port forward. What is required is so for
// creation and in a sync; a change takes any part.
type ForwardInput struct {
	LocalID       Opt[string] `json:"localId,omitzero" maxLength:"255" doc:"the client's own id, unique among its living rows"`
	Name          Opt[string] `json:"name,omitzero" required:"true" maxLength:"255"`
	Type          Opt[string] `json:"type,omitzero" required:"true" enum:"dynamic,local,remote"`
	LocalHost     Opt[string] `json:"localHost,omitzero" maxLength:"255"`
	LocalPort     Opt[int]    `json:"localPort,omitzero" minimum:"0" maximum:"65535" zero:"null" doc:"0 is unset"`
	RemoteHost    Opt[string] `json:"remoteHost,omitzero" maxLength:"255"`
	RemotePort    Opt[int]    `json:"remotePort,omitzero" minimum:"0" maximum:"65535" zero:"null" doc:"0 is unset"`
	BindAddress   Opt[string] `json:"bindAddress,omitzero" maxLength:"255"`
	BindPort      Opt[int]    `json:"bindPort,omitzero" minimum:"1" maximum:"65535"`
	ServerID      Opt[string] `json:"serverId,omitzero" maxLength:"255" doc:"a server's id or localId; wins over the manual fields"`
	ServerAddress Opt[string] `json:"serverAddress,omitzero" maxLength:"300" doc:"host, host:port or [v6]:port; port 22 else"`
	Username      Opt[string] `json:"username,omitzero" maxLength:"255"`
	AuthType      Opt[string] `json:"authType,omitzero" enum:"password,key,keyContent,keySelect"`
	Password      Opt[Secret] `json:"password,omitzero" maxLength:"1024" doc:"in a change: null clears it, an empty text keeps it"`
	KeyPath       Opt[string] `json:"keyPath,omitzero" maxLength:"4096"`
	KeyContent    Opt[Secret] `json:"keyContent,omitzero" maxLength:"65536" doc:"a private key in PEM or OpenSSH form"`
	Passphrase    Opt[Secret] `json:"passphrase,omitzero" maxLength:"1024" doc:"of keyContent"`
	SOCKSUsername Opt[string] `json:"socksUsername,omitzero" maxLength:"255" doc:"protects a dynamic forward, with socksPassword"`
	SOCKSPassword Opt[Secret] `json:"socksPassword,omitzero" maxLength:"255"`
	HostKeyPolicy Opt[string] `json:"hostKeyPolicy,omitzero" enum:"accept-new,strict" doc:"null: the operator's"`
}

// Forward is a stored port forward and what it is doing.
type Forward struct {
	ID           string  `json:"id"`
	LocalID      *string `json:"localId"`
	Name         string  `json:"name"`
	Type         string  `json:"type" enum:"dynamic,local,remote"`
	LocalHost    *string `json:"localHost"`
	LocalPort    *int    `json:"localPort"`
	RemoteHost   *string `json:"remoteHost"`
	RemotePort   *int    `json:"remotePort"`
	BindAddress  *string `json:"bindAddress"`
	BindPort     *int    `json:"bindPort"`
	ServerID     *string `json:"serverId" doc:"in the form that was sent"`
	Status       string  `json:"status" enum:"active,inactive"`
	LastUsed     *Time   `json:"lastUsed"`
	TunnelID     *string `json:"tunnelId" doc:"one run of the listener"`
	ConnectionID *string `json:"connectionId" doc:"the SSH connection under it"`
	CreatedAt    Time    `json:"createdAt"`
	UpdatedAt    Time    `json:"updatedAt"`

	Namespace     *string    `json:"namespace"`
	DataType      string     `json:"dataType" enum:"personal,team"`
	ServerAddress *string    `json:"serverAddress"`
	Username      *string    `json:"username"`
	AuthType      *string    `json:"authType"`
	KeyPath       *string    `json:"keyPath"`
	Desired       string     `json:"desired" enum:"active,inactive"`
	State         string     `json:"state" enum:"inactive,starting,active,reconnecting,failed"`
	LastError     *Failure   `json:"lastError"`
	Effective     *Effective `json:"effective"`
	Warnings      []string   `json:"warnings"`

	HasPassword      bool    `json:"hasPassword"`
	HasKeyContent    bool    `json:"hasKeyContent"`
	HasPassphrase    bool    `json:"hasPassphrase"`
	HasSOCKSPassword bool    `json:"hasSocksPassword"`
	SOCKSUsername    *string `json:"socksUsername"`
	HostKey
}

// Where a forward listens.
const (
	ListenHere   = "here"
	ListenServer = "server"
)

// DeliverSOCKS5 is Effective.Deliver of a dynamic forward: its clients choose.
const DeliverSOCKS5 = "socks5"

// Effective says where a forward listens and delivers, all fields and their
// defaults taken together.
type Effective struct {
	Listen    string `json:"listen" doc:"host:port; port 0 until the system has picked one"`
	ListenOn  string `json:"listenOn" enum:"here,server"`
	Deliver   string `json:"deliver" doc:"host:port, or socks5"`
	BoundPort *int   `json:"boundPort" doc:"null until it listens"`
}

// Failure is the last thing that went wrong with a forward.
type Failure struct {
	Code    Code    `json:"code"`
	Message string  `json:"message"`
	Hint    *string `json:"hint"`
	At      Time    `json:"at"`
}

// ForwardStatus is what a forward is doing now.
type ForwardStatus struct {
	ID           string  `json:"id"`
	Status       string  `json:"status" enum:"active,inactive"`
	LastUsed     *Time   `json:"lastUsed"`
	TunnelID     *string `json:"tunnelId"`
	ConnectionID *string `json:"connectionId"`
	IsActive     bool    `json:"isActive"`
	Name         string  `json:"name"`
	Type         string  `json:"type" enum:"dynamic,local,remote"`
	LocalHost    *string `json:"localHost"`
	LocalPort    *int    `json:"localPort"`
	RemoteHost   *string `json:"remoteHost"`
	RemotePort   *int    `json:"remotePort"`
	BindAddress  *string `json:"bindAddress"`
	BindPort     *int    `json:"bindPort"`

	State       string     `json:"state" enum:"inactive,starting,active,reconnecting,failed"`
	Desired     string     `json:"desired" enum:"active,inactive"`
	LastError   *Failure   `json:"lastError"`
	Since       *Time      `json:"since" doc:"when the state was entered"`
	NextRetry   *Time      `json:"nextRetry"`
	Connections int64      `json:"connections" doc:"open now"`
	BytesIn     int64      `json:"bytesIn" doc:"from the listener's clients towards the target, since tunnelId began"`
	BytesOut    int64      `json:"bytesOut" doc:"from the target back, since tunnelId began"`
	Effective   *Effective `json:"effective"`
	Warnings    []string   `json:"warnings"`
}
