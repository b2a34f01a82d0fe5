package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/store"
)

// Keys lists the keys of the namespace, newest first, and tells how many there
// are.
func (a *App) Keys(ctx context.Context, who access.Actor, namespace string, page Page) (shown []api.Key, n int, err error) {
	scope, err := scopeOf(ctx, who, namespace, access.List)
	if err != nil {
		return nil, 0, err
	}
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		if shown, err = listKeys(ctx, r, scope, page); err != nil {
			return err
		}
		n, err = total(page, len(shown), func() (int, error) { return r.CountKeys(ctx, scope) })
		return err
	})
	return shown, n, err
}

func listKeys(ctx context.Context, r *store.Reader, scope access.Scope, page Page) ([]api.Key, error) {
	list, err := r.Keys(ctx, scope, store.Page(page))
	shown := make([]api.Key, len(list))
	for i := range list {
		shown[i] = toKey(&list[i])
	}
	return shown, err
}

// Key reads one key; never its secrets.
func (a *App) Key(ctx context.Context, who access.Actor, id string) (api.Key, error) {
	k, err := keys.load(ctx, &a.Store.Reader, who, id, access.Read)
	if err != nil {
		return api.Key{}, err
	}
	return toKey(&k), nil
}

// CreateKey adds a key to the namespace.
func (a *App) CreateKey(ctx context.Context, who access.Actor, namespace string, in api.KeyInput) (api.Key, error) {
	scope, err := scopeOf(ctx, who, namespace, access.Create)
	if err != nil {
		return api.Key{}, err
	}
	k := store.Key{Row: newRow(who, scope)}
	// Outside the transaction: opening an encrypted key takes long.
	if err := a.applyKey(ctx, &k, in, a.parseKey); err != nil {
		return api.Key{}, err
	}
	err = a.change(ctx, func(tx *store.Tx) error {
		if err := keys.free(ctx, &tx.Reader, &k.Row); err != nil {
			return err
		}
		audit.Of(ctx).About(scope, k.ID, k.Name)
		return tx.CreateKey(ctx, k)
	})
	if err != nil {
		return api.Key{}, err
	}
	return toKey(&k), nil
}

// UpdateKey changes a key. What runs with it and has to change restarts in the
// background.
func (a *App) UpdateKey(ctx context.Context, who access.Actor, at Path, in api.KeyInput) (api.Key, error) {
	for {
		before, err := keys.load(ctx, &a.Store.Reader, who, at.ID, access.Edit)
		if err != nil {
			return api.Key{}, err
		}
		if err := at.check(before.ID); err != nil {
			return api.Key{}, err
		}
		k := before
		if err := a.applyKey(ctx, &k, in, a.parseKey); err != nil { // outside the transaction, as in CreateKey
			return api.Key{}, err
		}
		users, err := a.saveKey(ctx, who, before, &k)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return api.Key{}, err
		}
		a.refresh(users)
		return toKey(&k), nil
	}
}

// errMoved is a row that somebody else changed between its reading and writing.
var errMoved = errors.New("the row changed meanwhile")

// saveKey writes a changed key if it is still as it was before, and gives the
// forwards that use it.
func (a *App) saveKey(ctx context.Context, who access.Actor, before store.Key, k *store.Key) (users []store.Forward, err error) {
	err = a.change(ctx, func(tx *store.Tx) error {
		current, err := keys.load(ctx, &tx.Reader, who, before.ID, access.Edit)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(current, before) {
			return errMoved
		}
		if err := keys.free(ctx, &tx.Reader, &k.Row); err != nil {
			return err
		}
		if !reflect.DeepEqual(before, *k) {
			audit.Of(ctx).Says(audit.Changes(before, *k))
			k.UpdatedAt = store.Now()
			if err := tx.UpdateKey(ctx, *k); err != nil {
				return err
			}
		}
		users, err = tx.ForwardsUsingKey(ctx, k.ID)
		return err
	})
	return users, err
}

// applyKey writes what a request gives into the row, and has the private key
// parsed where that may have changed.
func (a *App) applyKey(ctx context.Context, k *store.Key, in api.KeyInput, parse keyParser) error {
	passphrase := passphraseOf(in)
	before := *k
	k.LocalID = in.LocalID.Or(k.LocalID)
	k.Name = in.Name.Or(k.Name)
	k.Type = in.Type.Or(k.Type)
	k.Description = in.Description.Or(k.Description)
	if err := a.put(&k.PrivateKey, in.PrivateKey, keySecret(k, privateKeyColumn)); err != nil {
		return err
	}
	if err := a.put(&k.Passphrase, passphrase, keySecret(k, passphraseColumn)); err != nil {
		return err
	}
	if len(k.PrivateKey) == 0 {
		k.PublicKey, k.Fingerprint = "", ""
		if k.Type != api.KeyTypePassword {
			return api.Invalid("privateKey should not be empty")
		}
		return nil
	}
	// A row whose sealed values did not change is not opened: it may not be
	// readable, and can be renamed all the same.
	if reflect.DeepEqual(before.PrivateKey, k.PrivateKey) && reflect.DeepEqual(before.Passphrase, k.Passphrase) {
		return nil
	}
	return a.readPublicKey(ctx, k, parse)
}

