package relay

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// refused wants a wish to be refused with this problem and text.
func refused(t testing.TB, err error, problem TokenProblem, text string) {
	t.Helper()
	var got *TokenError
	if !errors.As(err, &got) || got.Problem != problem || got.Text != text {
		t.Errorf("the error is %v, want problem %d and %q", err, problem, text)
	}
}

func TestATokenThatCannotBeIsRefusedInTheWordsOfTheAPI(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("some-forward-token")
	f.reverse("some-reverse-token")
	f.autonomy("other-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	long := strings.Repeat("x", 256)
	const anonymous = "'anonymous' is reserved and cannot be used as a "
	for _, r := range []struct {
		kind           Kind
		token, reverse string
		problem        TokenProblem
		text           string
	}{
		{Forward, "anonymous", "", Invalid, anonymous + "token"},
		{Reverse, "anonymous", "", Invalid, anonymous + "token"},
		{Connector, "anonymous", "some-reverse-token", Invalid, anonymous + "connector token"},
		{Forward, long, "", Invalid, "token is longer than 255 bytes"},
		{Forward, "some-forward-token", "", Conflict, "token already exists"},
		{Forward, "some-reverse-token", "", Conflict, "token already exists"},
		{Forward, "some-connector-token", "", Conflict, "token already exists"},
		{Reverse, "some-forward-token", "", Conflict, "token already exists"},
		{Reverse, "some-reverse-token", "", Conflict, "token already exists"},
		{Connector, "new-connector-token", "", Invalid, "reverse_token is required for connector token"},
		{Connector, "new-connector-token", "no-such-token", NotFound, "reverse token does not exist"},
		{Connector, "new-connector-token", "some-forward-token", NotFound, "reverse token does not exist"},
		{Connector, "new-connector-token", "some-connector-token", NotFound, "reverse token does not exist"},
		{Connector, "some-forward-token", "some-reverse-token", Conflict, "connector token already exists"},
		{Connector, "some-reverse-token", "some-reverse-token", Conflict, "connector token already exists"},
		{Connector, "some-connector-token", "other-reverse-token", Conflict, "connector token already exists"},
	} {
		_, err := f.hub.Add(t.Context(), TokenSpec{Kind: r.kind, Token: redact.New(r.token), ReverseToken: redact.New(r.reverse)})
		refused(t, err, r.problem, r.text)
	}
	_, err := f.hub.Add(t.Context(), TokenSpec{Kind: Reverse, Username: long})
	refused(t, err, Invalid, "username and password have at most 255 bytes")
	_, err = f.hub.Add(t.Context(), TokenSpec{Kind: Reverse, Password: redact.New(long)})
	refused(t, err, Invalid, "username and password have at most 255 bytes")
	var wrong *TokenError
	if _, err := f.hub.Add(t.Context(), TokenSpec{Kind: Forward, Allow: []string{"10.0.0.0/99"}}); !errors.As(err, &wrong) || wrong.Problem != Invalid {
		t.Errorf("a rule that is none: %v", err)
	}
	refused(t, f.hub.Remove(t.Context(), redact.New("no-such-token")), NotFound, "token does not exist")
	refused(t, f.hub.Remove(t.Context(), redact.Secret{}), NotFound, "token does not exist")
	if n := len(f.hub.Status()); n != 3 {
		t.Errorf("%d tokens are there, want the 3 that were welcome", n)
	}
	f.add(TokenSpec{Kind: Forward, Token: redact.New(long[1:])})
}

func TestATokenThatNobodyChoseHas16HexDigits(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	hex := regexp.MustCompile(`^[0-9a-f]{16}$`)
	reverse := f.add(TokenSpec{Kind: Reverse})
	seen := map[string]bool{}
	for _, text := range []string{
		f.add(TokenSpec{Kind: Forward}).Token.Reveal(), f.add(TokenSpec{Kind: Forward}).Token.Reveal(), reverse.Token.Reveal(),
		f.add(TokenSpec{Kind: Connector, ReverseToken: reverse.Token}).Token.Reveal(),
	} {
		if !hex.MatchString(text) || seen[text] {
			t.Errorf("the token is %q", text)
		}
		seen[text] = true
	}
}

func TestAConnectorThatIsAddedAgainIsTheSame(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	f := serve(t, Options{Keeper: keeper})
	f.reverse("some-reverse-token")
	first := f.connector("some-connector-token", "some-reverse-token")
	again := f.connector("some-connector-token", "some-reverse-token")
	if first != again {
		t.Errorf("%+v became %+v", first, again)
	}
	status := f.hub.Status()
	if len(status) != 1 || len(status[0].Connectors) != 1 || len(keeper.all()) != 2 {
		t.Errorf("there is more of it: %+v, %d kept", status, len(keeper.all()))
	}
}

func TestStatusListsTokensByCreationWithTheirConnectors(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	port := f.reverse("first-reverse-token").Port
	f.forward("second-forward-token")
	f.autonomy("third-reverse-token")
	for i := range 3 {
		f.connector("connector-token-"+strconv.Itoa(i), "first-reverse-token")
	}
	f.provider("first-reverse-token")
	f.provider("first-reverse-token")
	f.guest("second-forward-token", Forward, uuid.New())
	eventually(t, "all are there", func() bool { return f.links("second-forward-token") == 1 })
	want := []struct {
		token      string
		kind       Kind
		clients    int
		port       int
		connectors []string
	}{
		{"first-reverse-token", Reverse, 2, port, []string{"connector-token-0", "connector-token-1", "connector-token-2"}},
		{"second-forward-token", Forward, 1, -1, nil},
		{"third-reverse-token", Reverse, 0, -1, nil},
	}
	status := f.hub.Status()
	for i, w := range want {
		var connectors []string
		for _, c := range status[i].Connectors {
			connectors = append(connectors, c.Reveal())
		}
		s := status[i]
		if s.Token.Reveal() != w.token || s.Kind != w.kind || s.Clients != w.clients || s.Port != w.port || !slices.Equal(connectors, w.connectors) {
			t.Errorf("status %d is %+v with %v, want %+v", i, s, connectors, w)
		}
	}
}

func TestRemovingATokenCutsWhatItCarriesAndItsConnectors(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	f := serve(t, Options{Keeper: keeper})
	echo := target.EchoServer(t)
	port := f.reverse("some-reverse-token").Port
	f.connector("some-connector-token", "some-reverse-token")
	f.forward("some-forward-token")
	provider := f.provider("some-reverse-token")
	connector := f.user("some-connector-token", Connector)
	client := f.user("some-forward-token", Forward)
	streams := []net.Conn{through(t, port, echo), connector.dial(t, echo)}
	other := client.dial(t, echo)
	waiting := socks(t, port)
	for _, c := range append(streams, other) {
		must(t, target.EchoMore(c, 10_000))
	}
	must(t, f.hub.Remove(t.Context(), redact.New("some-reverse-token")))
	for i, c := range append(streams, waiting) {
		ended := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		if !within(soon, func() bool { return len(ended) > 0 }) {
			t.Fatalf("connection %d lives on", i)
		}
		if err := <-ended; err == nil {
			t.Errorf("connection %d brings bytes", i)
		}
	}
	for _, m := range []*member{provider, connector} {
		if !within(soon, func() bool { return closed(m.over) }) {
			t.Error("a link lives on")
		}
	}
	if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
		_ = c.Close()
		t.Error("the port is still open")
	}
	must(t, target.EchoMore(other, 10_000)) // of another token
	for _, text := range []string{"some-reverse-token", "some-connector-token"} {
		if got := verdict(t, f.connect(query(text, "", uuid.New()))); got != "invalid token" {
			t.Errorf("%s: told %q", text, got)
		}
	}
	if kept := keeper.all(); len(kept) != 1 || kept[0].Kind != Forward {
		t.Errorf("%d tokens are kept", len(kept))
	}
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if len(f.hub.tokens) != 1 || len(f.hub.hashes) != 1 {
		t.Errorf("%d tokens and %d hashes are known", len(f.hub.tokens), len(f.hub.hashes))
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestRemovingAConnectorLeavesItsReverseTokenAlone(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo := target.EchoServer(t)
	port := f.reverse("some-reverse-token").Port
	f.connector("some-connector-token", "some-reverse-token")
	provider := f.provider("some-reverse-token")
	connector := f.user("some-connector-token", Connector)
	stream := connector.dial(t, echo)
	must(t, target.EchoMore(stream, 1000))
	must(t, f.hub.Remove(t.Context(), redact.New("some-connector-token")))
	if !within(soon, func() bool { return closed(connector.over) && provider.Streams() == 0 }) {
		t.Error("something of the connector lives on")
	}
	must(t, target.EchoMore(through(t, port, echo), 1000))
	if n := len(f.hub.Status()[0].Connectors); n != 0 {
		t.Errorf("%d connectors are listed", n)
	}
}

// Three that ask and three that change, among 300 tokens.
func TestStatusPollingHoldsUpNobody(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.autonomy("some-reverse-token")
	for i := range 300 {
		f.forward("forward-token-" + strconv.Itoa(i))
	}
	const changes = 100
	polling, cancel := context.WithCancel(t.Context())
	var pollers, writers sync.WaitGroup
	for range 3 {
		pollers.Go(func() {
			for polling.Err() == nil {
				if len(f.hub.Status()) < 301 {
					t.Error("tokens are missing")
				}
			}
		})
	}
	for w := range 3 {
		writers.Go(func() {
			for i := range changes {
				text := redact.New("writer-" + strconv.Itoa(w) + "-" + strconv.Itoa(i))
				spec := TokenSpec{Kind: Forward, Token: text}
				if w == 1 {
					spec = TokenSpec{Kind: Connector, Token: text, ReverseToken: redact.New("some-reverse-token")}
				}
				if _, err := f.hub.Add(t.Context(), spec); err != nil {
					t.Error(err)
				}
				if err := f.hub.Remove(t.Context(), text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		g := f.guest("forward-token-7", Forward, uuid.New())
		_ = g.conn.Close()
	}
	writers.Wait()
	cancel()
	pollers.Wait()
	if n := len(f.hub.Status()); n != 301 {
		t.Errorf("%d tokens are left", n)
	}
}

var errShelf = errors.New("the shelf broke")

func TestATokenThatCannotBeKeptIsNotThere(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	f := serve(t, Options{Keeper: keeper})
	port := freePort(t)
	keeper.setFail(errShelf)
	_, err := f.hub.Add(t.Context(), TokenSpec{Kind: Reverse, Token: redact.New("some-reverse-token"), Port: port})
	if !errors.Is(err, errShelf) {
		t.Errorf("the error is %v", err)
	}
	if n := len(f.hub.Status()); n != 0 {
		t.Errorf("%d tokens are there", n)
	}
	if got := verdict(t, f.connect(query("some-reverse-token", Reverse, uuid.New()))); got != "invalid token" {
		t.Errorf("told %q", got)
	}
	keeper.setFail(nil)
	f.add(TokenSpec{Kind: Reverse, Token: redact.New("some-reverse-token"), Port: port})
}

func TestATokenThatCannotBeForgottenIsStillThere(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	f := serve(t, Options{Keeper: keeper})
	echo := target.EchoServer(t)
	port := f.reverse("some-reverse-token").Port
	f.provider("some-reverse-token")
	stream := through(t, port, echo)
	keeper.setFail(errShelf)
	if err := f.hub.Remove(t.Context(), redact.New("some-reverse-token")); !errors.Is(err, errShelf) {
		t.Errorf("the error is %v", err)
	}
	must(t, target.EchoMore(stream, 1000), target.EchoMore(through(t, port, echo), 1000))
}

func TestATokenOfTheCommandLineIsNotKept(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	f := serve(t, Options{Keeper: keeper})
	given, err := f.hub.Give(t.Context(), TokenSpec{Kind: Reverse, ManageConnectors: true})
	must(t, err)
	f.add(TokenSpec{Kind: Connector, ReverseToken: given.Token}) // nothing to belong to at the next start
	if n := len(keeper.all()); n != 0 {
		t.Errorf("%d tokens are kept", n)
	}
	must(t, f.hub.Remove(t.Context(), given.Token))
}

// To say yes to rules that then do not hold would be worse than a no.
func TestAConnectorIsNotAddedAgainWithOtherRules(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.reverse("some-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	spec := TokenSpec{
		Kind: Connector, Token: redact.New("some-connector-token"), ReverseToken: redact.New("some-reverse-token"),
		Deny: []string{"10.0.0.0/8"},
	}
	_, err := f.hub.Add(t.Context(), spec)
	var refused *TokenError
	if !errors.As(err, &refused) || refused.Problem != Conflict {
		t.Errorf("%v", err)
	}
}
