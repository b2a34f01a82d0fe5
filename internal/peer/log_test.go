package peer

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

func TestWhatTheRelaySaysIsLoggedAtItsLevel(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		p := start(t, o)
		s := <-r.up
		hash := linksocks.HashToken(redact.New(secretText)).Reveal()
		for _, m := range []linksocks.Log{
			{Level: "trace", Text: "one"}, {Level: "warn", Text: "two\nlevel=ERROR"}, {Level: "error", Text: "three"},
			{Level: "odd", Text: "four"}, {Level: "info", Text: linksocks.ServerHello},
			{Level: "info", Text: "it is " + secretText + " or " + hash}, {Level: "info", Text: strings.Repeat("x", 5000)},
		} {
			_ = s.Send(m)
		}
		_ = s.Send(linksocks.Partners{Count: -7})
		synctest.Wait()
		log := p.log.String()
		for _, want := range []string{
			"level=DEBUG-4 msg=\"the relay says\" relay=ws://relay:80/socket words=one\n",
			"level=WARN msg=\"the relay says\" relay=ws://relay:80/socket words=\"two\ufffdlevel=ERROR\"\n",
			"level=ERROR msg=\"the relay says\" relay=ws://relay:80/socket words=three\n",
			"level=INFO msg=\"the relay says\" relay=ws://relay:80/socket words=four\n",
			"level=DEBUG msg=\"the relay says\" relay=ws://relay:80/socket words=\"" + linksocks.ServerHello + "\"\n",
			"words=\"it is [redacted] or [redacted]\"\n",
			"words=" + strings.Repeat("x", maxWords) + "…\n",
			"level=DEBUG msg=\"the relay counts our partners\" relay=ws://relay:80/socket count=-7\n",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %q:\n%s", want, log)
			}
		}
	})
}

func TestARelayThatTalksTooMuchIsCutShort(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		p := start(t, o)
		s := <-r.up
		for minute := 1; minute <= 2; minute++ {
			for range 1000 {
				_ = s.Send(linksocks.Log{Level: "info", Text: "again"})
			}
			synctest.Wait()
			log := p.log.String()
			if said, cut := strings.Count(log, "the relay says\""), strings.Count(log, "too much"); said != minute*linesPerMinute || cut != minute {
				t.Errorf("after minute %d: %d lines, cut %d times", minute, said, cut)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestALinkIsLoggedUpAndDownWithoutTheQueryOfItsURL(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, o Options) {
		o.URL = r.url("/socket?key=" + connectorText)
		p := start(t, o)
		s := <-r.up
		r.set(func(m *manner) { m.status = 503 })
		s.Close()
		time.Sleep(10 * time.Second)
		log := p.log.String()
		for _, want := range []string{
			"level=INFO msg=\"the link to the relay is up\" relay=ws://relay:80/socket dialect=linksocks\n",
			"level=INFO msg=\"the link to the relay has ended\" relay=ws://relay:80/socket reason=",
			"level=WARN msg=\"no link to the relay, trying again\" relay=ws://relay:80/socket reason=\"relay answered 503 Service Unavailable\" in=",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %q:\n%s", want, log)
			}
		}
	})
}
