package relay

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	wire "github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
)

// named is a provider that refuses every target in its own name.
func named(name string, asked chan<- string) wire.Config {
	return wire.Config{Dial: func(context.Context, string, string) (pipe.Conn, error) {
		asked <- name
		return nil, &site.DialError{Reason: site.Refused, Err: errors.New(name)}
	}}
}

// whoAnswers is who a connector's dials reach.
func whoAnswers(t testing.TB, m *member, asked <-chan string, n int) (names []string) {
	t.Helper()
	for range n {
		if _, err := m.Dial(t.Context(), "tcp", "target:80"); site.ReasonOf(err) != site.Refused {
			t.Fatalf("nobody answers: %v", err)
		}
		if name := <-asked; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// wantAdded wants a provider's wish to be granted.
func (g *guest) wantAdded(token string) string {
	g.t.Helper()
	answer := g.manage(linksocks.OpAdd, token)
	if !answer.OK || answer.Cause != "" || token != "" && answer.Token.Reveal() != token {
		g.t.Fatalf("add %q: told %+v", token, answer)
	}
	return answer.Token.Reveal()
}

func TestAProvidersConnectorTokenReachesItOverAllItsLinks(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		mine, other := uuid.New(), uuid.New()
		asked := make(chan string, 100)
		manager := f.guest("some-reverse-token", Reverse, mine)
		manager.wantAdded("my-connector-token")
		manager.wantAdded("my-connector-token") // once more, as after a reconnect
		chosen := manager.wantAdded("")
		if len(chosen) != 16 {
			t.Errorf("the relay chose %q", chosen)
		}
		_ = manager.conn.Close()
		synctest.Wait()
		f.join("some-reverse-token", Reverse, mine, named("first thread", asked))
		f.join("some-reverse-token", Reverse, mine, named("second thread", asked))
		f.join("some-reverse-token", Reverse, other, named("another process", asked))
		synctest.Wait()
		want := []string{"first thread", "second thread"}
		for _, token := range []string{"my-connector-token", chosen} {
			if got := whoAnswers(t, f.user(token, Connector), asked, 12); !slices.Equal(got, want) {
				t.Errorf("%s reaches %q, want %q", token, got, want)
			}
		}
		otherManager := f.guest("some-reverse-token", Reverse, other)
		otherManager.wantAdded("its-connector-token")
		_ = otherManager.conn.Close()
		synctest.Wait()
		if got := whoAnswers(t, f.user("its-connector-token", Connector), asked, 6); !slices.Equal(got, []string{"another process"}) {
			t.Errorf("the other's token reaches %q", got)
		}
		f.connector("api-connector-token", "some-reverse-token")
		all := []string{"another process", "first thread", "second thread"}
		if got := whoAnswers(t, f.user("api-connector-token", Connector), asked, 12); !slices.Equal(got, all) {
			t.Errorf("the API's token reaches %q", got)
		}
		var listed []string
		for _, c := range f.hub.Status()[0].Connectors {
			listed = append(listed, c.Reveal())
		}
		if len(listed) != 4 || !slices.Contains(listed, "api-connector-token") || !slices.Contains(listed, "my-connector-token") {
			t.Errorf("listed are %q", listed)
		}
	})
}

func TestAConnectorTokenIsTakenOverOnlyFromWhoIsGone(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		f.autonomy("other-reverse-token")
		asked := make(chan string, 100)
		old, heir := uuid.New(), uuid.New()
		first, second := f.guest("some-reverse-token", Reverse, old), f.guest("some-reverse-token", Reverse, old)
		first.wantAdded("my-connector-token")
		claimant := f.guest("some-reverse-token", Reverse, heir)
		stranger := f.guest("other-reverse-token", Reverse, old)
		claim := func(g *guest) bool {
			answer := g.manage(linksocks.OpAdd, "my-connector-token")
			if !answer.OK && answer.Cause != causeExists {
				t.Errorf("told %q", answer.Cause)
			}
			return answer.OK
		}
		if claim(claimant) || claim(stranger) {
			t.Error("a token is taken from who is there")
		}
		_ = first.conn.Close()
		synctest.Wait()
		if claim(claimant) {
			t.Error("a token is taken from who has one link left")
		}
		_ = second.conn.Close()
		synctest.Wait()
		if claim(stranger) {
			t.Error("a token went to another reverse token")
		}
		if !claim(claimant) {
			t.Error("a token of who is gone is not given")
		}
		_ = claimant.conn.Close()
		synctest.Wait()
		f.join("some-reverse-token", Reverse, old, named("old", asked))
		f.join("some-reverse-token", Reverse, heir, named("heir", asked))
		synctest.Wait()
		if got := whoAnswers(t, f.user("my-connector-token", Connector), asked, 4); !slices.Equal(got, []string{"heir"}) {
			t.Errorf("it reaches %q", got)
		}
	})
}

