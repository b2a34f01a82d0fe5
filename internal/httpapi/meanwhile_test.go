package httpapi_test

import (
	"sync"

	"github.com/adit-tunnel/adit/internal/sshserver"
)

// meanwhile makes a call that connects to the ground's SSH server, does
// something while that connection is being made, and gives the call's answer.
func (g *ground) meanwhile(call func() answer, do func()) (got answer) {
	g.t.Helper()
	g.faults.BlackHole(true)
	seen := g.ssh.Counts().Accepted
	var calling sync.WaitGroup
	calling.Go(func() { got = call() })
	if err := g.ssh.WaitCounts(g.t.Context(), func(c sshserver.Counts) bool { return c.Accepted > seen }); err != nil {
		g.t.Error(err)
	}
	do()
	g.faults.BlackHole(false)
	calling.Wait()
	return got
}
