package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/store"
)

// StartForward makes a forward run and answers when it does.
func (a *App) StartForward(ctx context.Context, who access.Actor, id string) (api.Forward, error) {
	f, err := forwards.load(ctx, &a.Store.Reader, who, id, access.Operate)
	if err != nil {
		return api.Forward{}, err
	}
	var tried store.Forward
	load := func(ctx context.Context) (spec forward.Spec, err error) {
		// What ends a try, a stop or its time, is the supervisor's to tell.
		ctx = context.WithoutCancel(ctx)
		if tried, spec, err = a.loadSpec(ctx, f.ID, signers{}); err != nil {
			return spec, err
		}
		// Asked before any connection is made, and again when it runs.
		return spec, a.mayRun(ctx, &a.Store.Reader, &tried)
	}
	commit := func(st forward.Status) error { return a.saveStarted(ctx, tried, st) }
	// The try goes on without the caller, and the audit tells of its end.
	if err := a.Tunnels.Start(context.WithoutCancel(ctx), f.ID, load, commit); err != nil {
		return api.Forward{}, err
	}
	return a.Forward(ctx, who, f.ID)
}

// loadSpec reads a forward as it is now and builds its spec. Its keys are opened
// after the view was given back.
func (a *App) loadSpec(ctx context.Context, id string, parsed signers) (f store.Forward, spec forward.Spec, err error) {
	var found outline
	err = a.Store.Read(ctx, func(r *store.Reader) error {
		if f, err = r.Forward(ctx, id); err != nil {
			return gone(err, id)
		}
		found, err = outlineOf(ctx, newRows(r), f)
		return err
	})
	if err != nil {
		return f, spec, err
	}
	spec, err = (&specs{app: a, parsed: parsed}).spec(ctx, found)
	return f, spec, err
}

// gone translates a row that was deleted while something was done with it.
func gone(err error, id string) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	told := forwards.notFound(id)
	told.Err = err
	return told
}

// saveStarted records a start. The caller may have gone, the start has not. A
// sync or a deletion of the server may have come between the loading of the
// row and its start: the first is caught up with, the second undoes the start.
func (a *App) saveStarted(ctx context.Context, tried store.Forward, st forward.Status) error {
	ctx = context.WithoutCancel(ctx)
	var current store.Forward
	err := a.change(ctx, func(tx *store.Tx) (err error) {
		if current, err = tx.Forward(ctx, tried.ID); err != nil {
			return gone(err, tried.ID)
		}
		if tried.ServerID != "" && current.ServerRef != "" && current.ServerID == "" {
			_, lacks := routeOf(&current, nil, nil)
			return lacks
		}
		if err := mayOwn(ctx, &tx.Reader, &current); err != nil {
			return err
		}
		if err := a.mayRun(ctx, &tx.Reader, &current); err != nil {
			return err
		}
		return tx.MarkStarted(ctx, tried.ID, store.Now(), systemPort(&current, st))
	})
	if err == nil && !current.UpdatedAt.Equal(tried.UpdatedAt) {
		a.refresh([]store.Forward{current})
	}
	return err
}

// mayOwn refuses to run the personal forward of somebody who was disabled since
// he asked for it.
func mayOwn(ctx context.Context, r *store.Reader, f *store.Forward) error {
	if f.Namespace != "" {
		return nil
	}
	owner, err := r.UserByID(ctx, f.UserID)
	if err == nil && owner.Disabled {
		return &api.Error{Code: api.CodeForbidden, Message: "The account is disabled"}
	}
	return err
}

// systemPort is the port to remember where the system picked it, else 0.
func systemPort(f *store.Forward, st forward.Status) int {
	if endsOf(f).listenPort != 0 {
		return 0
	}
	return st.BoundPort
}

// StopForward stops a forward: what it should be is written first, so that a
// crash in between does not bring it back.
func (a *App) StopForward(ctx context.Context, who access.Actor, id string) (api.Forward, error) {
	f, err := forwards.load(ctx, &a.Store.Reader, who, id, access.Operate)
	if err != nil {
		return api.Forward{}, err
	}
	err = a.Tunnels.Overtake(ctx, f.ID, func(t *forward.Tunnel) error {
		ctx := context.WithoutCancel(ctx)
		if err := a.change(ctx, func(tx *store.Tx) error { return gone(tx.MarkStopped(ctx, f.ID), f.ID) }); err != nil {
			return err
		}
		t.Stop()
		return nil
	})
	if err != nil {
		return api.Forward{}, err
	}
	return a.Forward(ctx, who, f.ID)
}

// DeleteForward stops and removes a forward. While connections are open through
// it that needs force.
func (a *App) DeleteForward(ctx context.Context, who access.Actor, id string, force bool) error {
	f, err := forwards.load(ctx, &a.Store.Reader, who, id, access.Edit)
	if err != nil {
		return err
	}
	inUse := func() error {
		open := a.Tunnels.Status(f.ID).Connections
		if open == 0 || force {
			return nil
		}
		return &api.Error{
			Code:    api.CodeConflict,
			Message: fmt.Sprintf("Port forward %q has open connections: %d", f.Name, open),
			Hint:    "stop it first, or delete it with ?force=true",
		}
	}
	if err := inUse(); err != nil { // asked first, so that a refused deletion disturbs nothing
		return err
	}
	return a.Tunnels.Overtake(ctx, f.ID, func(t *forward.Tunnel) error {
		if err := inUse(); err != nil {
			return err
		}
		// The row goes first: when that fails nothing has happened.
		ctx := context.WithoutCancel(ctx)
		if err := a.change(ctx, func(tx *store.Tx) error { return gone(tx.DeleteForward(ctx, f.ID), f.ID) }); err != nil {
			return err
		}
		t.Forget()
		return nil
	})
}

