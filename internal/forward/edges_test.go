package forward

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/sshsite"
	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestAReplaceThatRunsOutOfTimeBringsTheOldListenerBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Remote, target.Start(t))
	spec.Listen = at(freePort(t))
	f.mustStart(spec)
	f.faults.IgnoreRequests(true) // so that closing the door takes its time
	f.faults.RefuseForwards(true)
	next := spec
	next.Server.Owner = "another row" // so that both want the port
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := f.sup.Do(t.Context(), spec.ID, func(tunnel *Tunnel) error { return tunnel.Replace(ctx, next) }); err == nil {
		t.Fatal("it was replaced")
	}
	f.faults.IgnoreRequests(false)
	f.faults.RefuseForwards(false)
	f.faults.DropAll()
	f.reaches(spec.ID, "coming back", in(Active))
}

func TestAStopOvertakesWhatAStartLoads(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	loading := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- f.sup.Start(t.Context(), "f1", func(ctx context.Context) (Spec, error) {
			close(loading)
			<-ctx.Done() // as a database does
			return Spec{}, ctx.Err()
		}, nil)
	}()
	<-loading
	f.overtake("f1", (*Tunnel).Stop)
	wantCode(t, <-result, api.CodeStopped)
	if st := f.sup.Status("f1"); st.State != Inactive || st.LastError != nil {
		t.Errorf("%+v", st)
	}
}

func TestNothingStartsWhileTheSupervisorCloses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	st := f.mustStart(f.spec(Local, target.Start(t)))
	c := dial(t, st.BoundPort)
	if err := target.Echo(c, 10); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { f.sup.Close(context.Background()); close(closed) }()
	f.reaches("f1", "closing the door", func(st Status) bool { return st.BoundPort == 0 })
	second := f.spec(Local, target.Start(t))
	second.ID = "f2"
	wantCode(t, f.start(second), api.CodeStopped)
	c.Close()
	<-closed
}

// restartAll restarts ten tunnels that share the rig's line, as slowly as their rows are read.
func (r *lineRig) restartAll(edited time.Time) {
	r.t.Helper()
	for i := range 10 {
		id := fmt.Sprint("f", i)
		if err := r.sup.Do(r.t.Context(), id, func(tunnel *Tunnel) error { tunnel.Restart(r.spec(id), edited); return nil }); err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestOneEditOfWhatTunnelsShareIsOneTry(t *testing.T) {
	withLine(t, api.CodeHostKeyChanged, 15*time.Millisecond, func(t *testing.T, r *lineRig) {
		r.restartAll(time.Time{})
		if got := r.begins(); len(got) != 1 {
			t.Errorf("a restore made %d tries: %v", len(got), got)
		}
		time.Sleep(time.Second)
		r.restartAll(time.Now())
		if got := r.begins(); len(got) != 2 {
			t.Errorf("an edit made %d tries: %v", len(got)-1, got)
		}
	})
}

func TestATryThatTookTooLongNamesServerAndStep(t *testing.T) {
	t.Parallel()
	hung := &api.Error{Code: api.CodeTimeout, Message: "SSH server box:22: no answer in time while connecting", Err: context.DeadlineExceeded}
	if err := explain(hung); err != error(hung) {
		t.Errorf("it became %v", err)
	}
	wantCode(t, explain(context.DeadlineExceeded), api.CodeTimeout)
}

func TestAStartOfWhatIsWantedLoadsAndRecordsToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Local, target.Start(t))
	f.stopSSH()
	f.do("f1", func(tunnel *Tunnel) { tunnel.Restart(spec, time.Now()) })
	f.reaches("f1", "waiting for the server", in(Reconnecting))
	f.startSSH(f.addr)
	var loaded, recorded bool
	err := f.sup.Start(t.Context(), "f1",
		func(context.Context) (Spec, error) { loaded = true; return spec, nil },
		func(st Status) error { recorded = st.State == Active; return nil })
	if err != nil || !loaded || !recorded {
		t.Errorf("start: %v, loaded %t, recorded %t", err, loaded, recorded)
	}
}

func TestAStopDoesNotWaitForEditsAndAStartOfWhatRunsNeither(t *testing.T) {
	t.Parallel()
	f, silent := newFixture(t), newFixture(t)
	silent.faults.SetHandshake(sshserver.HangAfterVersion)
	spec := f.spec(Local, target.Start(t))
	f.mustStart(spec)
	next := spec
	next.Server.Address = silent.addr
	edits := make(chan error, 3)
	for range cap(edits) {
		go func() { edits <- f.replace(next) }()
	}
	silent.counts("an edit that hangs", func(n sshserver.Counts) bool { return n.Accepted == 1 })
	begun := time.Now()
	if err := f.start(spec); err != nil {
		t.Errorf("start: %v", err)
	}
	f.overtake("f1", (*Tunnel).Stop)
	if took := time.Since(begun); took > startTimeout/2 {
		t.Errorf("start and stop took %v", took)
	}
	for range cap(edits) {
		wantCode(t, <-edits, api.CodeStopped)
	}
}

// OpenSSH says yes to a second listener on a port when only IPv4 of it is taken.
func TestARemotePortIsFreedBeforeAnOverlappingAddressIsAskedFor(t *testing.T) {
	t.Parallel()
	server := sshd.Start(t)
	f := &fixture{t: t, sup: newSupervisor(t, nil, nil), keys: new(memoryKeys)}
	spec := Spec{ID: "f1", Name: "web", Type: Remote, Listen: at(sshd.FreePort(t)), Deliver: target.Start(t),
		Server: sshsite.Config{Owner: "u:1", Address: server.Addr, User: server.User, Signer: server.ClientSigner, HostKeys: f.keys}}
	st := f.mustStart(spec)
	for _, host := range []string{"localhost", "0.0.0.0", "127.0.0.1"} {
		spec.Listen = net.JoinHostPort(host, strconv.Itoa(st.BoundPort))
		if err := f.replace(spec); err != nil {
			t.Fatal(err)
		}
		if err := target.Download(dial(t, st.BoundPort), 1000); err != nil {
			t.Errorf("%s: %v", spec.Listen, err)
		}
	}
}
