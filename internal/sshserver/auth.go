package sshserver

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
)

// serverVersion is our line of RFC 4253, section 4.2.
const serverVersion = "SSH-2.0-adit"

var errDenied = errors.New("permission denied")

// handshakeConfig is made for each connection, since faults may change it between two.
func (s *Server) handshakeConfig(w *wire) *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{ServerVersion: serverVersion, MaxAuthTries: maxAuthTries}
	keys := s.cfg.HostKeys
	s.cfg.Faults.configure(cfg, &keys, w)
	for _, key := range keys {
		cfg.AddHostKey(key)
	}
	if len(s.cfg.AuthorizedKeys) > 0 {
		cfg.PublicKeyCallback = s.checkKey
	}
	if s.cfg.Password.IsZero() {
		return cfg
	}
	if !s.cfg.NoPasswordMethod {
		cfg.PasswordCallback = s.checkPassword
	}
	if s.cfg.KeyboardInteractive {
		cfg.KeyboardInteractiveCallback = s.askPassword
	}
	return cfg
}

// checkKey runs for keys that are merely offered, too: it decides what may sign, not who is there.
func (s *Server) checkKey(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	s.tally.update(func(c *Counts) { c.KeyOffers++ })
	offered := key.Marshal()
	known := slices.ContainsFunc(s.cfg.AuthorizedKeys, func(k ssh.PublicKey) bool {
		return bytes.Equal(k.Marshal(), offered)
	})
	if !known || meta.User() != s.cfg.User {
		return nil, errDenied
	}
	return nil, nil
}

func (s *Server) checkPassword(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
	s.tally.update(func(c *Counts) { c.PasswordAttempts++ })
	return nil, s.login(meta, password)
}

// askPassword asks for the password by keyboard-interactive (RFC 4256, section 3).
func (s *Server) askPassword(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	answers, err := ask("", "", []string{"Password: "}, []bool{false})
	if err != nil {
		return nil, err
	}
	s.tally.update(func(c *Counts) { c.KeyboardAttempts++ })
	return nil, s.login(meta, []byte(answers[0]))
}

func (s *Server) login(meta ssh.ConnMetadata, password []byte) error {
	right := subtle.ConstantTimeCompare(password, []byte(s.password().Reveal()))
	if right != 1 || meta.User() != s.cfg.User {
		return errDenied
	}
	return nil
}

func (s *Server) password() redact.Secret {
	if changed, ok := s.cfg.Faults.acceptedPassword(); ok {
		return changed
	}
	return s.cfg.Password
}
