package app

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/store/storetest"
)

func newHostKeys(t *testing.T) *hostKeys {
	t.Helper()
	db := storetest.Open(t, filepath.Join(t.TempDir(), "adit.db"))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &hostKeys{app: &App{Options: Options{Store: db}}, scope: access.Personal("ann"), address: "box.example:22"}
}

// announce is what a PUT of a fingerprint does.
func (h *hostKeys) announce(t *testing.T, fingerprint string) {
	t.Helper()
	err := h.change(t.Context(), func(known *store.HostKey) (bool, error) { return accept(known, h.address, fingerprint) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestAPinnedKeyEndsItsAnnouncement(t *testing.T) {
	t.Parallel()
	h, key := newHostKeys(t), newKeyFile(t, filepath.Join(t.TempDir(), "key"), "")
	h.announce(t, ssh.FingerprintSHA256(key))
	if pinned, announced, err := h.Known(t.Context()); pinned != nil || announced != ssh.FingerprintSHA256(key) || err != nil {
		t.Errorf("known: %v, %q, %v", pinned, announced, err)
	}
	if err := h.Pin(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	known, err := h.app.Store.HostKey(t.Context(), h.scope, h.address)
	if err != nil || known.Announced != "" || !known.Connected {
		t.Errorf("%+v, %v", known, err)
	}
	if pinned, announced, err := h.Known(t.Context()); pinned == nil || announced != "" || err != nil {
		t.Errorf("known: %v, %q, %v", pinned, announced, err)
	}
}

// A connection that looked before the announcement would pin whatever it meets.
func TestAnotherKeyIsNotPinnedAfterAnAnnouncement(t *testing.T) {
	t.Parallel()
	h, other := newHostKeys(t), newKeyFile(t, filepath.Join(t.TempDir(), "other"), "")
	announced := ssh.FingerprintSHA256(newKeyFile(t, filepath.Join(t.TempDir(), "key"), ""))
	h.announce(t, announced)
	err := h.Pin(t.Context(), other)
	if told, ok := errors.AsType[*api.Error](err); !ok || told.Code != api.CodeHostKeyChanged {
		t.Errorf("pinned: %v", err)
	}
	if pinned, still, err := h.Known(t.Context()); pinned != nil || still != announced || err != nil {
		t.Errorf("known: %v, %q, %v", pinned, still, err)
	}
}
