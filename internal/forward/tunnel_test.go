package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestALocalTunnelCarriesEveryByteAndCountsIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	st := f.mustStart(f.spec(Local, target.Start(t)))
	const n = 4 << 20
	for name, test := range map[string]func(net.Conn, int64) error{
		"download": target.Download, "upload": target.Upload, "half-close": target.HalfClose,
	} {
		c := dial(t, st.BoundPort)
		if err := test(c, n); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	st = f.reaches("f1", "counting", func(st Status) bool { return st.Connections == 0 })
	if st.BytesIn < 2*n || st.BytesIn > 2*n+100 || st.BytesOut < n || st.BytesOut > n+100 {
		t.Errorf("counted %d in and %d out", st.BytesIn, st.BytesOut)
	}
}

func TestARemoteTunnelBringsConnectionsHere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Remote, target.Start(t))
	st := f.mustStart(spec)
	for name, test := range map[string]func(net.Conn, int64) error{
		"download": target.Download, "upload": target.Upload, "half-close": target.HalfClose,
	} {
		if err := test(dial(t, st.BoundPort), 4<<20); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStartAndStopAreIdempotent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	first := f.mustStart(spec)
	if again := f.mustStart(spec); again.TunnelID != first.TunnelID {
		t.Error("a second start began another tunnel")
	}
	c := dial(t, first.BoundPort)
	if err := target.Echo(c, 100); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.do("f1", (*Tunnel).Stop)
		if st := f.sup.Status("f1"); st.State != Inactive || st.TunnelID != "" || st.ConnectionID != "" || st.LastError != nil {
			t.Errorf("after stop: %+v", st)
		}
	}
	ended(t, c)
	wantClosed(t, first.BoundPort)
	f.counts("no SSH connection after the last tunnel stopped", func(n sshserver.Counts) bool { return n.Current == 0 })
}

func TestAFailedStartLeavesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	port := freePort(t)
	spec.Listen = at(port)
	spec.Server.Password = redact.New("wrong")
	wantCode(t, f.start(spec), api.CodeAuthFailed)
	st := f.sup.Status("f1")
	if st.State != Inactive || st.LastError == nil || st.LastError.Code != api.CodeAuthFailed || st.TunnelID != "" {
		t.Errorf("after a failed start: %+v", st)
	}
	wantClosed(t, port)
	f.do("f1", func(tunnel *Tunnel) {
		if tunnel.Wanted() {
			t.Error("a start that failed makes the forward wanted")
		}
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestAListenerThatCannotOpenIsTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.mustStart(f.spec(Local, target.Start(t)))
	spec := f.spec(Local, target.Start(t))
	spec.ID, spec.Listen = "f2", at(first.BoundPort)
	err := f.start(spec)
	wantCode(t, err, api.CodeListenInUse)
	if !strings.Contains(err.Error(), `by forward "web"`) {
		t.Errorf("%q does not say by whom", err)
	}
	spec.Listen = "203.0.113.7:8080"
	wantCode(t, f.start(spec), api.CodeListenDenied)
}

func TestPolicyIsAskedBeforeAnythingIsConnected(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sup = newSupervisor(t, []string{"10.0.0.0/8"}, []string{"127.0.0.1:20000-30000"})
	spec := f.spec(Local, "10.1.2.3:80")
	spec.Listen = "127.0.0.1:20080"
	wantCode(t, f.start(spec), api.CodeTargetDenied)
	spec.Deliver, spec.Listen = "192.0.2.1:80", "127.0.0.1:19999"
	wantCode(t, f.start(spec), api.CodeListenDenied)
	spec = f.spec(Remote, "169.254.169.254:80")
	wantCode(t, f.start(spec), api.CodeTargetDenied)
	if n := f.server.Counts().Accepted; n != 0 {
		t.Errorf("%d connections were made for what is not allowed", n)
	}
}

func TestARefusedRemotePortFailsTheStart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.faults.RefuseForwards(true)
	wantCode(t, f.start(f.spec(Remote, target.Start(t))), api.CodeRemoteListenRefused)
}

