package app

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// SyncItem is one item of a sync: what it asks for, or why it could not be read.
type SyncItem struct {
	Input api.ForwardInput // with Err what could be read of it
	Err   error
}

// SyncForwards creates and updates many forwards of the namespace in one
// transaction. What is wrong with an item is told of that item alone.
func (a *App) SyncForwards(ctx context.Context, who access.Actor, namespace string, items []SyncItem) (api.Synced[api.Forward], error) {
	scope, err := scopeOf(who, namespace, access.Sync)
	if err != nil {
		return api.Synced[api.Forward]{}, err
	}
	s := forwardSync{app: a, who: who, scope: scope, items: items}
	if err := a.write(ctx, func(tx *store.Tx) error { return s.run(ctx, tx) }); err != nil {
		return api.Synced[api.Forward]{}, err
	}
	a.refresh(s.changed)
	return s.answer(ctx)
}

// forwardSync is one sync under way.
type forwardSync struct {
	app   *App
	who   access.Actor
	scope access.Scope
	items []SyncItem
	fresh []store.Row // for each item, in case it has to be created

	saved            []store.Forward // in the order of the items
	changed          []store.Forward // of those
	created, updated int
	errors           []api.SyncError
}

// prepared is an item that can be saved.
type prepared struct {
	row    store.Forward
	exists bool
	same   bool // nothing of it changed
}

// run looks at all items first and writes then: an error of a write ends the
// transaction, so no item may run into one.
func (s *forwardSync) run(ctx context.Context, tx *store.Tx) error {
	// In the order of the items, so that a list has them as if created one by one.
	for range s.items {
		row, err := newRow(s.who, s.scope)
		if err != nil {
			return err
		}
		s.fresh = append(s.fresh, row)
	}
	ready, err := s.prepare(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range ready {
		if p == nil {
			continue
		}
		if err := s.save(ctx, tx, p); err != nil {
			return err
		}
	}
	return nil
}

// answer shows what was saved.
func (s *forwardSync) answer(ctx context.Context) (api.Synced[api.Forward], error) {
	out := api.Synced[api.Forward]{
		Message: "Port forwards synced successfully", SyncedCount: len(s.saved), Created: s.created, Updated: s.updated,
		Errors: append([]api.SyncError{}, s.errors...), Items: []api.Forward{},
	}
	err := s.app.Store.Read(ctx, func(r *store.Reader) error {
		rows := newRows(r)
		if err := rows.preload(ctx, s.scope); err != nil {
			return err
		}
		for i := range s.saved {
			shown, err := s.app.toForward(ctx, rows, &s.saved[i])
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
func (s *forwardSync) prepare(ctx context.Context, tx *store.Tx) ([]*prepared, error) {
	ready := make([]*prepared, len(s.items))
	won := map[string]bool{}
	for i := len(s.items) - 1; i >= 0; i-- {
		item := &s.items[i]
		localID, _ := item.Input.LocalID.Get()
		if item.Err == nil && localID != "" && won[localID] {
			continue
		}
		p, err := s.prepareItem(ctx, tx, item, s.fresh[i])
		var told *api.Error
		switch {
		case errors.As(err, &told):
			s.errors = append(s.errors, api.SyncError{Index: i, LocalID: text(localID), Message: told.Error()})
			continue
		case err != nil:
			return nil, err
		}
		ready[i] = p
		won[localID] = true
	}
	slices.SortFunc(s.errors, func(a, b api.SyncError) int { return cmp.Compare(a.Index, b.Index) })
	return ready, nil
}

func (s *forwardSync) prepareItem(ctx context.Context, tx *store.Tx, item *SyncItem, fresh store.Row) (*prepared, error) {
	if item.Err != nil {
		return nil, item.Err
	}
	p := &prepared{row: store.Forward{Row: fresh}}
	if localID, ok := item.Input.LocalID.Get(); ok {
		row, err := tx.ForwardByLocalID(ctx, s.scope, localID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			p.row, p.exists = row, true
		}
	}
	before := p.row
	if err := s.app.applyForward(ctx, &tx.Reader, s.who, &p.row, item.Input); err != nil {
		return nil, err
	}
	p.same = !changed(before, p.row)
	return p, nil
}

func (s *forwardSync) save(ctx context.Context, tx *store.Tx, p *prepared) (err error) {
	switch {
	case !p.exists:
		s.created++
		err = tx.CreateForward(ctx, p.row)
	case p.same:
		s.updated++
	default:
		s.updated++
		p.row.UpdatedAt = now()
		s.changed = append(s.changed, p.row)
		err = tx.UpdateForward(ctx, p.row)
	}
	s.saved = append(s.saved, p.row)
	return err
}
