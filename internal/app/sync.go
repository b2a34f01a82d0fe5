package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/store"
)

// SyncItem is one item of a sync: what it asks for, or why it could not be read.
type SyncItem[In any] struct {
	Input In // with Err what could be read of it
	Err   error
}

// syncing is one sync of rows R under way: they are asked for as In and shown
// as Out.
type syncing[R, In, Out any] struct {
	app   *App
	who   access.Actor
	scope access.Scope
	items []SyncItem[In]

	noun    noun[R]
	plural  string // for people
	localID func(*In) api.Opt[string]
	apply   func(ctx context.Context, r *store.Reader, row *R, in In) error
	create  func(tx *store.Tx, ctx context.Context, row R) error
	update  func(tx *store.Tx, ctx context.Context, row R) error
	users   func(ctx context.Context, tx *store.Tx, row *R) ([]store.Forward, error) // forwards that a change may concern
	show    func(ctx context.Context, rows *rows, row *R) (Out, error)
	room    func(ctx context.Context, r *store.Reader) (left int, full *api.Error, err error) // how many may be created; nil: no limit

	fresh            []store.Row // for each item, in case it has to be created
	saved            []R         // in the order of the items
	concerned        []store.Forward
	created, updated int
	errors           []api.SyncError
}

// synced is an item that can be saved.
type synced[R any] struct {
	row    R
	before R // where it exists
	exists bool
	same   bool // nothing of it changed
}

// SyncForwards creates and updates many forwards of the namespace in one
// transaction. What is wrong with an item is told of that item alone.
func (a *App) SyncForwards(ctx context.Context, who access.Actor, namespace string, items []SyncItem[api.ForwardInput]) (api.Synced[api.Forward], error) {
	return (&syncing[store.Forward, api.ForwardInput, api.Forward]{
		app: a, who: who, items: items, noun: forwards, plural: "Port forwards",
		localID: func(in *api.ForwardInput) api.Opt[string] { return in.LocalID },
		apply: func(ctx context.Context, r *store.Reader, f *store.Forward, in api.ForwardInput) error {
			return a.applyForward(ctx, r, who, f, in)
		},
		create: (*store.Tx).CreateForward, update: (*store.Tx).UpdateForward,
		users: func(_ context.Context, _ *store.Tx, f *store.Forward) ([]store.Forward, error) {
			return []store.Forward{*f}, nil
		},
		show: a.toForward,
		room: func(ctx context.Context, r *store.Reader) (int, *api.Error, error) {
			return a.forwardsLeft(ctx, r, who)
		},
	}).run(ctx, namespace)
}

// SyncServers is SyncForwards for servers.
func (a *App) SyncServers(ctx context.Context, who access.Actor, namespace string, items []SyncItem[api.ServerInput]) (api.Synced[api.Server], error) {
	return (&syncing[store.Server, api.ServerInput, api.Server]{
		app: a, who: who, items: items, noun: servers, plural: "Servers",
		localID: func(in *api.ServerInput) api.Opt[string] { return in.LocalID },
		apply: func(ctx context.Context, r *store.Reader, s *store.Server, in api.ServerInput) error {
			return a.applyServer(ctx, r, who, s, in)
		},
		create: (*store.Tx).CreateServer, update: (*store.Tx).UpdateServer,
		users: func(ctx context.Context, tx *store.Tx, s *store.Server) ([]store.Forward, error) {
			return tx.ForwardsUsingServer(ctx, s.ID)
		},
		show: toServer,
	}).run(ctx, namespace)
}

