package sshsite

import (
	"errors"

	"golang.org/x/crypto/ssh"
)

// errNoAnswer ends keyboard-interactive where the password is no answer.
var errNoAnswer = errors.New("keyboard-interactive asks for more than the password")

// authMethods are tried in order (RFC 4252): the key, the password, and the
// password again where the server only asks for it interactively (RFC 4256).
func (c *Config) authMethods() []ssh.AuthMethod {
	var methods []ssh.AuthMethod
	if c.Signer != nil {
		methods = append(methods, ssh.PublicKeys(c.Signer))
	}
	if c.Password.IsZero() {
		return methods
	}
	sent := false
	password := ssh.PasswordCallback(func() (string, error) {
		sent = true
		return c.Password.Reveal(), nil
	})
	interactive := ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
		if len(questions) == 0 {
			return nil, nil // some servers end with an empty round
		}
		if sent || len(questions) > 1 || echos[0] {
			// The same password again would only count as another failure,
			// and lock accounts out.
			return nil, errNoAnswer
		}
		sent = true
		return []string{c.Password.Reveal()}, nil
	})
	return append(methods, password, interactive)
}
