package sshd

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"testing"

	"golang.org/x/crypto/ssh"
)

// NewKey makes a private key, for WithClientKey.
func NewKey(t testing.TB, kind KeyType) crypto.PrivateKey {
	t.Helper()
	var key crypto.PrivateKey
	var err error
	switch kind {
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case ECDSA:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		t.Fatalf("unknown type of key %q", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// ClientKeyEncryptedPEM is ClientKeyPEM under a passphrase.
func (s *Server) ClientKeyEncryptedPEM(passphrase string) []byte {
	s.t.Helper()
	block, err := ssh.MarshalPrivateKeyWithPassphrase(s.clientKey, "", []byte(passphrase))
	if err != nil {
		s.t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func (s *Server) makeClientKey() {
	s.t.Helper()
	if s.clientKey == nil {
		s.clientKey = NewKey(s.t, Ed25519)
	}
	s.ClientKeyPEM, s.ClientSigner = s.encode(s.clientKey)
	s.write("authorized_keys", ssh.MarshalAuthorizedKey(s.ClientSigner.PublicKey()))
}

func (s *Server) makeHostKeys() {
	s.t.Helper()
	s.HostPublicKeys = nil
	for _, kind := range s.hostTypes {
		text, signer := s.encode(NewKey(s.t, kind))
		s.write(hostKeyFile(kind), text)
		s.HostPublicKeys = append(s.HostPublicKeys, signer.PublicKey())
	}
	s.HostPublicKey = s.HostPublicKeys[0]
}

func hostKeyFile(kind KeyType) string { return "host_" + string(kind) }

// encode gives a key in OpenSSH format and as a signer.
func (s *Server) encode(key crypto.PrivateKey) ([]byte, ssh.Signer) {
	s.t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		s.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	return pem.EncodeToMemory(block), signer
}
