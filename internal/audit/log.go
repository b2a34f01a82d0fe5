package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/store"
)

// Log saves entries. It is safe for concurrent use; close it when done.
type Log struct {
	store   *store.Store
	logger  *slog.Logger
	refused refusals
	running context.Context // ends with Close
	stop    context.CancelFunc
	work    sync.WaitGroup // entries that come later
}

// NewLog makes a Log of a store. What cannot be saved is told to the logger.
func NewLog(s *store.Store, logger *slog.Logger) *Log {
	l := &Log{store: s, logger: logger}
	l.running, l.stop = context.WithCancel(context.Background())
	return l
}

// Close saves what was to be told later, and waits for it. Call it before the
// store ends.
func (l *Log) Close() {
	l.stop()
	l.work.Wait()
}

// Change is a transaction that does what the act of a context is, with the entry
// about it: both are saved, or neither.
func (l *Log) Change(ctx context.Context, fn func(*store.Tx) error) error {
	act := Of(ctx)
	err := l.store.Write(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		e, ok := act.entry(api.ResultOK)
		if !ok {
			return nil
		}
		return tx.AppendAudit(ctx, e)
	})
	if err == nil {
		act.wasSaved()
	}
	return err
}

// Record tells the end of the act of a context: what failed, and what went well
// without a change, such as the start of what runs. That an entry could not be
// saved is logged and does not undo what was done.
func (l *Log) Record(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return // the client has gone: what was done is told already
	}
	act, result := Of(ctx), api.ResultOK
	if err != nil {
		told, ok := errors.AsType[*api.Error](err)
		switch {
		case !ok:
			result = string(api.CodeInternal)
		case act.trifle(told.Code):
			return
		default:
			result = string(told.Code)
		}
	}
	e, ok := act.entry(result)
	if !ok || result != api.ResultOK && !l.tellable(e) {
		return
	}
	l.save(context.WithoutCancel(ctx), e)
}

func (l *Log) save(ctx context.Context, e store.AuditEntry) {
	err := l.store.Write(ctx, func(tx *store.Tx) error { return tx.AppendAudit(ctx, e) })
	if err != nil {
		l.logger.ErrorContext(ctx, "not recorded in the audit", "action", e.Action, "result", e.Result, "actor", e.ActorID, "detail", e.Detail, "error", err)
	}
}

// trimBatch is how many entries one transaction removes, so that others who
// write wait for some milliseconds and not for all of it.
const trimBatch = 2000

// Trim removes the entries from before a time.
func (l *Log) Trim(ctx context.Context, before time.Time) error {
	for {
		var n int
		err := l.store.Write(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.PurgeAudit(ctx, before, trimBatch)
			return err
		})
		if err != nil || n < trimBatch {
			return err
		}
	}
}
