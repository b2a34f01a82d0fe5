package relay

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// occupy listens at a port, 0 for any.
func occupy(t testing.TB, port int) (net.Listener, int) {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).Port
}

func freePort(t testing.TB) int {
	t.Helper()
	ln, port := occupy(t, 0)
	must(t, ln.Close())
	return port
}

func TestAPortIsGrantedAsAskedOrRefused(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{PortAllowed: func(port uint16) bool { return port >= 1024 }})
	_, busy := occupy(t, 0)
	ask := func(port int) error {
		_, err := f.hub.Add(t.Context(), TokenSpec{Kind: Reverse, Port: port})
		return err
	}
	free := freePort(t)
	if added := f.add(TokenSpec{Kind: Reverse, Port: free}); added.Port != free {
		t.Errorf("port %d for %d", added.Port, free)
	}
	for _, port := range []int{busy, free} {
		refused(t, ask(port), Conflict, "cannot allocate port: "+strconv.Itoa(port))
	}
	for _, port := range []int{-1, -5, 65536, 1 << 20, 80, 1023} {
		refused(t, ask(port), Invalid, "invalid port")
	}
	if n := len(f.hub.Status()); n != 1 {
		t.Errorf("%d tokens are there", n)
	}
}

func TestAPortThatNobodyNamedIsAFreeOneOfThePool(t *testing.T) {
	t.Parallel()
	var pool PortRange
	for first := 31000; pool == (PortRange{}); first += 4 { // four in a row that are free
		free := true
		for n := range 4 {
			ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+n)))
			if free = free && err == nil; err == nil {
				_ = ln.Close()
			}
		}
		if free {
			pool = PortRange{First: uint16(first), Last: uint16(first + 3)}
		}
	}
	occupy(t, int(pool.First)+1)
	f := serve(t, Options{SOCKSPool: pool, PortAllowed: func(port uint16) bool { return port != pool.Last }})
	got := map[int]bool{}
	for range 2 {
		got[f.add(TokenSpec{Kind: Reverse}).Port] = true
	}
	if !got[int(pool.First)] || !got[int(pool.First)+2] {
		t.Errorf("ports %v of the pool %v", got, pool)
	}
	_, err := f.hub.Add(t.Context(), TokenSpec{Kind: Reverse})
	refused(t, err, Conflict, "cannot allocate port: the pool has no free one")
}

func TestAutonomyHasThePortThatIsAskedForOrNone(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	if port := f.autonomy("some-reverse-token").Port; port != -1 {
		t.Errorf("port %d", port)
	}
	want := freePort(t)
	added := f.add(TokenSpec{Kind: Reverse, Token: redact.New("other-reverse-token"), Port: want, ManageConnectors: true})
	if added.Port != want {
		t.Errorf("port %d, want %d", added.Port, want)
	}
	f.provider("other-reverse-token")
	must(t, target.EchoMore(through(t, want, target.EchoServer(t)), 1000))
}

// Each time with a user on it.
func TestAPortCanBeRemovedAndAddedAgainAtOnce(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo := target.EchoServer(t)
	port := freePort(t)
	for i := range 50 {
		text := "reverse-token-" + strconv.Itoa(i)
		f.add(TokenSpec{Kind: Reverse, Token: redact.New(text), Port: port})
		f.provider(text)
		must(t, target.EchoMore(through(t, port, echo), 100))
		socks(t, port) // says nothing
		must(t, f.hub.Remove(t.Context(), redact.New(text)))
	}
	if _, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err != nil {
		t.Error(err)
	}
}

func TestTokensThatWereKeptComeBackWithPortsAndCredentials(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	echo := target.EchoServer(t)
	first := newFixture(t, Options{Keeper: keeper}, nil)
	first.forward("some-forward-token")
	port := first.add(TokenSpec{Kind: Reverse, Token: redact.New("some-reverse-token"), Username: "user", Password: redact.New("some-password"),
		Allow: []string{"127.0.0.1"}}).Port
	first.connector("some-connector-token", "some-reverse-token")
	first.autonomy("other-reverse-token")
	before := first.hub.Status()
	first.hub.Close()

	f := serve(t, Options{Keeper: keeper}, keeper.all()...)
	after := f.hub.Status()
	for i, s := range before {
		if i >= len(after) || after[i].Token != s.Token || after[i].Kind != s.Kind || after[i].Port != s.Port || len(after[i].Connectors) != len(s.Connectors) {
			t.Fatalf("%+v became %+v", before, after)
		}
	}
	f.provider("some-reverse-token")
	if greet(t, socks(t, port), nil) {
		t.Error("the port forgot its password")
	}
	c := socks(t, port)
	if !greet(t, c, &login{"user", "some-password"}) {
		t.Fatal("the right password is refused")
	}
	if reply, _ := request(t, c, 1, echo); reply != 0 {
		t.Fatalf("reply %d", reply)
	}
	must(t, target.EchoMore(c, 1000))
	must(t, target.EchoMore(f.user("some-connector-token", Connector).dial(t, echo), 1000))
	must(t, target.EchoMore(f.user("some-forward-token", Forward).dial(t, echo), 1000))
	if c := socks(t, port); greet(t, c, &login{"user", "some-password"}) {
		if reply, _ := request(t, c, 1, "127.0.0.2:80"); reply != 2 {
			t.Errorf("the token forgot its rules: reply %d", reply)
		}
	}
}