// UpdateForward changes a forward. One that is active moves to its new values
// before they are saved; any other that shall run tries them after.
func (a *App) UpdateForward(ctx context.Context, who access.Actor, at Path, in api.ForwardInput) (api.Forward, error) {
	f, err := forwards.load(ctx, &a.Store.Reader, who, at.ID, access.Edit)
	if err != nil {
		return api.Forward{}, err
	}
	if err := at.check(f.ID); err != nil {
		return api.Forward{}, err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTimeout)
	defer cancel()
	err = a.Tunnels.Do(limited, f.ID, func(t *forward.Tunnel) error {
		u := update{app: a, who: who, id: f.ID, in: in, tunnel: t, limited: limited}
		return u.run(context.WithoutCancel(ctx))
	})
	if err != nil {
		return api.Forward{}, err
	}
	return a.Forward(ctx, who, f.ID)
}

// update is one change of one forward, with no other operation on it under way.
// (A sync writes rows all the same; what it changed is caught up with later.)
type update struct {
	app    *App
	who    access.Actor
	id     string
	in     api.ForwardInput
	tunnel *forward.Tunnel

	limited context.Context // for what may wait: an edit is answered within 8 s
}

// updateTimeout bounds how long an edit waits for others and for SSH servers.
const updateTimeout = 7500 * time.Millisecond

func (u *update) run(ctx context.Context) error {
	if u.tunnel.Status().State == forward.Active {
		return u.move(ctx)
	}
	if err := u.save(ctx); err != nil {
		return err
	}
	if u.tunnel.Wanted() {
		return u.app.retry(ctx, u.tunnel, u.id)
	}
	return nil
}

// move takes an active tunnel to the new values and saves them then.
func (u *update) move(ctx context.Context) error {
	old, next, err := u.plan(ctx)
	if err != nil {
		return err
	}
	if err := u.tunnel.Replace(u.limited, next); err != nil {
		return err
	}
	saveErr := u.save(ctx)
	if saveErr == nil {
		return nil
	}
	if err := u.tunnel.Replace(ctx, old); err != nil {
		return errors.Join(saveErr, fmt.Errorf("take forward %s back to what is saved: %w", u.id, err))
	}
	return saveErr
}

// plan gives the spec that is saved and the one that the change leads to. Keys
// are opened after the view was given back.
func (u *update) plan(ctx context.Context) (old, next forward.Spec, err error) {
	var saved, wanted outline
	var lacks error // of what is saved
	err = u.app.Store.Read(ctx, func(r *store.Reader) error {
		f, err := r.Forward(ctx, u.id)
		if err != nil {
			return gone(err, u.id)
		}
		rows := newRows(r)
		saved, lacks = outlineOf(ctx, rows, f)
		if err := u.app.applyForward(ctx, r, u.who, &f, u.in); err != nil {
			return err
		}
		wanted, err = outlineOf(ctx, rows, f)
		return err
	})
	if err != nil {
		return old, next, err
	}
	build := &specs{app: u.app, parsed: signers{}}
	if lacks == nil {
		old, lacks = build.spec(ctx, saved)
	}
	if lacks != nil {
		// It runs, so its rows were once enough. There is no way back now
		// if the change cannot be saved; the change itself may mend it.
		u.app.Logger.WarnContext(ctx, "an active forward could not be started again", "forward", u.id, "error", lacks)
	}
	next, err = build.spec(ctx, wanted)
	return old, next, err
}

// save writes the change.
func (u *update) save(ctx context.Context) error {
	return u.app.change(ctx, func(tx *store.Tx) error {
		f, err := tx.Forward(ctx, u.id)
		if err != nil {
			return gone(err, u.id)
		}
		before := f
		if err := u.app.applyForward(ctx, &tx.Reader, u.who, &f, u.in); err != nil {
			return err
		}
		if changed(before, f) {
			audit.Of(ctx).Says(audit.Changes(before, f))
			f.UpdatedAt = store.Now()
			if err := tx.UpdateForward(ctx, f); err != nil {
				return err
			}
		}
		if port := systemPort(&f, u.tunnel.Status()); port != 0 && port != f.LastPort {
			return tx.SetLastPort(ctx, u.id, port)
		}
		return nil
	})
}

// retry makes a wanted tunnel run with what is saved, in the background.
func (a *App) retry(ctx context.Context, t *forward.Tunnel, id string) error {
	_, spec, err := a.loadSpec(ctx, id, signers{})
	if err == nil {
		t.Restart(spec, time.Now())
		return nil
	}
	var told *api.Error
	if !errors.As(err, &told) {
		return err
	}
	t.Fail(told)
	return nil
}

// stopAction is what the audit calls a stop, whatever brought it about.
const stopAction = "stop-port-forward"

// stopWanted marks those of the forwards as stopped that shall run, and tells
// why of each.
func stopWanted(ctx context.Context, tx *store.Tx, list []store.Forward, why string) error {
	for _, f := range list {
		if !f.Wanted {
			continue
		}
		if err := tx.MarkStopped(ctx, f.ID); err != nil {
			return err
		}
		err := audit.Of(ctx).Tell(ctx, tx, audit.Object{Action: stopAction, Scope: f.Scope(), ID: f.ID, Name: f.Name, Detail: why})
		if err != nil {
			return err
		}
	}
	return nil
}
