package app

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/store/storetest"
)

// keyFixture is an App whose keys any text can be. before is called when one is
// about to be opened.
type keyFixture struct {
	*App
	t      *testing.T
	who    access.Actor
	before func(ctx context.Context) error
}

func newKeyFixture(t *testing.T) *keyFixture {
	t.Helper()
	db := storetest.Open(t, filepath.Join(t.TempDir(), "adit.db"))
	k := &keyFixture{
		App: New(Options{Store: db, Keyring: secret.New()}), t: t, who: access.Actor{UserID: "ada"},
		before: func(context.Context) error { return nil },
	}
	t.Cleanup(func() {
		k.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	k.openKey = func(ctx context.Context, text, passphrase redact.Secret) (ssh.Signer, error) {
		if err := k.before(ctx); err != nil {
			return nil, err
		}
		return opened(text.Reveal(), passphrase.Reveal())
	}
	k.save(func(ctx context.Context, tx *store.Tx) error {
		return tx.CreateUser(ctx, store.User{ID: "ada", Email: "ada@example.com", Username: "ada", Role: store.Member, CreatedAt: store.Now(), UpdatedAt: store.Now()})
	})
	return k
}

// opened is the key that a text and a passphrase stand for.
func opened(text, passphrase string) (ssh.Signer, error) {
	seed := sha256.Sum256([]byte(text + "\x00" + passphrase))
	return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
}

func fingerprint(t *testing.T, text, passphrase string) string {
	t.Helper()
	signer, err := opened(text, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(signer.PublicKey())
}

func (k *keyFixture) save(fn func(context.Context, *store.Tx) error) {
	k.t.Helper()
	if err := k.Store.Write(k.t.Context(), func(tx *store.Tx) error { return fn(k.t.Context(), tx) }); err != nil {
		k.t.Fatal(err)
	}
}

// keyInput is an input that gives a key's private key and passphrase where they are not empty.
func keyInput(localID, private, passphrase string) api.KeyInput {
	in := api.KeyInput{LocalID: api.Some(localID), Name: api.Some(localID), Type: api.Some("ed25519")}
	if private != "" {
		in.PrivateKey = api.Some(api.Secret(private))
	}
	if passphrase != "" {
		in.Passphrase = api.Some(api.Secret(passphrase))
	}
	return in
}

func (k *keyFixture) create(localID string) {
	k.t.Helper()
	if _, err := k.CreateKey(k.t.Context(), k.who, "", keyInput(localID, "stored key", "stored passphrase")); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keyFixture) sync(ctx context.Context, in ...api.KeyInput) (api.Synced[api.Key], error) {
	items := make([]SyncItem[api.KeyInput], len(in))
	for i := range in {
		items[i].Input = in[i]
	}
	return k.SyncKeys(ctx, k.who, "", items)
}

// forward adds a manual forward with a key of its own.
func (k *keyFixture) forward() store.Forward {
	k.t.Helper()
	f := store.Forward{
		Row:  store.Row{ID: "f", UserID: "ada", CreatedAt: store.Now(), UpdatedAt: store.Now()},
		Name: "f", Type: api.ForwardLocal, RemotePort: 80, ServerAddress: "192.0.2.1", Username: "mole",
	}
	if err := k.put(&f.KeyContent, api.Some(api.Secret("own key")), forwardSecret(&f, keyContentColumn)); err != nil {
		k.t.Fatal(err)
	}
	k.save(func(ctx context.Context, tx *store.Tx) error { return tx.CreateForward(ctx, f) })
	return f
}

// failsAfter ends what waits for ever where the code is wrong.
const failsAfter = 20 * time.Second

// More calls than the store has connections are all opening a key at once, and
// somebody else writes. None of that were possible if one of them held what the
// others need.
func TestNoKeyIsOpenedWhileTheStoreIsHeld(t *testing.T) {
	t.Parallel()
	const calls = 20
	for name, call := range map[string]func(context.Context, *keyFixture) error{
		"create": func(ctx context.Context, k *keyFixture) error {
			_, err := k.CreateKey(ctx, k.who, "", api.KeyInput{Name: api.Some("new"), Type: api.Some("ed25519"), PrivateKey: api.Some(api.Secret("x"))})
			return err
		},
		"update": func(ctx context.Context, k *keyFixture) error {
			_, err := k.UpdateKey(ctx, k.who, Path{ID: "k"}, keyInput("k", "", "new passphrase"))
			return err
		},
		"sync of both": func(ctx context.Context, k *keyFixture) error {
			return one(k.sync(ctx, keyInput("k", "new key", "new passphrase")))
		},
		"sync of a new passphrase": func(ctx context.Context, k *keyFixture) error {
			return one(k.sync(ctx, keyInput("k", "", "new passphrase")))
		},
		"sync that keeps the passphrase": func(ctx context.Context, k *keyFixture) error {
			return one(k.sync(ctx, keyInput("k", "new key", "")))
		},
		"sync of a new row": func(ctx context.Context, k *keyFixture) error {
			return one(k.sync(ctx, keyInput("another", "new key", "")))
		},
		"load of a spec": func(ctx context.Context, k *keyFixture) error {
			_, spec, err := k.loadSpec(ctx, "f", signers{})
			if err == nil && spec.Server.Signer == nil {
				err = errors.New("no signer")
			}
			return err
		},
		"plan of an update": func(ctx context.Context, k *keyFixture) error {
			u := update{app: k.App, who: k.who, id: "f", in: api.ForwardInput{KeyContent: api.Some(api.Secret("new key"))}}
			old, next, err := u.plan(ctx)
			if err == nil && (old.Server.Signer == nil || next.Server.Signer == nil) {
				err = errors.New("no signer")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeyFixture(t)
			k.create("k")
			k.forward()
			ctx, cancel := context.WithTimeout(t.Context(), failsAfter)
			var calling sync.WaitGroup
			defer calling.Wait()
			defer cancel()
			opening, goOn := make(chan struct{}), make(chan struct{})
			k.before = func(ctx context.Context) error {
				select {
				case opening <- struct{}{}:
				case <-goOn: // the second key of a call, or the second try
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
				select {
				case <-goOn:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			for range calls {
				calling.Go(func() {
					if err := call(ctx, k); err != nil {
						t.Error(err)
					}
				})
			}
			for n := range calls {
				select {
				case <-opening:
				case <-ctx.Done():
					t.Fatalf("only %d of %d calls got to open their key", n, calls)
				}
			}
			if err := k.Store.Write(ctx, func(tx *store.Tx) error { return nil }); err != nil {
				t.Errorf("nobody can write: %v", err)
			}
			close(goOn)
			calling.Wait()
		})
	}
}

// one gives what went wrong with a sync of one item.
func one(done api.Synced[api.Key], err error) error {
	if err == nil && done.SyncedCount != 1 {
		return errors.New(done.Errors[0].Message)
	}
	return err
}

func TestASyncOfKeysBeginsAgainWhenARowChangedWhileItsKeyWasOpened(t *testing.T) {
	t.Parallel()
	k := newKeyFixture(t)
	k.create("k")
	k.create("other")
	var tries atomic.Int32
	k.before = func(ctx context.Context) error {
		if tries.Add(1) == 1 {
			k.change(ctx, "k", "changed key")
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), failsAfter)
	defer cancel()
	done, err := k.sync(ctx, keyInput("other", "", "new passphrase"), keyInput("k", "", "new passphrase"))
	if err != nil || done.Updated != 2 || len(done.Errors) != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	for i, private := range []string{"stored key", "changed key"} {
		if got, want := done.Items[i].Fingerprint, fingerprint(t, private, "new passphrase"); got == nil || *got != want {
			t.Errorf("item %d has the fingerprint of another key", i)
		}
	}
	// "stored key", which both rows have at first, and "changed key".
	if n := tries.Load(); n != 2 {
		t.Errorf("%d keys were opened, not each once", n)
	}
}

func TestASyncOfKeysThatAreChangedAgainAndAgainIsAConflict(t *testing.T) {
	t.Parallel()
	k := newKeyFixture(t)
	k.create("k")
	var tries atomic.Int32
	k.before = func(ctx context.Context) error {
		k.change(ctx, "k", "key "+string('a'+tries.Add(1)))
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), failsAfter)
	defer cancel()
	_, err := k.sync(ctx, keyInput("new", "", ""), keyInput("k", "", "new passphrase"))
	if told, ok := errors.AsType[*api.Error](err); !ok || told.Code != api.CodeConflict || told.Hint == "" {
		t.Errorf("%v", err)
	}
	if n := tries.Load(); n != keySyncTries {
		t.Errorf("%d tries", n)
	}
}

// change gives a stored key another private key, as somebody else would.
func (k *keyFixture) change(ctx context.Context, localID, private string) {
	err := k.Store.Write(ctx, func(tx *store.Tx) error {
		row, err := tx.KeyByLocalID(ctx, access.Personal("ada"), localID)
		if err != nil {
			return err
		}
		if err := k.put(&row.PrivateKey, api.Some(api.Secret(private)), keySecret(&row, privateKeyColumn)); err != nil {
			return err
		}
		return tx.UpdateKey(ctx, row)
	})
	if err != nil {
		k.t.Error(err)
	}
}

func TestASyncOpensNoKeyThatItDoesNotChange(t *testing.T) {
	t.Parallel()
	k := newKeyFixture(t)
	k.create("k")
	k.before = func(context.Context) error { return errors.New("opened") }
	if err := one(k.sync(t.Context(), keyInput("k", "stored key", "stored passphrase"))); err != nil {
		t.Error(err)
	}
}
