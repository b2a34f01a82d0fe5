package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// hostKeys is what one scope knows of one address, for the data plane.
type hostKeys struct {
	app     *App
	scope   access.Scope
	address string
}

// Known implements sshsite.HostKeys.
func (h *hostKeys) Known(ctx context.Context) (pinned ssh.PublicKey, announced string, err error) {
	known, err := h.app.Store.HostKey(ctx, h.scope, h.address)
	if errors.Is(err, store.ErrNotFound) || err == nil && known.Pinned == nil {
		return nil, known.Announced, nil
	}
	if err != nil {
		return nil, "", err
	}
	pinned, err = ssh.ParsePublicKey(known.Pinned)
	if err != nil {
		return nil, "", fmt.Errorf("parse stored host key of %s: %w", h.address, err)
	}
	return pinned, "", nil
}

// Pin implements sshsite.HostKeys. Of two connections that meet an unknown
// server at once the first to come decides.
func (h *hostKeys) Pin(ctx context.Context, key ssh.PublicKey) error {
	return h.change(ctx, func(known *store.HostKey) (bool, error) {
		wire := key.Marshal()
		if bytes.Equal(known.Pinned, wire) {
			return false, nil
		}
		if known.Pinned != nil {
			return false, &api.Error{
				Code:    api.CodeHostKeyChanged,
				Message: fmt.Sprintf("%s offered different host keys to two first connections", h.address),
				Hint:    "forget its host key and start again; if it happens again, somebody may be in between",
			}
		}
		if known.Announced != "" && known.Announced != ssh.FingerprintSHA256(key) {
			return false, &api.Error{
				Code:    api.CodeHostKeyChanged,
				Message: fmt.Sprintf("the host key of %s was announced while it was connected to, and it offers another: %s", h.address, ssh.FingerprintSHA256(key)),
				Hint:    "start again: all its keys are looked at then",
			}
		}
		known.Pinned, known.PinnedAt, known.Announced, known.Connected = wire, store.Now(), "", true
		if bytes.Equal(known.Offered, wire) {
			known.Offered = nil
		}
		return true, nil
	})
}

// Offer implements sshsite.HostKeys. A key that is offered again keeps the
// time of the first offer, so that retries write nothing.
func (h *hostKeys) Offer(ctx context.Context, key ssh.PublicKey) error {
	return h.change(ctx, func(known *store.HostKey) (bool, error) {
		wire := key.Marshal()
		// It may have been accepted while the connection was being refused.
		if bytes.Equal(known.Offered, wire) || bytes.Equal(known.Pinned, wire) {
			return false, nil
		}
		known.Offered, known.OfferedAt, known.Connected = wire, store.Now(), true
		return true, nil
	})
}

func (h *hostKeys) change(ctx context.Context, fn func(*store.HostKey) (bool, error)) error {
	return h.app.write(ctx, func(tx *store.Tx) error { return h.edit(ctx, tx, fn) })
}

// edit writes what fn makes of what is known, if it says that it changed that.
func (h *hostKeys) edit(ctx context.Context, tx *store.Tx, fn func(*store.HostKey) (bool, error)) error {
	known, err := tx.HostKey(ctx, h.scope, h.address)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	known.Scope, known.Address = h.scope, h.address
	changed, err := fn(&known)
	if err != nil || !changed {
		return err
	}
	return tx.PutHostKey(ctx, known)
}

// toHostKey shows what is known of an address.
func toHostKey(known store.HostKey, policy string) api.HostKey {
	shown := api.HostKey{HostKeyPolicy: text(policy)}
	if key, err := ssh.ParsePublicKey(known.Pinned); err == nil {
		shown.HostKeyFingerprint, shown.HostKeyType = text(ssh.FingerprintSHA256(key)), text(key.Type())
	} else {
		shown.HostKeyFingerprint = text(known.Announced)
	}
	if key, err := ssh.ParsePublicKey(known.Offered); err == nil {
		shown.HostKeyOffered = &api.OfferedKey{
			Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), At: api.Time{Time: known.OfferedAt},
		}
	}
	return shown
}

// accept makes the offered key with this fingerprint the pinned one. Before any
// connection the fingerprint is kept, as that of the key which the server must have.
func accept(known *store.HostKey, address, fingerprint string) (bool, error) {
	if key, err := ssh.ParsePublicKey(known.Pinned); err == nil && ssh.FingerprintSHA256(key) == fingerprint {
		return false, nil
	}
	if key, err := ssh.ParsePublicKey(known.Offered); err == nil && ssh.FingerprintSHA256(key) == fingerprint {
		known.Pinned, known.PinnedAt, known.Offered, known.Announced = known.Offered, store.Now(), nil, ""
		return true, nil
	}
	if !known.Connected {
		if !isFingerprint(fingerprint) {
			return false, api.Invalid(`fingerprint must be "SHA256:" and 43 characters of base64`)
		}
		was := known.Announced
		known.Announced = fingerprint
		return was != fingerprint, nil
	}
	return false, &api.Error{
		Code:    api.CodeConflict,
		Message: fmt.Sprintf("%s has not offered a host key with this fingerprint", address),
		Hint:    "start a forward through it: a key that is refused is shown as hostKeyOffered",
	}
}

