package api

// KeyTypePassword is the type of a key that is only a password.
const KeyTypePassword = "password"

// KeyInput creates or changes a key. What is required is so for creation; a
// change takes any part.
type KeyInput struct {
	LocalID     Opt[string] `json:"localId,omitzero" maxLength:"255" doc:"the client's own id, unique among its living rows"`
	Name        Opt[string] `json:"name,omitzero" required:"true" maxLength:"255"`
	Type        Opt[string] `json:"type,omitzero" required:"true" enum:"password,rsa,ed25519,ecdsa,keySelect"`
	PrivateKey  Opt[Secret] `json:"privateKey,omitzero" maxLength:"65536" doc:"PEM or OpenSSH form; required unless type is password"`
	Passphrase  Opt[Secret] `json:"passphrase,omitzero" maxLength:"1024" doc:"of the private key; the password itself where type is password"`
	Password    Opt[Secret] `json:"password,omitzero" maxLength:"1024" doc:"another name of passphrase"`
	Description Opt[string] `json:"description,omitzero" maxLength:"4096"`
}

// Key is a stored key.
type Key struct {
	ID            string  `json:"id"`
	LocalID       *string `json:"localId"`
	Name          string  `json:"name"`
	Type          string  `json:"type"`
	PublicKey     *string `json:"publicKey" doc:"as in an authorized_keys file"`
	Fingerprint   *string `json:"fingerprint" doc:"SHA256:…"`
	HasPrivateKey bool    `json:"hasPrivateKey"`
	HasPassphrase bool    `json:"hasPassphrase"`
	HasPassword   bool    `json:"hasPassword" doc:"the same as hasPassphrase"`
	Description   *string `json:"description"`
	IsActive      bool    `json:"isActive"`
	Namespace     *string `json:"namespace"`
	DataType      string  `json:"dataType" enum:"personal,team"`
	CreatedAt     Time    `json:"createdAt"`
	UpdatedAt     Time    `json:"updatedAt"`
}