// A connector that waits for a provider that is gone is served by its heir.
func TestWhoWaitsForAnOwnerFindsTheNewOne(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		old := f.guest("some-reverse-token", Reverse, uuid.New())
		old.wantAdded("my-connector-token")
		_ = old.conn.Close()
		synctest.Wait()
		user := f.user("my-connector-token", Connector)
		heir := f.guest("some-reverse-token", Reverse, uuid.New())
		done := make(chan error, 1)
		go func() {
			_, err := user.Dial(t.Context(), "tcp", "target:80")
			done <- err
		}()
		synctest.Wait()
		heir.say(linksocks.Connector{Request: uuid.New(), Token: redact.New("my-connector-token"), Op: linksocks.OpAdd})
		m := await[*linksocks.Connect](heir)
		heir.say(linksocks.ConnectResponse{Channel: m.Channel, Cause: "refused: by the heir"})
		if err := <-done; site.ReasonOf(err) != site.Refused {
			t.Error(err)
		}
	})
}

func TestAZeroInstanceIsOneForEachLink(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		asked := make(chan string, 100)
		binary := func(instance uuid.UUID) *guest {
			conn := f.connect(nil)
			must(t, linksocks.SendAuth(conn, linksocks.Auth{Token: redact.New("some-reverse-token"), Reverse: true, Instance: instance}))
			return listening(t, welcomed(t, conn))
		}
		q := query("some-reverse-token", Reverse, uuid.Nil)
		q.Del("instance")
		byURL := func() *guest { return listening(t, welcomed(t, f.connect(q))) }
		for i, g := range []*guest{binary(uuid.Nil), binary(uuid.Nil), byURL(), byURL(), f.guest("some-reverse-token", Reverse, uuid.Nil)} {
			g.wantAdded("connector-token-" + strconv.Itoa(i))
			if i > 0 && g.manage(linksocks.OpAdd, "connector-token-0").OK {
				t.Errorf("link %d has the token of the first one", i)
			}
		}
		instance := uuid.New()
		g := binary(instance)
		g.wantAdded("connector-token-of-a-process")
		_ = g.conn.Close()
		f.join("some-reverse-token", Reverse, instance, named("by URL", asked))
		synctest.Wait()
		if got := whoAnswers(t, f.user("connector-token-of-a-process", Connector), asked, 6); !slices.Equal(got, []string{"by URL"}) {
			t.Errorf("it reaches %q", got)
		}
	})
}

func TestAConnectorTokenIsForgottenADayAfterItsOwner(t *testing.T) {
	keeper := newShelf()
	inMemory(t, Options{Keeper: keeper}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		f.connector("api-connector-token", "some-reverse-token")
		owner := f.guest("some-reverse-token", Reverse, uuid.New())
		owner.wantAdded("my-connector-token")
		instance := f.token("my-connector-token").Instance
		there := func() bool {
			f.hub.mu.Lock()
			defer f.hub.mu.Unlock()
			return f.hub.tokens["my-connector-token"] != nil
		}
		time.Sleep(3 * time.Hour)
		if age := time.Since(keeper.recordOf("my-connector-token").OwnerSeenAt); age > seenInterval+sweepInterval {
			t.Errorf("its owner is there, and was last noted %v ago", age)
		}
		_ = owner.conn.Close()
		synctest.Wait()
		time.Sleep(23 * time.Hour)
		if !there() {
			t.Errorf("forgotten after 23 hours")
		}
		back := f.guest("some-reverse-token", Reverse, instance)
		time.Sleep(time.Minute)
		_ = back.conn.Close()
		synctest.Wait()
		left := time.Now()
		time.Sleep(23 * time.Hour)
		if !there() {
			t.Error("that it came back was not noted")
		}
		for there() {
			time.Sleep(time.Minute)
		}
		if d := time.Since(left); d < ownerGoneAfter || d > ownerGoneAfter+2*sweepInterval {
			t.Errorf("forgotten after %v", d)
		}
		f.token("api-connector-token")
		if n := len(keeper.all()); n != 2 {
			t.Errorf("%d tokens are kept", n)
		}
	})
}

