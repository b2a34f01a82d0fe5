package sshsite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/cpu"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/site"
)

// clientVersion is what the server's log shows of us.
const clientVersion = "SSH-2.0-adit"

// Dial connects, checks the host key and logs in. ctx bounds all of it; the
// connection itself lives until Close or its loss. The error is an *api.Error
// with a code of the control API, or what a HostKeys said.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	pinned, announced, err := cfg.HostKeys.Known(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up the host key of %s: %w", cfg.Address, err)
	case pinned == nil && announced != "":
		return dialAnnounced(ctx, &cfg, announced)
	}
	v := &verifier{ctx: ctx, cfg: &cfg, pinned: pinned, certify: cfg.HostCAs != nil}
	conn, err := connect(ctx, &cfg, v)
	if errors.Is(err, errForeignCertificate) {
		v = &verifier{ctx: ctx, cfg: &cfg, pinned: pinned}
		conn, err = connect(ctx, &cfg, v)
	}
	if pinned != nil && otherKeysOnly(err, v.algorithms()) {
		// It has host keys, but none of the pinned kind: ask which, to tell a person. That cannot succeed.
		_, err = connect(ctx, &cfg, &verifier{ctx: ctx, cfg: &cfg, pinned: pinned, probing: true})
	}
	return conn, err
}

// dialAnnounced connects to a server of which nothing but the fingerprint of one
// of its keys is known, not even the kind: it asks for one kind after the other,
// as many as the server has, until that key is shown.
func dialAnnounced(ctx context.Context, cfg *Config, announced string) (*Conn, error) {
	v := &verifier{ctx: ctx, cfg: cfg, announced: announced, kinds: plainAlgorithms, certify: cfg.HostCAs != nil}
	var shown []ssh.PublicKey
	for len(v.kinds) > 0 {
		conn, err := connect(ctx, cfg, v)
		var other *otherKeyError
		switch {
		case errors.Is(err, errForeignCertificate):
			v = &verifier{ctx: ctx, cfg: cfg, announced: announced, kinds: v.kinds}
		case errors.As(err, &other):
			// A server that shows a plain key has no certificate, and no key of the kinds before.
			shown = append(shown, other.key)
			v = &verifier{ctx: ctx, cfg: cfg, announced: announced, kinds: kindsAfter(other.key)}
		case len(shown) > 0 && otherKeysOnly(err, v.kinds):
			return nil, v.refuseAll(shown)
		default:
			return conn, err
		}
	}
	return nil, v.refuseAll(shown)
}

// otherKeysOnly reports whether an attempt came to nothing because the server
// has host keys, but none of the kinds that were asked for.
func otherKeysOnly(err error, asked []string) bool {
	var none *ssh.AlgorithmNegotiationError
	return errors.As(err, &none) && !overlap(asked, none.RequestedAlgorithms) && overlap(plainAlgorithms, none.RequestedAlgorithms)
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// connect makes one attempt.
func connect(ctx context.Context, cfg *Config, v *verifier) (*Conn, error) {
	var d net.Dialer
	tcp, err := d.DialContext(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, dialError(ctx, cfg, err)
	}
	t := newTransport(tcp)
	v.passed = func() { t.step.CompareAndSwap(int32(stepKeyExchange), int32(stepAuthentication)) }
	stop := context.AfterFunc(ctx, func() { t.Close() })
	conf := &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: ciphers()},
		User:              cfg.User,
		Auth:              cfg.authMethods(),
		HostKeyCallback:   v.check,
		HostKeyAlgorithms: v.algorithms(),
		ClientVersion:     clientVersion,
	}
	client, channels, requests, err := ssh.NewClientConn(t, cfg.Address, conf)
	if err == nil && !stop() {
		err = context.Cause(ctx) // it ended at the last moment, and t is closed
	}
	if err != nil {
		fault := t.fault()
		t.Close()
		return nil, handshakeError(ctx, cfg, t, v, fault, err)
	}
	t.step.Store(int32(stepDone))
	return newConn(ctx, t, client, channels, requests), nil
}