func TestTokensThatWereKeptComeBackInWhateverOrder(t *testing.T) {
	t.Parallel()
	at := time.Now()
	f := newFixture(t, Options{}, []Record{
		{ID: "1", Kind: Connector, Token: redact.New("some-connector-token"), Port: -1, ReverseID: "2", CreatedAt: at.Add(-time.Hour)},
		{ID: "3", Kind: Reverse, Token: redact.New("other-reverse-token"), Port: -1, CreatedAt: at.Add(time.Hour)},
		{ID: "2", Kind: Reverse, Token: redact.New("some-reverse-token"), Port: -1, CreatedAt: at},
	})
	status := f.hub.Status()
	if len(status) != 2 || status[0].Token.Reveal() != "some-reverse-token" || len(status[0].Connectors) != 1 {
		t.Errorf("served are %+v", status)
	}
}

// Tokens are kept to the millisecond, and more than one is made in that time.
func TestTheOrderOfTokensSurvivesARestart(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	first := newFixture(t, Options{Keeper: keeper}, nil)
	for i := range 30 {
		first.forward("forward-token-" + strconv.Itoa(i))
	}
	first.hub.Close()
	kept := keeper.all()
	for i := range kept {
		kept[i].CreatedAt = time.UnixMilli(kept[i].CreatedAt.UnixMilli())
	}
	f := newFixture(t, Options{}, kept)
	f.forward("forward-token-30")
	for i, s := range f.hub.Status() {
		if want := "forward-token-" + strconv.Itoa(i); s.Token.Reveal() != want {
			t.Fatalf("%q is in the place of %q", s.Token.Reveal(), want)
		}
	}
}

func TestAConnectorWhoseReverseTokenIsLostIsNotServed(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	first := newFixture(t, Options{Keeper: keeper}, nil)
	first.autonomy("some-reverse-token")
	first.connector("some-connector-token", "some-reverse-token")
	first.hub.Close()
	var kept []Record
	for _, r := range keeper.all() {
		if r.Kind == Connector {
			kept = append(kept, r)
		}
	}
	f := newFixture(t, Options{}, kept)
	if len(f.hub.tokens) != 0 {
		t.Errorf("%d tokens are served", len(f.hub.tokens))
	}
}

func TestAPortThatIsBusyAtStartIsServedWhenItIsFree(t *testing.T) {
	t.Parallel()
	ln, port := occupy(t, 0)
	f := serve(t, Options{}, Record{ID: "1", Kind: Reverse, Token: redact.New("some-reverse-token"), Port: port, CreatedAt: time.Now()})
	f.provider("some-reverse-token") // the token itself is served meanwhile
	if f.count("port_bind_failed") != 1 {
		t.Error("nothing was counted")
	}
	must(t, ln.Close())
	eventually(t, "the port is served", func() bool {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	must(t, target.EchoMore(through(t, port, target.EchoServer(t)), 1000))
}

func TestATokenWhosePortIsStillBusyCanBeRemoved(t *testing.T) {
	t.Parallel()
	_, port := occupy(t, 0)
	f := serve(t, Options{}, Record{ID: "1", Kind: Reverse, Token: redact.New("some-reverse-token"), Port: port, CreatedAt: time.Now()})
	must(t, f.hub.Remove(t.Context(), redact.New("some-reverse-token")))
}

func TestARelayThatHasEndedAddsNoTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{}, nil)
	port := freePort(t)
	f.hub.Close()
	if _, err := f.hub.Add(t.Context(), TokenSpec{Kind: Reverse, Port: port}); err == nil {
		t.Error("a token was added")
	}
	if _, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
		t.Error("its port is open")
	}
}