func TestAProvidersConnectorTokensSurviveARestart(t *testing.T) {
	t.Parallel()
	keeper := newShelf()
	instance := uuid.New()
	first := serve(t, Options{Keeper: keeper})
	first.autonomy("some-reverse-token")
	g := first.guest("some-reverse-token", Reverse, instance)
	g.wantAdded("my-connector-token")
	g.wantAdded("gone-connector-token")
	if !g.manage(linksocks.OpRemove, "gone-connector-token").OK {
		t.Error("it cannot be removed")
	}
	first.hub.Close()
	asked := make(chan string, 10)
	f := serve(t, Options{Keeper: keeper}, keeper.all()...)
	f.providerOf("some-reverse-token", uuid.New(), named("another", asked))
	f.providerOf("some-reverse-token", instance, named("owner", asked))
	if got := whoAnswers(t, f.user("my-connector-token", Connector), asked, 4); !slices.Equal(got, []string{"owner"}) {
		t.Errorf("it reaches %q", got)
	}
	if got := verdict(t, f.connect(query("gone-connector-token", Connector, uuid.New()))); got != "invalid token" {
		t.Errorf("what was removed is back: %q", got)
	}
}

func TestAConnectorTokenThatCannotBeKeptIsRefused(t *testing.T) {
	inMemory(t, Options{Keeper: newShelf()}, func(t *testing.T, f *fixture) {
		keeper := f.hub.opts.Keeper.(*shelf)
		f.autonomy("some-reverse-token")
		owner := f.guest("some-reverse-token", Reverse, uuid.New())
		owner.wantAdded("kept-connector-token")
		keeper.setFail(errShelf)
		if answer := owner.manage(linksocks.OpAdd, "my-connector-token"); answer.OK || answer.Cause != causeNotKept {
			t.Errorf("told %+v", answer)
		}
		if answer := owner.manage(linksocks.OpRemove, "kept-connector-token"); answer.OK || answer.Cause != causeNotKept {
			t.Errorf("told %+v", answer)
		}
		_ = owner.conn.Close()
		synctest.Wait()
		heir := f.guest("some-reverse-token", Reverse, uuid.New())
		if answer := heir.manage(linksocks.OpAdd, "kept-connector-token"); answer.OK || answer.Cause != causeNotKept {
			t.Errorf("told %+v", answer)
		}
		keeper.setFail(nil)
		if f.token("kept-connector-token").Instance != keeper.recordOf("kept-connector-token").Instance {
			t.Error("what is served is not what is kept")
		}
		heir.wantAdded("my-connector-token")
	})
}

func (s *shelf) recordOf(token string) (r Record) {
	for _, r := range s.all() {
		if r.Token.Reveal() == token {
			return r
		}
	}
	return r
}

func TestAProviderAddsNoMoreConnectorTokensThanItMay(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		g := f.guest("some-reverse-token", Reverse, uuid.New())
		for range maxManaged {
			g.wantAdded("")
		}
		if answer := g.manage(linksocks.OpAdd, ""); answer.OK || answer.Cause != causeTooMany {
			t.Errorf("told %+v", answer)
		}
	})
}

// A provider need not wait for an answer before it wishes for something else.
func TestWishesComeTrueInTheirOrder(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.autonomy("some-reverse-token")
	g := f.guest("some-reverse-token", Reverse, uuid.New())
	const rounds = 100
	for i := range 2 * rounds {
		op := linksocks.OpAdd
		if i%2 == 1 {
			op = linksocks.OpRemove
		}
		g.say(linksocks.Connector{Request: uuid.UUID{byte(i)}, Token: redact.New("my-connector-token"), Op: op})
	}
	for i := range 2 * rounds {
		if answer := hear[*linksocks.ConnectorResponse](g); !answer.OK || answer.Request != (uuid.UUID{byte(i)}) {
			t.Fatalf("answer %d is %+v", i, answer)
		}
	}
	if n := len(f.hub.Status()[0].Connectors); n != 0 {
		t.Errorf("%d connectors are left", n)
	}
}