func TestStartsAtTheSameTimeShareOneTry(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := f.start(spec); err != nil {
				t.Errorf("start: %v", err)
			}
		})
	}
	all.Wait()
	if n := f.server.Counts().Accepted; n != 1 {
		t.Errorf("%d connections for one forward", n)
	}
}

func TestAStopOvertakesAStart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.faults.SetHandshake(sshserver.HangAfterVersion)
	result := make(chan error, 1)
	spec := f.spec(Local, target.Start(t))
	go func() { result <- f.start(spec) }()
	f.reaches("f1", "starting", in(Starting))
	f.overtake("f1", (*Tunnel).Stop)
	wantCode(t, <-result, api.CodeStopped)
	if st := f.sup.Status("f1"); st.State != Inactive || st.LastError != nil {
		t.Errorf("after the stop: %+v", st)
	}
}

func TestAStartThatCannotBeRecordedIsUndone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	spec.Listen = at(freePort(t))
	full := &api.Error{Code: api.CodeStorageFull, Message: "the disk is full"}
	err := f.sup.Start(t.Context(), "f1", func(context.Context) (Spec, error) { return spec, nil }, func(Status) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("start: %v", err)
	}
	if st := f.sup.Status("f1"); st.State != Inactive {
		t.Errorf("it runs: %+v", st)
	}
}

func TestTunnelsToOneServerShareAConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b, other := f.spec(Local, target.Start(t)), f.spec(Dynamic, ""), f.spec(Local, target.Start(t))
	b.ID, other.ID, other.Server.Owner = "f2", "f3", "u:2"
	if f.mustStart(a).ConnectionID != f.mustStart(b).ConnectionID {
		t.Error("two tunnels of one scope to one server have two connections")
	}
	f.mustStart(other)
	f.counts("one connection for each scope", func(n sshserver.Counts) bool { return n.Authenticated == 2 })
	f.do("f1", (*Tunnel).Stop)
	if st := f.sup.Status("f2"); st.State != Active {
		t.Errorf("stopping one took the other along: %+v", st)
	}
}

func TestALostConnectionComesBackUnderTheSameTunnel(t *testing.T) {
	t.Parallel()
	for _, kind := range []Type{Local, Remote} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			spec := f.spec(kind, target.Start(t))
			if kind == Remote {
				spec.Listen = at(freePort(t))
			}
			before := f.mustStart(spec)
			c := dial(t, before.BoundPort)
			if err := target.Echo(c, 100); err != nil {
				t.Fatal(err)
			}
			f.stopSSH()
			st := f.reaches("f1", "losing the server", in(Reconnecting))
			if st.TunnelID != before.TunnelID || st.ConnectionID != "" || st.LastError == nil || st.NextRetry.IsZero() {
				t.Errorf("while it is down: %+v", st)
			}
			ended(t, c)
			f.startSSH(f.addr)
			if err := f.start(spec); err != nil {
				t.Fatalf("start while it reconnects: %v", err)
			}
			after := f.sup.Status("f1")
			if after.State != Active || after.TunnelID != before.TunnelID || after.ConnectionID == before.ConnectionID || after.BoundPort != before.BoundPort {
				t.Errorf("before %+v, after %+v", before, after)
			}
			if err := target.Download(dial(t, after.BoundPort), 1<<20); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAConnectionWaitsForTheLinkAndThenFlows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	st := f.mustStart(spec)
	f.stopSSH()
	f.reaches("f1", "losing the server", in(Reconnecting))
	c := dial(t, st.BoundPort)
	flowed := make(chan error, 1)
	go func() { flowed <- target.Download(c, 1000) }()
	f.reaches("f1", "accepting", func(st Status) bool { return st.Connections == 1 })
	f.startSSH(f.addr)
	f.start(spec)
	if err := <-flowed; err != nil {
		t.Error(err)
	}
}

func TestAFailedTunnelClosesNewConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	st := f.mustStart(spec)
	f.faults.SetPassword(redact.New("another"))
	f.faults.DropAll()
	failed := f.reaches("f1", "being refused", in(Failed))
	if failed.TunnelID != st.TunnelID || failed.LastError.Code != api.CodeAuthFailed || time.Until(failed.NextRetry) < 30*time.Second {
		t.Errorf("failed: %+v, %+v", failed, failed.LastError)
	}
	turnedAway(t, st.BoundPort)
	wantCode(t, f.start(spec), api.CodeAuthFailed)
	if st := f.sup.Status("f1"); st.State != Failed {
		t.Errorf("a start that failed unmade what is wanted: %+v", st)
	}
	f.faults.SetPassword(redact.New(password))
	f.mustStart(spec)
}

func TestARemotePortThatIsStillHeldIsClaimedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.mustStart(f.spec(Remote, target.Start(t)))
	f.faults.RefuseForwards(true) // as a server does that has not noticed the loss
	f.faults.DropAll()
	f.reaches("f1", "the refusal", func(st Status) bool {
		return st.State == Reconnecting && st.LastError.Code == api.CodeRemoteListenRefused
	})
	f.faults.RefuseForwards(false)
	f.reaches("f1", "the claim", in(Active))
}

func TestCloseLetsOpenConnectionsEndAndTakesNoNewOnes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	st := f.mustStart(f.spec(Local, target.Start(t)))
	c := dial(t, st.BoundPort)
	if err := target.Echo(c, 100); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { f.sup.Close(context.Background()); close(closed) }()
	f.reaches("f1", "closing the door", func(st Status) bool { return st.BoundPort == 0 })
	wantClosed(t, st.BoundPort)
	if err := target.EchoMore(c, 1000); err != nil {
		t.Errorf("an open connection was cut: %v", err)
	}
	c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	<-closed
}

func TestATunnelTellsThatItsTargetCannotBeReached(t *testing.T) {
	t.Parallel()
	for _, kind := range []Type{Local, Remote} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			spec := f.spec(kind, at(freePort(t)))
			st := f.mustStart(spec)
			if kind == Local {
				turnedAway(t, st.BoundPort)
			} else { // there the SSH server ends it, in its own way
				dial(t, st.BoundPort)
			}
			st = f.reaches("f1", "the failure", func(st Status) bool { return st.Undelivered != nil })
			if st.State != Active || st.Undelivered.Message != "connection refused" {
				t.Errorf("%+v, %+v", st, st.Undelivered)
			}
		})
	}
}

func TestARefusalByASettingNamesTheSetting(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sup = newSupervisor(t, nil, nil)
	for _, limit := range []error{f.sup.opts.Policy.SetLimit([]string{"192.0.2.1"}), f.sup.opts.Binds.SetLimit([]string{"127.0.0.1:20000-30000"})} {
		if limit != nil {
			t.Fatal(limit)
		}
	}
	for _, kind := range []Type{Local, Remote} {
		spec := f.spec(kind, "10.1.2.3:80")
		if kind == Local {
			spec.Listen = "127.0.0.1:20080"
		}
		err := f.start(spec)
		wantCode(t, err, api.CodeTargetDenied)
		if want := `deliver to 10.1.2.3:80: not among the setting "allowedDestinations"`; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	spec := f.spec(Local, "192.0.2.1:80")
	spec.Listen = "127.0.0.1:19999"
	err := f.start(spec)
	wantCode(t, err, api.CodeListenDenied)
	if want := `listen 127.0.0.1:19999: not among the setting "allowedBinds"`; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestASettingHoldsForTheNextConnectionOfATunnelThatRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sup = newSupervisor(t, nil, nil)
	st := f.mustStart(f.spec(Local, target.Start(t)))
	open := dial(t, st.BoundPort)
	if err := target.Echo(open, 100); err != nil { // so it is delivered by now
		t.Fatal(err)
	}
	if err := f.sup.opts.Policy.SetLimit([]string{"192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
	turnedAway(t, st.BoundPort)
	f.reaches("f1", "telling why", func(st Status) bool { return st.State == Active && st.Undelivered != nil })
	if n := f.sup.Status("f1").Connections; n != 1 {
		t.Errorf("%d connections, want the one that was open", n)
	}
}
