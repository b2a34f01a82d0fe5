package sshsite

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxHostCAs bounds the text that ParseHostCAs takes, in bytes.
const maxHostCAs = 1 << 20

// errForeignCertificate is a host certificate by nobody that is trusted: it says
// nothing, and the server is to be asked for its plain key.
var errForeignCertificate = errors.New("host certificate by an authority that is not known")

// HostCAs are the certificate authorities whose host certificates are accepted
// without a pin. It is immutable.
type HostCAs struct{ authorities []authority }

type authority struct {
	key   []byte   // in wire form
	hosts []string // patterns of known_hosts, folded; nil: every host
}

// ParseHostCAs reads the public keys of certificate authorities, one a line, as
// in OpenSSH's authorized_keys ("ssh-ed25519 AAAA… comment"), or as in its
// known_hosts ("@cert-authority *.example.com ssh-ed25519 AAAA…"), which limits
// one to some hosts. Blank lines and those that begin with # are left out. No
// keys at all are an error, as is more than 1 MiB.
func ParseHostCAs(text []byte) (*HostCAs, error) {
	if len(text) > maxHostCAs {
		return nil, fmt.Errorf("holds more than %d bytes", maxHostCAs)
	}
	c := new(HostCAs)
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		a, err := parseAuthority(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		c.authorities = append(c.authorities, a)
	}
	if len(c.authorities) == 0 {
		return nil, errors.New("holds no public key")
	}
	return c, nil
}

func parseAuthority(line []byte) (authority, error) {
	var a authority
	if line[0] == '@' {
		fields := bytes.Fields(line)
		if string(fields[0]) != "@cert-authority" || len(fields) < 3 {
			return a, errors.New("of the lines that begin with @ only \"@cert-authority HOSTS KEY\" is known")
		}
		a.hosts = strings.Split(strings.ToLower(string(fields[1])), ",")
		if strings.HasPrefix(a.hosts[0], "|") {
			return a, errors.New("hashed host names cannot be used: write them plain")
		}
		line = bytes.Join(fields[2:], []byte(" "))
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return a, errors.New("is no public key: write the line of the authority's .pub file")
	}
	if _, isCertificate := key.(*ssh.Certificate); isCertificate {
		return a, errors.New("is a certificate: write the public key of the authority that signs such")
	}
	if len(options) > 1 || len(options) == 1 && options[0] != "cert-authority" {
		return a, fmt.Errorf("has options (%s), which mean nothing for hosts", strings.Join(options, ","))
	}
	a.key = key.Marshal()
	return a, nil
}

// check reports whether one of the authorities, for the host at address, is said
// to have signed the certificate, and if so, why it must not be used: nil if it
// may be.
func (c *HostCAs) check(address string, cert *ssh.Certificate) (ours bool, why error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	signer := cert.SignatureKey.Marshal()
	ours = slices.ContainsFunc(c.authorities, func(a authority) bool {
		return bytes.Equal(a.key, signer) && a.serves(host, port)
	})
	if !ours {
		return false, nil
	}
	return true, usable(host, cert, time.Now())
}

// serves reports whether the authority may speak for a host.
func (a *authority) serves(host, port string) bool {
	if a.hosts == nil {
		return true
	}
	found := false
	for _, pattern := range a.hosts {
		pattern, not := strings.CutPrefix(pattern, "!")
		if matches(pattern, host) || matches(pattern, "["+host+"]:"+port) {
			if not {
				return false
			}
			found = true
		}
	}
	return found
}

// usable says why a host certificate does not vouch for a host, or nil. What it
// asks is what OpenSSH asks, but for a certificate that names no host: it is
// good for every one there, and for none here.
func usable(host string, cert *ssh.Certificate, now time.Time) error {
	if cert.CertType != ssh.HostCert {
		return errors.New("it is a user's certificate, not a host's")
	}
	if cert.Signature == nil || cert.Signature.Format == ssh.KeyAlgoRSA {
		return errors.New("it is signed with SHA-1")
	}
	if len(cert.CriticalOptions) > 0 {
		return errors.New("it has critical options, and none is known for hosts")
	}
	named := slices.IndexFunc(cert.ValidPrincipals, func(name string) bool { return matches(strings.ToLower(name), host) })
	switch {
	case len(cert.ValidPrincipals) == 0:
		return errors.New("it names no host")
	case named < 0:
		return fmt.Errorf("it is for %q, not for %q", cert.ValidPrincipals, host)
	}
	seconds := uint64(now.Unix())
	switch {
	case seconds < cert.ValidAfter:
		return fmt.Errorf("it is not valid before %s", instant(cert.ValidAfter))
	case seconds >= cert.ValidBefore: // which is the greatest number for "forever"
		return fmt.Errorf("it expired at %s", instant(cert.ValidBefore))
	}
	checker := ssh.CertChecker{Clock: func() time.Time { return now }}
	if err := checker.CheckCert(cert.ValidPrincipals[named], cert); err != nil {
		return errors.New("its signature is not the authority's")
	}
	return nil
}

// instant shows an instant of a certificate, seconds since 1970.
func instant(seconds uint64) string {
	if seconds > 1<<40 {
		return "the end of time"
	}
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}

// matches compares a text with a pattern, where * is any text and ? any
// character. Time is bounded by the product of their lengths.
func matches(pattern, s string) bool {
	star, resume := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0: // let the last * take one more
			resume++
			p, i = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
