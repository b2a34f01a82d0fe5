package socks5

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// The methods of authentication (RFC 1928, section 3).
const (
	noAuth       byte = 0
	userPassword byte = 2
	noMethod     byte = 0xff
)

// authVersion is VER of the messages of RFC 1929.
const authVersion = 1

// greet agrees on a method with the client (RFC 1928, section 3) and lets it
// authenticate.
func (s *Server) greet(e *exchange) error {
	method, err := s.readGreeting(e)
	if err != nil {
		return fmt.Errorf("socks5 greeting: %w", err)
	}
	if err := e.send(version, method); err != nil {
		return fmt.Errorf("answer socks5 greeting: %w", err)
	}
	switch method {
	case noMethod:
		return fmt.Errorf("socks5 greeting: %w: %s", ErrNoMethod, s.demand())
	case userPassword:
		return s.authenticate(e)
	}
	return nil
}

// readGreeting reads the methods that the client offers, and chooses.
func (s *Server) readGreeting(e *exchange) (byte, error) {
	head, err := e.fill(2, 1+minRequest)
	if err != nil {
		return 0, err
	}
	if head[0] != version {
		return 0, greetingVersionError(head)
	}
	n := 2 + int(head[1])
	greeting, err := e.fill(n, minRequest)
	if err != nil {
		return 0, err
	}
	method := noMethod
	if wanted := s.method(); bytes.IndexByte(greeting[2:], wanted) >= 0 {
		method = wanted
	}
	e.next(n)
	return method, nil
}

// method is the one method that the server agrees to.
func (s *Server) method() byte {
	if s.Username != "" || !s.Password.IsZero() {
		return userPassword
	}
	return noAuth
}

// demand says what a client that offered something else should have offered.
func (s *Server) demand() string {
	if s.method() == userPassword {
		return "the client does not offer username and password, which are required here"
	}
	return "the client insists on authentication, and none is set up here"
}

// authenticate reads and answers RFC 1929's message.
func (s *Server) authenticate(e *exchange) error {
	failed := s.readAuth(e)
	if failed != nil {
		// Unless the client is gone, it hears of it; that it hears is not needed.
		_ = e.send(authVersion, 1)
		return fmt.Errorf("socks5 authentication: %w", failed)
	}
	if err := e.send(authVersion, 0); err != nil {
		return fmt.Errorf("answer socks5 authentication: %w", err)
	}
	return nil
}

// readAuth reads a username and a password, either of which may be empty, and
// checks them.
func (s *Server) readAuth(e *exchange) error {
	head, err := e.fill(2, 1+minRequest)
	if err != nil {
		return err
	}
	if head[0] != authVersion {
		return fmt.Errorf("%w: version byte %#02x of the authentication", ErrVersion, head[0])
	}
	userEnd := 2 + int(head[1])
	head, err = e.fill(userEnd+1, minRequest)
	if err != nil {
		return err
	}
	end := userEnd + 1 + int(head[userEnd])
	message, err := e.fill(end, minRequest)
	if err != nil {
		return err
	}
	ok := s.check(message[2:userEnd], message[userEnd+1:])
	e.next(end)
	if !ok {
		return ErrAuth
	}
	return nil
}

// check compares hashes, so that its time tells neither how much of a guess is
// right nor how long the right answer is, and always both.
func (s *Server) check(username, password []byte) bool {
	gotUser, gotPassword := sha256.Sum256(username), sha256.Sum256(password)
	user, pass := sha256.Sum256([]byte(s.Username)), sha256.Sum256([]byte(s.Password.Reveal()))
	return subtle.ConstantTimeCompare(gotUser[:], user[:])&
		subtle.ConstantTimeCompare(gotPassword[:], pass[:]) == 1
}
