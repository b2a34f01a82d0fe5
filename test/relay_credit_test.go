package test

import (
	"fmt"
	"net"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

// In our own dialect a reader that stalls is waited for, holds its own window
// and nobody else, and gets every byte when it goes on.
func TestWhoStallsInOurOwnDialectHoldsUpNobodyAndLosesNothing(t *testing.T) {
	t.Parallel()
	trials := map[string]trial{}
	for mode, start := range modes {
		trials[mode] = func() func() error {
			r := newRelay(t)
			p := start(r)
			to := target.Start(t)
			// More than a way's buffers and windows hold.
			stalled, neighbour := ask(t, p.open(t, to), 2*medium), p.open(t, to)
			return func() error { return stallAndGoOn(r, stalled, neighbour) }
		}
	}
	together(t, trials)
}

func stallAndGoOn(r *relayRun, stalled, neighbour net.Conn) error {
	for _, transfer := range []func(net.Conn, int64) error{target.Echo, target.EchoMore, target.EchoMore} {
		if err := transfer(neighbour, 8*small); err != nil {
			return fmt.Errorf("beside the stalled one: %w", err)
		}
	}
	if err := received(stalled, 2*medium); err != nil {
		return fmt.Errorf("the stalled one, when it went on: %w", err)
	}
	return r.small()
}
