package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshsite"
	"github.com/adit-tunnel/adit/internal/store"
)

// ready finds what a forward needs to start, without opening secrets. Its
// error is the first thing missing, in the order of the control API's table.
func ready(f *store.Forward, server *store.Server, key *store.Key) (ends, route, *api.Error) {
	e := endsOf(f)
	r, lacks := routeOf(f, server, key)
	if lacks != nil && lacks.Code == api.CodeServerMissing {
		return e, r, lacks
	}
	if m := e.missing(f.Name); m != nil {
		return e, r, m
	}
	return e, r, lacks
}

// signers remembers private keys that were parsed, by their sealed bytes or, of
// files, their digest, since an encrypted one costs a good part of a second. Keep it for one batch only.
type signers map[string]ssh.Signer

// outline is a forward that has what it needs to start, as far as rows tell it:
// no secret has been opened yet.
type outline struct {
	row   store.Forward
	ends  ends
	route route
}

// outlineOf looks up what a forward goes through. Its error is an *api.Error
// when the rows are not enough.
func outlineOf(ctx context.Context, rows *rows, f store.Forward) (outline, error) {
	server, key, err := rows.of(ctx, &f)
	if err != nil {
		return outline{}, err
	}
	e, r, lacks := ready(&f, server, key)
	if lacks != nil {
		return outline{}, lacks
	}
	return outline{row: f, ends: e, route: r}, nil
}

// specs builds specs from outlines. It opens keys, which takes long, so nothing
// of it is done while a view of the store or a transaction is held.
type specs struct {
	app    *App
	parsed signers
}

// spec is all that a forward needs to run. Its error is an *api.Error when the
// rows hold what cannot be opened.
func (s *specs) spec(ctx context.Context, o outline) (_ forward.Spec, err error) {
	f, e := o.row, o.ends
	spec := forward.Spec{ID: f.ID, Name: f.Name, Type: forward.Type(f.Type), Listen: e.listen(), Deliver: e.deliver()}
	if e.listenPort == 0 {
		spec.LastPort = f.LastPort
	}
	if f.Type == api.ForwardDynamic {
		spec.SOCKSUsername = f.SOCKSUsername
		if spec.SOCKSPassword, err = s.app.open(f.SOCKSPassword, forwardSecret(&f, socksPasswordColumn)); err != nil {
			return forward.Spec{}, err
		}
	}
	spec.Server, err = s.config(ctx, &f, o.route)
	return spec, err
}

// config opens what the route logs in with.
func (s *specs) config(ctx context.Context, f *store.Forward, r route) (sshsite.Config, error) {
	scope, owner := f.Scope(), f.Scope().String()+"/manual"
	if r.server != nil {
		scope = r.server.Scope() // a host key is known to those who own the server
		owner = f.Scope().String() + "/server/" + r.server.ID
	}
	config := sshsite.Config{
		Owner: owner, Address: r.address, User: r.username,
		Strict:   first(r.policy, s.app.defaultPolicy()) == api.HostKeyStrict,
		HostKeys: &hostKeys{app: s.app, scope: scope, address: r.address}, HostCAs: s.app.HostCAs,
	}
	var err error
	switch {
	case r.key != nil:
		return config, s.useKey(ctx, &config, r.key)
	case r.server != nil:
		config.Password, err = s.app.open(r.server.Password, serverSecret(r.server, passwordColumn))
		return config, err
	}
	if r.password {
		if config.Password, err = s.app.open(f.Password, forwardSecret(f, passwordColumn)); err != nil {
			return config, err
		}
	}
	if r.content {
		config.Signer, err = s.signer(ctx, fmt.Sprintf("port forward %q", f.Name),
			f.KeyContent, forwardSecret(f, keyContentColumn), f.Passphrase, forwardSecret(f, passphraseColumn))
	}
	if r.path != "" {
		config.Signer, err = s.fileSigner(ctx, f, r.path)
	}
	return config, err
}

