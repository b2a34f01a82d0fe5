package app

import (
	"context"
	"errors"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/store"
)

// Restore makes everything run that was wanted when the last process ended, in
// the background; call it once, while requests may already come. Its error is
// that rows could not be read.
func (a *App) Restore(ctx context.Context) error {
	wanted, err := a.Store.WantedForwards(ctx)
	if err != nil {
		return err
	}
	parsed := signers{}
	for _, f := range wanted {
		if err := a.restore(ctx, f.ID, parsed); err != nil {
			return err
		}
	}
	return nil
}

// restore makes one forward run, unless somebody was faster.
func (a *App) restore(ctx context.Context, id string, parsed signers) error {
	return a.Tunnels.Do(ctx, id, func(t *forward.Tunnel) error {
		f, spec, err := a.loadSpec(ctx, id, parsed)
		switch {
		case f.ID != "" && !f.Wanted, t.Wanted(), errors.Is(err, store.ErrNotFound), ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			t.Fail(a.toldFrom(ctx, id, err))
			return nil
		}
		t.Restart(spec, time.Time{})
		return nil
	})
}

// refresh makes those of the forwards that run, or shall, take over what their
// rows say now. It does not wait for that: an operation that is under way on a
// forward comes first. A tunnel whose effective values are the same goes on.
func (a *App) refresh(list []store.Forward) {
	edited := time.Now() // one edit, however many tunnels it is for
	for _, f := range list {
		if f.Wanted || a.Tunnels.Status(f.ID).State != forward.Inactive {
			a.work.Go(func() { a.refreshOne(a.running, f.ID, edited) })
		}
	}
}

func (a *App) refreshOne(ctx context.Context, id string, edited time.Time) {
	err := a.Tunnels.Do(ctx, id, func(t *forward.Tunnel) error {
		if !t.Wanted() {
			return nil
		}
		_, spec, err := a.loadSpec(ctx, id, signers{})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			t.Fail(a.toldFrom(ctx, id, err))
			return nil
		}
		t.Restart(spec, edited)
		return nil
	})
	var told *api.Error
	if errors.As(err, &told) && told.Code == api.CodeStopped {
		return // by a stop or a deletion, which has the last word
	}
	if err != nil && ctx.Err() == nil {
		a.Logger.ErrorContext(ctx, "forward not refreshed", "forward", id, "error", err)
	}
}

// refreshAddress refreshes the forwards of a scope that dial this address,
// after what is known of its host key changed.
func (a *App) refreshAddress(ctx context.Context, scope access.Scope, address string) error {
	var dial []store.Forward
	err := a.Store.Read(ctx, func(r *store.Reader) error {
		list, err := r.Forwards(ctx, scope, store.Page{})
		if err != nil {
			return err
		}
		for _, f := range list {
			if manual, ok := manualAddress(&f); ok && manual == address {
				dial = append(dial, f)
			}
		}
		servers, err := r.Servers(ctx, scope, store.Page{})
		if err != nil {
			return err
		}
		for _, s := range servers {
			if addressOf(&s) != address {
				continue
			}
			users, err := r.ForwardsUsingServer(ctx, s.ID)
			if err != nil {
				return err
			}
			dial = append(dial, users...)
		}
		return nil
	})
	a.refresh(dial)
	return err
}

// toldFrom is the error that a failed forward shows. What is not for people is
// logged here, since nobody else will.
func (a *App) toldFrom(ctx context.Context, id string, err error) *api.Error {
	var told *api.Error
	if errors.As(err, &told) {
		return told
	}
	a.Logger.ErrorContext(ctx, "forward not started", "forward", id, "error", err)
	return &api.Error{Code: api.CodeInternal, Message: "internal error", Err: err}
}
