package peer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// taking answers wishes with a yes.
func taking(w linksocks.Connector) *linksocks.ConnectorResponse {
	return &linksocks.ConnectorResponse{Request: w.Request, OK: true, Token: w.Token}
}

func memProvider(r *relay, n *memnet.Network) Options {
	o := provider(r)
	o.Dialer = memDialer(n)
	o.ConnectorToken = redact.New(connectorText)
	return o
}

func (r *relay) ops() (ops []linksocks.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wishes {
		if w.Token.Reveal() != connectorText {
			r.t.Errorf("the wish is for %q", w.Token.Reveal())
		}
		ops = append(ops, w.Op)
	}
	return ops
}

func TestAProvidersConnectorTokenIsAddedOnceAndAgainWhenItsLinkIsLost(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, _ Options) {
		over := make(chan int, 10)
		r.set(func(m *manner) {
			m.connector = func(w linksocks.Connector) *linksocks.ConnectorResponse { over <- 1; return taking(w) }
		})
		o := memProvider(r, n)
		o.Threads = 2
		p := start(t, o)
		<-p.ready
		time.Sleep(time.Minute)
		if got := len(r.ops()); got != 1 {
			t.Errorf("%d wishes for one token", got)
		}
		for want := 2; want < 4; want++ {
			<-over
			n.Cut()
			time.Sleep(time.Minute)
			if got := len(r.ops()); got != want {
				t.Errorf("%d wishes after %d losses", got, want-1)
			}
		}
		if err := p.stop(); err != nil || len(p.ready) != 0 {
			t.Errorf("ended with %v, ready %d times more", err, len(p.ready))
		}
		if got := strings.Count(p.log.String(), "took the connector token"); got != 1 {
			t.Errorf("success is logged %d times", got)
		}
	})
}

func TestARefusedConnectorTokenIsTheEnd(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, _ Options) {
		r.set(func(m *manner) {
			m.connector = func(w linksocks.Connector) *linksocks.ConnectorResponse {
				return &linksocks.ConnectorResponse{Request: w.Request, Cause: "Unauthorized " + connectorText}
			}
		})
		p := start(t, memProvider(r, n))
		<-p.ended
		e, ok := errors.AsType[*api.Error](p.err)
		if !ok || e.Code != api.CodeForbidden || e.Message != "the relay refuses the connector token: Unauthorized [redacted]" {
			t.Errorf("ended with %v", p.err)
		}
		if len(p.ready) != 0 || len(r.ops()) != 1 {
			t.Errorf("ready %d times, wishes %v", len(p.ready), r.ops())
		}
	})
}

// A stock relay knows no owner of what a lost link added.
func TestAConnectorTokenThatWasOursIsTakenBackFromAStockRelay(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, _ Options) {
		held := false
		r.set(func(m *manner) {
			m.connector = func(w linksocks.Connector) *linksocks.ConnectorResponse {
				answer := linksocks.ConnectorResponse{Request: w.Request, OK: w.Op == linksocks.OpRemove || !held, Cause: "connector token already exists"}
				held = w.Op == linksocks.OpAdd
				return &answer
			}
		})
		p := start(t, memProvider(r, n))
		<-p.ready
		n.Cut()
		time.Sleep(time.Minute)
		want := []linksocks.Op{linksocks.OpAdd, linksocks.OpAdd, linksocks.OpRemove, linksocks.OpAdd}
		if got := r.ops(); len(got) != len(want) || got[2] != want[2] {
			t.Errorf("wishes %v, want %v", got, want)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestARelayThatDoesNotAnswerAConnectorTokenIsAskedOnANewLink(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, n *memnet.Network, r *relay, _ Options) {
		r.set(func(m *manner) {
			m.connector = func(linksocks.Connector) *linksocks.ConnectorResponse {
				return &linksocks.ConnectorResponse{Request: uuid.New(), OK: true} // of somebody else
			}
		})
		p := start(t, memProvider(r, n))
		time.Sleep(9 * time.Second)
		if len(r.requests()) != 1 || len(p.ready) != 0 {
			t.Errorf("%d links, ready %d times", len(r.requests()), len(p.ready))
		}
		r.set(func(m *manner) { m.connector = taking })
		time.Sleep(3 * time.Second)
		if len(r.requests()) != 2 || len(p.ready) != 1 {
			t.Errorf("%d links, ready %d times", len(r.requests()), len(p.ready))
		}
		if !strings.Contains(p.log.String(), errNoConnectorAnswer.Error()) {
			t.Errorf("the log does not say why:\n%s", p.log)
		}
	})
}
