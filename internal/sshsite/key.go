package sshsite

import (
	"errors"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
)

// ParseKey reads a private key in PEM (PKCS#1, PKCS#8, SEC 1) or OpenSSH form.
// The passphrase may be empty when the key is not encrypted. Its errors are
// *api.Error with CodeCredentialsMissing.
func ParseKey(text, passphrase redact.Secret) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey([]byte(text.Reveal()))
	var encrypted *ssh.PassphraseMissingError
	if !errors.As(err, &encrypted) {
		if _, _, _, _, public := ssh.ParseAuthorizedKey([]byte(text.Reveal())); public == nil {
			return nil, keyError("this is a public key", "give the private one: the file without .pub", err)
		}
		if err != nil {
			return nil, keyError("the private key cannot be read: it is neither PEM nor OpenSSH form", "paste the whole file, its BEGIN and END lines included; PuTTY keys are exported as OpenSSH keys first", err)
		}
		return signer, nil
	}
	if passphrase.IsZero() {
		return nil, keyError("the private key is encrypted and no passphrase is given", "give its passphrase", err)
	}
	signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(text.Reveal()), []byte(passphrase.Reveal()))
	if err != nil {
		return nil, keyError("the passphrase does not open the private key", "give the passphrase that the key was made with", err)
	}
	return signer, nil
}

func keyError(message, hint string, cause error) error {
	return &api.Error{Code: api.CodeCredentialsMissing, Message: message, Hint: hint, Err: cause}
}
