package forward

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func (f *fixture) replace(spec Spec) error {
	f.t.Helper()
	return f.sup.Do(f.t.Context(), spec.ID, func(t *Tunnel) error { return t.Replace(f.t.Context(), spec) })
}

func TestReplaceMovesAListenerAndCutsTheOldConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	before := f.mustStart(spec)
	c := dial(t, before.BoundPort)
	if err := target.Echo(c, 100); err != nil {
		t.Fatal(err)
	}
	spec.Listen = at(freePort(t))
	if err := f.replace(spec); err != nil {
		t.Fatal(err)
	}
	after := f.sup.Status("f1")
	if after.State != Active || after.TunnelID == before.TunnelID || at(after.BoundPort) != spec.Listen || after.BytesIn != 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	ended(t, c)
	wantClosed(t, before.BoundPort)
	if err := target.Download(dial(t, after.BoundPort), 1000); err != nil {
		t.Error(err)
	}
}

func TestReplaceOfTheTargetKeepsThePort(t *testing.T) {
	t.Parallel()
	for _, kind := range []Type{Local, Remote} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			spec := f.spec(kind, target.EchoServer(t))
			spec.Listen = at(freePort(t))
			before := f.mustStart(spec)
			spec.Deliver = target.Start(t)
			if err := f.replace(spec); err != nil {
				t.Fatal(err)
			}
			after := f.sup.Status("f1")
			if after.TunnelID == before.TunnelID || after.BoundPort != before.BoundPort {
				t.Errorf("before %+v, after %+v", before, after)
			}
			if err := target.Download(dial(t, after.BoundPort), 1000); err != nil {
				t.Errorf("the new target: %v", err)
			}
			f.do("f1", (*Tunnel).Stop)
			wantClosed(t, after.BoundPort)
		})
	}
}

func TestReplaceBySomethingThatRunsTheSameChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	before := f.mustStart(spec)
	c := dial(t, before.BoundPort)
	if err := target.Echo(c, 100); err != nil {
		t.Fatal(err)
	}
	spec.Name = "another name"
	if err := f.replace(spec); err != nil {
		t.Fatal(err)
	}
	if after := f.sup.Status("f1"); after.TunnelID != before.TunnelID {
		t.Error("it was restarted")
	}
	if err := target.EchoMore(c, 100); err != nil {
		t.Errorf("an open connection was cut: %v", err)
	}
}

func TestAReplacementThatFailsLeavesTheOldRunning(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old := f.spec(Local, target.Start(t))
	before := f.mustStart(old)
	c := dial(t, before.BoundPort)
	if err := target.Echo(c, 100); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	spec := old
	spec.Listen = taken.Addr().String()
	wantCode(t, f.replace(spec), api.CodeListenInUse)
	spec = old
	spec.Server.Password = redact.New("wrong")
	wantCode(t, f.replace(spec), api.CodeAuthFailed)
	if after := f.sup.Status("f1"); after.State != Active || after.TunnelID != before.TunnelID {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if err := target.EchoMore(c, 100); err != nil {
		t.Errorf("an open connection was cut: %v", err)
	}
}

func TestReplaceTakesOverAnOverlappingAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	before := f.mustStart(spec)
	spec.Listen = strings.Replace(at(before.BoundPort), "127.0.0.1", "0.0.0.0", 1)
	if err := f.replace(spec); err != nil {
		t.Fatal(err)
	}
	if after := f.sup.Status("f1"); after.BoundPort != before.BoundPort || after.State != Active {
		t.Errorf("before %+v, after %+v", before, after)
	}
	// And back, where the new address is refused by the system: the old one must return.
	spec.Listen = strings.Replace(at(before.BoundPort), "127.0.0.1", "203.0.113.7", 1)
	wantCode(t, f.replace(spec), api.CodeListenDenied)
	if err := target.Download(dial(t, before.BoundPort), 1000); err != nil {
		t.Error(err)
	}
}

func TestARemotePortIsTakenOverByANewConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Remote, target.Start(t))
	spec.Listen = at(freePort(t))
	before := f.mustStart(spec)
	spec.Server.Owner = "another row" // so that it cannot share the connection
	if err := f.replace(spec); err != nil {
		t.Fatal(err)
	}
	after := f.sup.Status("f1")
	if after.State != Active || after.ConnectionID == before.ConnectionID || after.TunnelID == before.TunnelID {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if err := target.Download(dial(t, after.BoundPort), 1000); err != nil {
		t.Error(err)
	}
	// A new connection that is refused: the old one claims its port back.
	f.faults.SetPassword(redact.New("another"))
	spec.Server.Owner = "a third row"
	wantCode(t, f.replace(spec), api.CodeAuthFailed)
	if err := target.Download(dial(t, after.BoundPort), 1000); err != nil {
		t.Error(err)
	}
}

func TestATypeMayChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	before := f.mustStart(spec)
	spec.Type, spec.Listen = Remote, at(freePort(t))
	if err := f.replace(spec); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, before.BoundPort)
	if err := target.Upload(dial(t, f.sup.Status("f1").BoundPort), 1000); err != nil {
		t.Error(err)
	}
}

func TestRestartRestoresWhatWasWanted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	spec.LastPort = freePort(t)
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	st := f.reaches("f1", "restoring", in(Active))
	if st.BoundPort != spec.LastPort {
		t.Errorf("port %d, want that of the last run, %d", st.BoundPort, spec.LastPort)
	}
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	if again := f.sup.Status("f1"); again.TunnelID != st.TunnelID {
		t.Error("a restart with the same values began another tunnel")
	}
	spec.Server.Password = redact.New("wrong")
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	failed := f.reaches("f1", "being refused", in(Failed))
	if failed.TunnelID != "" || failed.LastError.Code != api.CodeAuthFailed {
		t.Errorf("%+v", failed)
	}
}

func TestARestoredTunnelLetsClientsWaitForItsServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	f.stopSSH()
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	st := f.reaches("f1", "waiting for the server", func(st Status) bool { return st.State == Reconnecting && st.BoundPort != 0 })
	if st.TunnelID == "" || st.LastError.Code != api.CodeConnectRefused {
		t.Errorf("%+v", st)
	}
	c := dial(t, st.BoundPort)
	flowed := make(chan error, 1)
	go func() { flowed <- target.Download(c, 1000) }()
	f.startSSH(f.addr)
	f.mustStart(spec)
	if err := <-flowed; err != nil {
		t.Error(err)
	}
}

func TestARestoredTunnelWhosePortIsTakenFailsAndSaysSo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spec := f.spec(Local, target.Start(t))
	spec.Listen = taken.Addr().String()
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	st := f.reaches("f1", "the refusal", in(Failed))
	if st.LastError.Code != api.CodeListenInUse || st.TunnelID != "" || st.NextRetry.IsZero() {
		t.Errorf("%+v", st)
	}
	taken.Close()
	f.mustStart(spec)
}

func TestAForwardWithoutASpecIsFailedUntilItHasOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("f1", func(tunnel *Tunnel) {
		tunnel.Fail(&api.Error{Code: api.CodeSecretUnreadable, Message: "servers/1/password cannot be opened"})
		if !tunnel.Wanted() {
			t.Error("it is not wanted any more")
		}
	})
	if st := f.sup.Status("f1"); st.State != Failed || st.LastError.Code != api.CodeSecretUnreadable {
		t.Errorf("%+v", st)
	}
	f.mustStart(f.spec(Local, target.Start(t)))
}

// A host key is accepted while a try with the old pin hangs: that try must not
// decide, or the tunnel would rest for a minute although nothing is wrong.
func TestAnEditOvertakesATryThatBeganBeforeIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	f.faults.SetHandshake(sshserver.HangAfterVersion)
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	f.counts("the first try", func(n sshserver.Counts) bool { return n.Accepted == 1 })
	f.faults.SetHandshake(sshserver.Behave)
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	started := time.Now()
	f.reaches("f1", "the new try", in(Active))
	if took := time.Since(started); took > startTimeout/2 {
		t.Errorf("it waited %v for the old try", took)
	}
}