// ciphers puts AES-GCM first only where the CPU computes it.
func ciphers() []string {
	all := ssh.SupportedAlgorithms().Ciphers
	if cpu.X86.HasAES || cpu.ARM64.HasAES || runtime.GOARCH == "s390x" {
		return all
	}
	slices.SortStableFunc(all, func(a, b string) int {
		return strings.Compare(rank(a), rank(b))
	})
	return all
}

func rank(cipher string) string {
	if cipher == ssh.CipherChaCha20Poly1305 {
		return "0"
	}
	return "1"
}

// dialError says why the TCP connection could not be made.
func dialError(ctx context.Context, cfg *Config, err error) error {
	e := &api.Error{Message: fmt.Sprintf("connect to SSH server %s: ", cfg.Address), Err: err}
	switch site.ReasonOf(err) {
	case site.Refused:
		e.Code, e.Hint = api.CodeConnectRefused, "check host and port, and that the SSH server runs"
		e.Message += "connection refused"
	case site.NameNotFound:
		e.Code, e.Hint = api.CodeNameNotFound, "check the spelling of the server's host name"
		e.Message += "the name is not known"
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) && !dns.IsNotFound {
			e.Hint = "check the name resolution of the machine that adit runs on"
			e.Message = fmt.Sprintf("connect to SSH server %s: the name could not be looked up", cfg.Address)
		}
	case site.TimedOut:
		return timeoutError(cfg, "connecting", err)
	default:
		if ctx.Err() != nil {
			return timeoutError(cfg, "connecting", err)
		}
		e.Code, e.Hint = api.CodeUnreachable, "check the address and the route to it"
		e.Message += "the host cannot be reached"
	}
	return e
}

func timeoutError(cfg *Config, doing string, cause error) error {
	return &api.Error{Code: api.CodeTimeout, Err: cause,
		Message: fmt.Sprintf("SSH server %s: no answer in time while %s", cfg.Address, doing),
		Hint:    "check that the address is right, that no firewall drops the packets, and that the server is not overloaded"}
}

// handshakeError says why a TCP connection did not become an SSH connection.
// fault is the error of the TCP connection itself, if it had one.
func handshakeError(ctx context.Context, cfg *Config, t *transport, v *verifier, fault, err error) error {
	at := step(t.step.Load())
	var none *ssh.AlgorithmNegotiationError
	switch {
	case v.verdict() != nil:
		return v.verdict()
	case errors.Is(fault, errNotSSH), at == stepVersion && t.foreign.Load():
		return notSSH(cfg, err)
	case ctx.Err() != nil:
		return timeoutError(cfg, at.String(), err)
	case errors.As(err, &none):
		return &api.Error{Code: api.CodeNoCommonAlgorithm, Err: err,
			Message: fmt.Sprintf("SSH server %s: no common %s: it offers %s", cfg.Address, none.What, strings.Join(none.RequestedAlgorithms, ", ")),
			Hint:    "the server is very old or very restricted; allow a current algorithm in its configuration"}
	case fault != nil:
		return &api.Error{Code: api.CodeConnectionLost, Err: err,
			Message: fmt.Sprintf("SSH server %s: the connection was lost while %s", cfg.Address, at),
			Hint:    "look into the server's log; it may limit connections or addresses"}
	case at == stepAuthentication:
		return &api.Error{Code: api.CodeAuthFailed, Err: err,
			Message: fmt.Sprintf("SSH server %s refused the login of %q by %s", cfg.Address, cfg.User, cfg.means()),
			Hint:    "check user name and credentials, and which methods the server allows"}
	}
	return notSSH(cfg, err)
}

func notSSH(cfg *Config, cause error) error {
	return &api.Error{Code: api.CodeNotSSH, Err: cause,
		Message: fmt.Sprintf("what listens at %s does not speak SSH", cfg.Address),
		Hint:    "check the port; SSH servers usually have 22"}
}

// means names the credentials without showing them.
func (c *Config) means() string {
	switch {
	case c.Signer != nil && !c.Password.IsZero():
		return "key " + ssh.FingerprintSHA256(c.Signer.PublicKey()) + " and password"
	case c.Signer != nil:
		return "key " + ssh.FingerprintSHA256(c.Signer.PublicKey())
	}
	return "password"
}