// fileSigner reads and parses the private key that a forward's keyPath names.
func (s *specs) fileSigner(ctx context.Context, f *store.Forward, path string) (ssh.Signer, error) {
	text, err := s.app.keyFile(f.Name, path)
	if err != nil {
		return nil, err
	}
	pass, err := s.app.open(f.Passphrase, forwardSecret(f, passphraseColumn))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text.Reveal() + "\x00" + pass.Reveal()))
	return s.parse(ctx, fmt.Sprintf("port forward %q, in its key file %q,", f.Name, path), string(sum[:]), text, pass)
}

// useKey logs in with a key row: its private key, or its password.
func (s *specs) useKey(ctx context.Context, config *sshsite.Config, key *store.Key) (err error) {
	if key.Type == api.KeyTypePassword {
		config.Password, err = s.app.open(key.Passphrase, keySecret(key, passphraseColumn))
		return err
	}
	config.Signer, err = s.signer(ctx, fmt.Sprintf("key %q", key.Name),
		key.PrivateKey, keySecret(key, privateKeyColumn), key.Passphrase, keySecret(key, passphraseColumn))
	return err
}

// signer opens and parses a stored private key.
func (s *specs) signer(ctx context.Context, label string, key []byte, ofKey sealed, passphrase []byte, ofPassphrase sealed) (ssh.Signer, error) {
	at := string(key) + string(passphrase)
	if known := s.parsed[at]; known != nil {
		return known, nil
	}
	text, err := s.app.open(key, ofKey)
	if err != nil {
		return nil, err
	}
	pass, err := s.app.open(passphrase, ofPassphrase)
	if err != nil {
		return nil, err
	}
	return s.parse(ctx, label, at, text, pass)
}

// parse parses a private key that is remembered as at.
func (s *specs) parse(ctx context.Context, label, at string, text, pass redact.Secret) (ssh.Signer, error) {
	if known := s.parsed[at]; known != nil {
		return known, nil
	}
	signer, err := s.app.openKey(ctx, text, pass)
	if err != nil {
		return nil, unusableKey(label, err)
	}
	s.parsed[at] = signer
	return signer, nil
}

// unusableKey says of which row the key is that ParseKey refused.
func unusableKey(label string, err error) error {
	var told *api.Error
	if !errors.As(err, &told) {
		return err
	}
	return &api.Error{
		Code: api.CodeCredentialsMissing, Message: fmt.Sprintf("The private key of %s cannot be used: %s", label, told.Error()), Hint: told.Hint, Err: err,
	}
}

// keyParser parses a private key, with a passphrase that may be empty.
type keyParser func(ctx context.Context, key, passphrase redact.Secret) (ssh.Signer, error)

// parseKey parses a private key that is about to be stored. It takes long, as
// sshsite.ParseKey says.
func (a *App) parseKey(ctx context.Context, key, passphrase redact.Secret) (ssh.Signer, error) {
	signer, err := a.openKey(ctx, key, passphrase)
	var told *api.Error
	if errors.As(err, &told) {
		bad := api.Invalid("privateKey cannot be used: " + told.Error())
		bad.Hint, bad.Err = told.Hint, err
		return nil, bad
	}
	return signer, err
}

func (a *App) defaultPolicy() string {
	if a.StrictHostKeys {
		return api.HostKeyStrict
	}
	return api.HostKeyAcceptNew
}

func serverSecret(s *store.Server, column string) sealed {
	return sealed{noun: fmt.Sprintf("server %q", s.Name), table: serverTable, id: s.ID, column: column}
}

func keySecret(k *store.Key, column string) sealed {
	return sealed{noun: fmt.Sprintf("key %q", k.Name), table: keyTable, id: k.ID, column: column}
}

func forwardSecret(f *store.Forward, column string) sealed {
	return sealed{noun: fmt.Sprintf("port forward %q", f.Name), table: forwardTable, id: f.ID, column: column}
}