// SyncKeys is SyncForwards for keys. Private keys are parsed before the
// transaction: opening an encrypted one takes long. When rows changed meanwhile,
// so that others need to be parsed, it begins again.
func (a *App) SyncKeys(ctx context.Context, who access.Actor, namespace string, items []SyncItem[api.KeyInput]) (api.Synced[api.Key], error) {
	scope, err := scopeOf(ctx, who, namespace, access.Sync)
	if err != nil {
		return api.Synced[api.Key]{}, err
	}
	parsed := parsedKeys{}
	for range keySyncTries {
		if err := parsed.learn(ctx, a, scope, items); err != nil {
			return api.Synced[api.Key]{}, err
		}
		done, err := a.syncKeys(ctx, who, namespace, items, parsed)
		if !errors.Is(err, errMoved) {
			return done, err
		}
	}
	return api.Synced[api.Key]{}, &api.Error{
		Code: api.CodeConflict, Message: "The keys were changed again and again while this sync was about to change them", Hint: "sync them again", Err: errMoved,
	}
}

// keySyncTries bounds how often a sync of keys begins: to meet a change even
// twice takes somebody who makes many.
const keySyncTries = 4

// syncKeys is SyncKeys with the private keys parsed; errMoved when one is missing.
func (a *App) syncKeys(ctx context.Context, who access.Actor, namespace string, items []SyncItem[api.KeyInput], parsed parsedKeys) (api.Synced[api.Key], error) {
	return (&syncing[store.Key, api.KeyInput, api.Key]{
		app: a, who: who, items: items, noun: keys, plural: "Keys",
		localID: func(in *api.KeyInput) api.Opt[string] { return in.LocalID },
		apply: func(ctx context.Context, r *store.Reader, k *store.Key, in api.KeyInput) error {
			if err := a.applyKey(ctx, k, in, parsed.known); err != nil {
				return err
			}
			return keys.free(ctx, r, &k.Row)
		},
		create: (*store.Tx).CreateKey, update: (*store.Tx).UpdateKey,
		users: func(ctx context.Context, tx *store.Tx, k *store.Key) ([]store.Forward, error) {
			return tx.ForwardsUsingKey(ctx, k.ID)
		},
		show: func(_ context.Context, _ *rows, k *store.Key) (api.Key, error) { return toKey(k), nil },
	}).run(ctx, namespace)
}

func (s *syncing[R, In, Out]) run(ctx context.Context, namespace string) (out api.Synced[Out], err error) {
	if s.scope, err = scopeOf(ctx, s.who, namespace, access.Sync); err != nil {
		return out, err
	}
	// In the order of the items, so that a list has them as if created one by one.
	for range s.items {
		s.fresh = append(s.fresh, newRow(s.who, s.scope))
	}
	if err := s.app.change(ctx, func(tx *store.Tx) error { return s.save(ctx, tx) }); err != nil {
		return out, err
	}
	s.app.refresh(s.concerned)
	return s.answer(ctx)
}

// save looks at all items first and writes then: an error of a write ends the
// transaction, so no item may run into one.
func (s *syncing[R, In, Out]) save(ctx context.Context, tx *store.Tx) error {
	ready, err := s.prepare(ctx, tx)
	if err != nil {
		return err
	}
	if err := s.refuseSurplus(ctx, tx, ready); err != nil {
		return err
	}
	for _, item := range ready {
		if item == nil {
			continue
		}
		if err := s.saveItem(ctx, tx, item); err != nil {
			return err
		}
	}
	audit.Of(ctx).About(s.scope, "", fmt.Sprintf("%d rows", len(s.saved)))
	return nil
}

// answer shows what was saved.
func (s *syncing[R, In, Out]) answer(ctx context.Context) (api.Synced[Out], error) {
	slices.SortFunc(s.errors, func(a, b api.SyncError) int { return cmp.Compare(a.Index, b.Index) })
	out := api.Synced[Out]{
		Message: s.plural + " synced successfully", SyncedCount: len(s.saved), Created: s.created, Updated: s.updated,
		Errors: append([]api.SyncError{}, s.errors...), Items: []Out{},
	}
	err := s.app.Store.Read(ctx, func(r *store.Reader) error {
		rows := newRows(r)
		if err := rows.preload(ctx, s.scope); err != nil {
			return err
		}
		for i := range s.saved {
			shown, err := s.show(ctx, rows, &s.saved[i])
			if err != nil {
				return err
			}
			out.Items = append(out.Items, shown)
		}
		return nil
	})
	return out, err
}