// isFingerprint reports whether s can be what ssh.FingerprintSHA256 gives.
func isFingerprint(s string) bool {
	sum, ok := strings.CutPrefix(s, "SHA256:")
	raw, err := base64.RawStdEncoding.DecodeString(sum)
	return ok && err == nil && len(raw) == sha256.Size && len(sum) == base64.RawStdEncoding.EncodedLen(sha256.Size)
}

// AcceptServerHostKey pins the host key that a server offered, or announces the
// one that it will.
func (a *App) AcceptServerHostKey(ctx context.Context, who access.Actor, id string, in api.HostKeyInput) (api.Server, error) {
	s, err := servers.load(ctx, &a.Store.Reader, who, id, access.Edit)
	if err != nil {
		return api.Server{}, err
	}
	if err := a.acceptHostKey(ctx, s.Scope(), addressOf(&s), in.Fingerprint); err != nil {
		return api.Server{}, err
	}
	return a.Server(ctx, who, s.ID)
}

// ForgetServerHostKey drops what is known of a server's host key.
func (a *App) ForgetServerHostKey(ctx context.Context, who access.Actor, id string) (api.Server, error) {
	s, err := servers.load(ctx, &a.Store.Reader, who, id, access.Edit)
	if err != nil {
		return api.Server{}, err
	}
	if err := a.forgetHostKey(ctx, s.Scope(), addressOf(&s)); err != nil {
		return api.Server{}, err
	}
	return a.Server(ctx, who, s.ID)
}

// AcceptForwardHostKey pins the host key that a manual forward's server
// offered, or announces the one that it will.
func (a *App) AcceptForwardHostKey(ctx context.Context, who access.Actor, id string, in api.HostKeyInput) (api.Forward, error) {
	f, address, err := a.manualForward(ctx, who, id)
	if err != nil {
		return api.Forward{}, err
	}
	if err := a.acceptHostKey(ctx, f.Scope(), address, in.Fingerprint); err != nil {
		return api.Forward{}, err
	}
	return a.Forward(ctx, who, f.ID)
}

// ForgetForwardHostKey drops what is known of the host key of a manual
// forward's server.
func (a *App) ForgetForwardHostKey(ctx context.Context, who access.Actor, id string) (api.Forward, error) {
	f, address, err := a.manualForward(ctx, who, id)
	if err != nil {
		return api.Forward{}, err
	}
	if err := a.forgetHostKey(ctx, f.Scope(), address); err != nil {
		return api.Forward{}, err
	}
	return a.Forward(ctx, who, f.ID)
}

// manualForward loads a forward that has a host key of its own, and its address.
func (a *App) manualForward(ctx context.Context, who access.Actor, id string) (store.Forward, string, error) {
	f, err := forwards.load(ctx, &a.Store.Reader, who, id, access.Edit)
	if err != nil {
		return f, "", err
	}
	address, ok := manualAddress(&f)
	if !ok {
		return f, "", &api.Error{
			Code:    api.CodeBadRequest,
			Message: fmt.Sprintf("Port forward %q has no SSH server of its own", f.Name),
			Hint:    "a host key belongs to the server row that serverId names, or to serverAddress",
		}
	}
	return f, address, nil
}

// manualAddress is the SSH server's address where a forward has its own.
func manualAddress(f *store.Forward) (string, bool) {
	if f.ServerRef != "" || f.ServerAddress == "" {
		return "", false
	}
	address, err := dialled(f.ServerAddress)
	return address, err == nil
}

func (a *App) acceptHostKey(ctx context.Context, scope access.Scope, address, fingerprint string) error {
	h := &hostKeys{app: a, scope: scope, address: address}
	accepted := false
	err := a.change(ctx, func(tx *store.Tx) error {
		return h.edit(ctx, tx, func(known *store.HostKey) (_ bool, err error) {
			accepted, err = accept(known, address, fingerprint)
			return accepted, err
		})
	})
	if err != nil || !accepted {
		return err
	}
	return a.refreshAddress(ctx, scope, address)
}

func (a *App) forgetHostKey(ctx context.Context, scope access.Scope, address string) error {
	err := a.change(ctx, func(tx *store.Tx) error { return tx.DeleteHostKey(ctx, scope, address) })
	if err != nil {
		return err
	}
	return a.refreshAddress(ctx, scope, address)
}