// passphraseOf is the passphrase by either of its names.
func passphraseOf(in api.KeyInput) api.Opt[api.Secret] {
	if value, _ := in.Passphrase.Get(); value == "" && in.Password.Given() {
		return in.Password
	}
	return in.Passphrase
}

// parsedKeys is what private keys were parsed to, by them and their passphrases.
type parsedKeys map[[2]string]parsedKey

type parsedKey struct {
	signer ssh.Signer
	err    error
}

// learn parses what the items of a sync and the rows that they change, as those
// are now, need parsed. What is wrong with an item is not told here.
func (p parsedKeys) learn(ctx context.Context, a *App, scope access.Scope, items []SyncItem[api.KeyInput]) error {
	rows, err := a.keysToSync(ctx, scope, items)
	if err != nil {
		return err
	}
	parse := func(ctx context.Context, private, passphrase redact.Secret) (ssh.Signer, error) {
		at := [2]string{private.Reveal(), passphrase.Reveal()}
		known, ok := p[at]
		if !ok {
			known.signer, known.err = a.parseKey(ctx, private, passphrase)
			p[at] = known
		}
		return known.signer, known.err
	}
	for i := range items {
		if items[i].Err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := a.applyKey(ctx, &rows[i], items[i].Input, parse)
		if _, told := errors.AsType[*api.Error](err); err != nil && !told {
			return err
		}
	}
	return nil
}

// keysToSync gives for each item the row that it changes, an empty one where
// there is none.
func (a *App) keysToSync(ctx context.Context, scope access.Scope, items []SyncItem[api.KeyInput]) ([]store.Key, error) {
	rows := make([]store.Key, len(items))
	err := a.Store.Read(ctx, func(r *store.Reader) (err error) {
		for i := range items {
			localID, ok := items[i].Input.LocalID.Get()
			if !ok || items[i].Err != nil {
				continue
			}
			if rows[i], err = r.KeyByLocalID(ctx, scope, localID); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return rows, err
}

// known gives what was parsed, and errMoved for what was not: it is for use
// inside a transaction.
func (p parsedKeys) known(_ context.Context, private, passphrase redact.Secret) (ssh.Signer, error) {
	known, ok := p[[2]string{private.Reveal(), passphrase.Reveal()}]
	if !ok {
		return nil, errMoved
	}
	return known.signer, known.err
}

func (a *App) readPublicKey(ctx context.Context, k *store.Key, parse keyParser) error {
	private, err := a.open(k.PrivateKey, keySecret(k, privateKeyColumn))
	if err != nil {
		return err
	}
	passphrase, err := a.open(k.Passphrase, keySecret(k, passphraseColumn))
	if err != nil {
		return err
	}
	signer, err := parse(ctx, private, passphrase)
	if err != nil {
		return err
	}
	k.PublicKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	k.Fingerprint = ssh.FingerprintSHA256(signer.PublicKey())
	return nil
}

// DeleteKey removes a key that no wanted forward uses.
func (a *App) DeleteKey(ctx context.Context, who access.Actor, id string) error {
	return a.change(ctx, func(tx *store.Tx) error {
		k, err := keys.load(ctx, &tx.Reader, who, id, access.Edit)
		if err != nil {
			return err
		}
		users, err := loggingInWith(ctx, tx, k.ID)
		if err != nil {
			return err
		}
		if err := unused(fmt.Sprintf("Key %q", k.Name), users); err != nil {
			return err
		}
		return tx.DeleteKey(ctx, k.ID)
	})
}

// loggingInWith lists the forwards whose server logs in with a key. A server
// may name a key and log in with its password all the same.
func loggingInWith(ctx context.Context, tx *store.Tx, keyID string) ([]store.Forward, error) {
	named, err := tx.ForwardsUsingKey(ctx, keyID)
	if err != nil {
		return nil, err
	}
	rows := newRows(&tx.Reader)
	var users []store.Forward
	for _, f := range named {
		server, _, err := rows.of(ctx, &f)
		if err != nil {
			return nil, err
		}
		if server != nil && server.AuthType != api.AuthPassword {
			users = append(users, f)
		}
	}
	return users, nil
}

func toKey(k *store.Key) api.Key {
	return api.Key{
		ID: k.ID, LocalID: text(k.LocalID), Name: k.Name, Type: k.Type,
		PublicKey: text(k.PublicKey), Fingerprint: text(k.Fingerprint),
		HasPrivateKey: len(k.PrivateKey) > 0, HasPassphrase: len(k.Passphrase) > 0, HasPassword: len(k.Passphrase) > 0,
		Description: text(k.Description), IsActive: true, Namespace: text(k.Namespace), DataType: dataType(&k.Row),
		CreatedAt: api.Time{Time: k.CreatedAt}, UpdatedAt: api.Time{Time: k.UpdatedAt},
	}
}
