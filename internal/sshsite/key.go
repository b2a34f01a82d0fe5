package sshsite

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
)

// maxRounds bounds the work of opening a key that somebody sends: some 10 ms
// each. ssh-keygen makes keys of 16 or 24.
const maxRounds = 256

// opening lets one encrypted key be opened at a time: it takes a core.
var opening = make(chan struct{}, 1)

// kdfRounds is how many rounds of bcrypt an encrypted key in OpenSSH form asks
// for (PROTOCOL.key of OpenSSH); 0 for another form.
func kdfRounds(text []byte) uint32 {
	block, _ := pem.Decode(text)
	const magic = "openssh-key-v1\x00"
	if block == nil || !bytes.HasPrefix(block.Bytes, []byte(magic)) {
		return 0
	}
	var head struct {
		Cipher, KDF string
		Options     []byte
		Rest        []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(block.Bytes[len(magic):], &head) != nil {
		return 0 // which the parser tells
	}
	var options struct {
		Salt   []byte
		Rounds uint32
	}
	if ssh.Unmarshal(head.Options, &options) != nil {
		return 0
	}
	return options.Rounds
}

// ParseKey reads a private key in PEM (PKCS#1, PKCS#8, SEC 1) or OpenSSH form.
// The passphrase may be empty when the key is not encrypted. Opening one that is
// takes up to seconds, and waits for its turn until ctx ends: hold nothing
// meanwhile that others need. Its errors are *api.Error with
// CodeCredentialsMissing, or that of ctx.
func ParseKey(ctx context.Context, text, passphrase redact.Secret) (ssh.Signer, error) {
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
	if rounds := kdfRounds([]byte(text.Reveal())); rounds > maxRounds {
		return nil, keyError(fmt.Sprintf("the private key asks for %d rounds to open it, at most %d are done here", rounds, maxRounds),
			"encrypt it anew with fewer: ssh-keygen -p -a 100 -f FILE", nil)
	}
	select {
	case opening <- struct{}{}:
		defer func() { <-opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
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
