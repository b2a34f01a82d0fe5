package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// parts are what runs, in the order in which it was started.
type parts struct {
	onEnd   func() // called when a part has ended
	running []part
}

// part serves until it is stopped.
type part struct {
	cancel context.CancelFunc
	ended  <-chan error
}

// start runs serve until stop. The end of ctx does not end it: what uses a part
// ends before the part does.
func (p *parts) start(ctx context.Context, name string, serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	p.running = append(p.running, part{cancel, ended})
	go func() {
		err := serve(ctx)
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		p.onEnd()
		ended <- err
	}()
}

// stop ends the parts, the last one first, and waits for each. It returns what
// they ended with.
func (p *parts) stop() error {
	var errs []error
	for _, part := range slices.Backward(p.running) {
		part.cancel()
		errs = append(errs, <-part.ended)
	}
	return errors.Join(errs...)
}
