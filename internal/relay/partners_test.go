package relay

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// told is the counts that a guest has been told since it was asked last.
func (g *guest) told() (counts []int) {
	g.t.Helper()
	synctest.Wait()
	for {
		select {
		case m, ok := <-g.heard:
			if !ok {
				g.t.Fatalf("the link ended: %v", g.err)
			}
			if p, ok := m.(*linksocks.Partners); ok {
				counts = append(counts, p.Count)
			}
		default:
			return counts
		}
	}
}

// wantTold wants a guest to have been told this count last, or nothing at all.
func (g *guest) wantTold(when string, want int) {
	g.t.Helper()
	counts := g.told()
	if want < 0 {
		if len(counts) > 0 {
			g.t.Errorf("%s: told %v, which is none of its business", when, counts)
		}
		return
	}
	if len(counts) == 0 || counts[len(counts)-1] != want {
		g.t.Errorf("%s: told %v, want %d", when, counts, want)
	}
}

func TestPartnersAreCountedAsTheyComeAndGo(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		f.connector("some-connector-token", "some-reverse-token")
		f.connector("more-connector-token", "some-reverse-token")
		f.autonomy("other-reverse-token")
		f.connector("other-connector-token", "other-reverse-token")
		const nothing = -1
		stranger := f.guest("other-connector-token", Connector, uuid.New())
		stranger.wantTold("no provider of its own", 0)
		connector := f.guest("some-connector-token", Connector, uuid.New())
		connector.wantTold("at first", 0)
		mine := uuid.New()
		provider := f.guest("some-reverse-token", Reverse, mine)
		connector.wantTold("a provider came", 1)
		second := f.guest("some-reverse-token", Reverse, uuid.New())
		connector.wantTold("a second came", 2)
		provider.wantTold("another provider came", nothing)
		latecomer := f.guest("more-connector-token", Connector, uuid.New())
		latecomer.wantTold("at first", 2)
		provider.wantTold("a second connector came", 2)
		second.wantTold("a second connector came", 2)
		connector.wantTold("another connector came", nothing)
		provider.wantAdded("my-connector-token")
		own := f.guest("my-connector-token", Connector, uuid.New())
		own.wantTold("at first", 1)
		provider.wantTold("its own connector came", 3)
		second.wantTold("a connector of another provider came", 2)
		for _, g := range []*guest{connector, own, latecomer} {
			_ = g.conn.Close()
		}
		provider.wantTold("all connectors went", 0)
		second.wantTold("all connectors went", 0)
		last := f.guest("some-connector-token", Connector, uuid.New())
		last.wantTold("at first", 2)
		_ = provider.conn.Close()
		last.wantTold("a provider went", 1)
		_ = second.conn.Close()
		last.wantTold("the last provider went", 0)
		stranger.wantTold("all the time", nothing)
	})
}

// Many come and go at once; what is told last must be true.
func TestTheLastCountIsTrueHoweverManyCome(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.autonomy("some-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	for range 10 {
		var coming sync.WaitGroup
		var staying [8]*guest
		var connector *guest
		coming.Go(func() { connector = f.guest("some-connector-token", Connector, uuid.New()) })
		for i := range staying {
			coming.Go(func() { staying[i] = f.guest("some-reverse-token", Reverse, uuid.New()) })
		}
		coming.Wait()
		for _, g := range staying[4:] {
			coming.Go(func() { _ = g.conn.Close() })
		}
		coming.Wait()
		eventually(t, "the links are as they are", func() bool { return f.links("some-reverse-token") == 4 && f.links("some-connector-token") == 1 })
		// What is said to it behind the last count shows that there is no later one.
		connector.say(linksocks.Connector{Request: uuid.New(), Op: linksocks.OpAdd})
		count, last := 0, false
		for !last {
			switch m := (<-connector.heard).(type) {
			case *linksocks.Partners:
				count = m.Count
			case *linksocks.ConnectorResponse:
				last = true
			}
		}
		if count != 4 {
			t.Errorf("told %d last, want 4", count)
		}
		for _, g := range append(staying[:4], connector) {
			_ = g.conn.Close()
		}
		eventually(t, "all are gone", func() bool { return f.links("some-reverse-token")+f.links("some-connector-token") == 0 })
	}
}

// A connector that never reads gets counts until nothing more fits, and more.
// No virtual time passes for anybody else.
func TestAPeerThatNeverReadsDelaysNobody(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		f.connector("some-connector-token", "some-reverse-token")
		f.connector("mute-connector-token", "some-reverse-token")
		f.autonomy("other-reverse-token")
		tight := memnet.New()
		tight.SetBuffer(256)
		f.net = tight
		welcomed(t, f.connect(query("mute-connector-token", Connector, uuid.New())))
		welcomed(t, f.connect(query("some-reverse-token", Reverse, uuid.New())))
		f.net = memnet.New()
		synctest.Wait()
		began := time.Now()
		for range 100 {
			provider := f.guest("some-reverse-token", Reverse, uuid.New())
			connector := f.guest("some-connector-token", Connector, uuid.New())
			connector.wantTold("with a mute neighbour", 2)
			_, _ = provider.conn.Close(), connector.conn.Close()
			synctest.Wait()
		}
		var asked atomic.Int64
		f.providerOf("other-reverse-token", uuid.New(), counting(&asked))
		if _, reply := f.socksInMemory("other-reverse-token", "target:80"); reply != 5 {
			t.Errorf("reply %d", reply)
		}
		f.forward("some-forward-token")
		must(t, f.hub.Remove(t.Context(), f.token("some-forward-token").Token))
		if n := len(f.hub.Status()); n != 2 {
			t.Errorf("%d tokens", n)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("all that took %v", d)
		}
		must(t, f.hub.Remove(t.Context(), f.token("some-reverse-token").Token))
		synctest.Wait()
		if n := f.links("other-reverse-token"); n != 1 || time.Since(began) != 0 {
			t.Errorf("%d links of the other, after %v", n, time.Since(began))
		}
	})
}

func TestAMuteLinkIsGivenUp(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		g := f.guest("some-reverse-token", Reverse, uuid.New())
		synctest.Wait()
		f.net.BlackHole(true)
		time.Sleep(41 * time.Second)
		if n := f.links("some-reverse-token"); n != 0 {
			t.Errorf("%d links are there", n)
		}
		f.net.BlackHole(false)
		if _, ok := <-g.heard; ok || errors.Is(g.err, nil) {
			t.Error("the peer still has its link")
		}
	})
}