// prepare validates every item, and gives by index those to be saved. It goes
// backwards: of several items with one localId the last good one wins.
func (s *syncing[R, In, Out]) prepare(ctx context.Context, tx *store.Tx) ([]*synced[R], error) {
	ready := make([]*synced[R], len(s.items))
	won := map[string]bool{}
	for i := len(s.items) - 1; i >= 0; i-- {
		item := &s.items[i]
		localID, _ := s.localID(&item.Input).Get()
		if item.Err == nil && localID != "" && won[localID] {
			continue
		}
		p, err := s.prepareItem(ctx, tx, item, s.fresh[i])
		if told, ok := errors.AsType[*api.Error](err); ok {
			s.refuse(i, told)
			continue
		}
		if err != nil {
			return nil, err
		}
		ready[i] = p
		won[localID] = true
	}
	return ready, nil
}

// refuse tells what is wrong with an item.
func (s *syncing[R, In, Out]) refuse(index int, why *api.Error) {
	localID, _ := s.localID(&s.items[index].Input).Get()
	s.errors = append(s.errors, api.SyncError{Index: index, LocalID: text(localID), Message: why.Error()})
}

func (s *syncing[R, In, Out]) prepareItem(ctx context.Context, tx *store.Tx, item *SyncItem[In], fresh store.Row) (*synced[R], error) {
	if item.Err != nil {
		return nil, item.Err
	}
	p := new(synced[R])
	*s.noun.row(&p.row) = fresh
	if localID, ok := s.localID(&item.Input).Get(); ok {
		row, err := s.noun.byLocalID(&tx.Reader, ctx, s.scope, localID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			p.row, p.exists = row, true
		}
	}
	p.before = p.row
	if err := s.apply(ctx, &tx.Reader, &p.row, item.Input); err != nil {
		return nil, err
	}
	p.same = reflect.DeepEqual(p.before, p.row)
	return p, nil
}

// refuseSurplus refuses the new ones that a limit has no room for.
func (s *syncing[R, In, Out]) refuseSurplus(ctx context.Context, tx *store.Tx, ready []*synced[R]) error {
	if s.room == nil {
		return nil
	}
	left, full, err := s.room(ctx, &tx.Reader)
	if err != nil || full == nil {
		return err
	}
	for i, p := range ready {
		if p == nil || p.exists {
			continue
		}
		if left--; left < 0 {
			s.refuse(i, full)
			ready[i] = nil
		}
	}
	return nil
}

func (s *syncing[R, In, Out]) saveItem(ctx context.Context, tx *store.Tx, p *synced[R]) (err error) {
	switch {
	case !p.exists:
		s.created++
		if err = s.create(tx, ctx, p.row); err == nil {
			err = s.tell(ctx, tx, &p.row, "created")
		}
	case p.same:
		s.updated++
	default:
		s.updated++
		s.noun.row(&p.row).UpdatedAt = store.Now()
		if err = s.update(tx, ctx, p.row); err == nil {
			var users []store.Forward
			users, err = s.users(ctx, tx, &p.row)
			s.concerned = append(s.concerned, users...)
		}
		if err == nil {
			err = s.tell(ctx, tx, &p.row, audit.Changes(p.before, p.row))
		}
	}
	s.saved = append(s.saved, p.row)
	return err
}

// tell adds an entry about one row to the audit.
func (s *syncing[R, In, Out]) tell(ctx context.Context, tx *store.Tx, row *R, detail string) error {
	return audit.Of(ctx).Tell(ctx, tx, audit.Object{Scope: s.scope, ID: s.noun.row(row).ID, Name: s.noun.label(row), Detail: detail})
}
